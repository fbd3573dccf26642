"""A run's evaluations in plain sentences with their intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prospect.report.page.wording import count, interval, percent
from prospect.report.run.evaluations import results_of
from prospect.report.run.facts import RunFacts, dig, is_number
from prospect.report.run.measured import measured, numbers_of

_VERDICTS = {
    "better": "it is better",
    "worse": "it is worse",
    "no difference shown": "no difference is shown",
}


def contest_headline(facts: RunFacts) -> str:
    """Return the run in one line, by its first contest; empty without one."""
    for contest in _results(facts, "contest"):
        win = measured(dig(contest, "win_rate"), "")
        if win:
            said = str(dig(contest, "comparison", "verdict"))
            clear = "" if said in ("better", "worse") else ": no clear difference"
            against = dig(contest, "theirs") or "the other side"
            return f"After {facts.method or 'training'}, it wins {percent(win.value)} against {against}{clear}"
    return ""


def evaluations_in_words(facts: RunFacts) -> list[str]:
    """Return a sentence for each contest, each measurement of held-out feedback, and the benchmarks."""
    said = [_contest(contest) for contest in _results(facts, "contest")]
    said += [_feedback(feedback) for feedback in _results(facts, "feedback")]
    said += [_benchmarks(tasks) for tasks in _results(facts, "benchmarks")]
    return [sentence for sentence in said if sentence]


def evaluations_are_sure(facts: RunFacts) -> list[str]:
    """Return what the intervals of the evaluations rest on."""
    said = []
    for contest in _results(facts, "contest"):
        n, prompts = dig(contest, "n"), dig(contest, "prompts")
        if is_number(n):
            of = f" of {count(prompts, 'prompt')}" if is_number(prompts) else ""
            judge = dig(contest, "judge")
            trust = f", as {judge} judged them" if judge else ""
            said.append(f"The contest rests on {count(n, 'comparison')}{of}{trust}.")
    rows = [r for f in _results(facts, "feedback") if is_number(r := dig(f, "data", "rows"))]
    if rows:
        said.append(f"Held-out feedback was measured on {count(sum(rows), 'row')}.")
    return said


def _contest(contest: Any) -> str:
    win = measured(dig(contest, "win_rate"), "")
    if not win:
        return ""
    verdict = _VERDICTS.get(str(dig(contest, "comparison", "verdict")), "")
    against = dig(contest, "theirs") or "the other side"
    text = f"Against {against} it wins {percent(win.value)} of comparisons ({interval(win.low, win.high)})"
    return f"{text}: {verdict}." if verdict else f"{text}."


def _feedback(feedback: Any) -> str:
    accuracy, auroc = measured(dig(feedback, "accuracy"), ""), measured(dig(feedback, "auroc"), "")
    parts = []
    if accuracy:
        parts.append(f"accuracy {percent(accuracy.value)} ({interval(accuracy.low, accuracy.high)})")
    if auroc:
        ends = f"{auroc.low:.2f} to {auroc.high:.2f}"
        parts.append(f"AUROC {auroc.value:.2f} ({ends}; 0.50 is a coin toss)")
    return f"On held-out feedback it tells good from bad with {' and '.join(parts)}." if parts else ""


def _benchmarks(tasks: Any) -> str:
    words = [entry.verdict for entry in numbers_of(tasks) if entry.verdict]
    if not words:
        n = len(dig(tasks, "tasks") or ())
        return f"It was run on {count(n, 'benchmark')}, without a reference to compare with." if n else ""
    counts = {word: words.count(word) for word in ("better", "worse", "different")}
    told = " and ".join(f"{n} {word}" for word, n in counts.items() if n)
    unclear = words.count("no difference shown")
    rest = f"{count(unclear)} show no difference" if unclear else ""
    return (
        f"Of {count(len(words), 'benchmark result')} against the reference, {', '.join(p for p in (told, rest) if p)}."
    )


def _results(facts: RunFacts, wanted: str) -> Iterator[Any]:
    return (result for _, kind, result in results_of(facts) if kind == wanted)
