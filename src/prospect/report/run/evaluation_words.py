"""A run's evaluations in plain sentences with their intervals."""

from __future__ import annotations

from prospect.report.page.wording import count, interval, percent
from prospect.report.run.facts import RunFacts
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult
from prospect.results.feedback import FeedbackResult

_VERDICTS: dict[str, str] = {
    "better": "it is better",
    "worse": "it is worse",
    "no difference shown": "no difference is shown",
}


def contest_headline(facts: RunFacts) -> str:
    """Return the run in one line, by its first contest; empty without one."""
    for contest in facts.results(ContestResult):
        clear = "" if contest.comparison.verdict in ("better", "worse") else ": no clear difference"
        won = percent(contest.win_rate.rate)
        return f"After {facts.method or 'training'}, it wins {won} against {contest.theirs}{clear}"
    return ""


def evaluations_in_words(facts: RunFacts) -> list[str]:
    """Return a sentence for each contest, each measurement of held-out feedback, and the benchmarks."""
    said = [_contest(contest) for contest in facts.results(ContestResult)]
    said += [_feedback(feedback) for feedback in facts.results(FeedbackResult)]
    said += [_benchmarks(tasks) for tasks in facts.results(BenchmarksResult)]
    return [sentence for sentence in said if sentence]


def evaluations_are_sure(facts: RunFacts) -> list[str]:
    """Return what the intervals of the evaluations rest on."""
    said = [
        f"The contest rests on {count(contest.n, 'comparison')} of {count(contest.prompts, 'prompt')}, as"
        f" {contest.judge} judged them."
        for contest in facts.results(ContestResult)
    ]
    rows = sum(feedback.data.rows for feedback in facts.results(FeedbackResult))
    return [*said, f"Held-out feedback was measured on {count(rows, 'row')}."] if rows else said


def _contest(contest: ContestResult) -> str:
    win, verdict = contest.win_rate, _VERDICTS.get(contest.comparison.verdict, "")
    ends = interval(win.low, win.high)
    text = f"Against {contest.theirs} it wins {percent(win.rate)} of comparisons ({ends})"
    return f"{text}: {verdict}." if verdict else f"{text}."


def _feedback(feedback: FeedbackResult) -> str:
    accuracy, auroc, parts = feedback.accuracy, feedback.auroc, []
    if accuracy:
        parts.append(f"accuracy {percent(accuracy.rate)} ({interval(accuracy.low, accuracy.high)})")
    if auroc and auroc.low is not None:
        ends = f"{auroc.low:.2f} to {auroc.high:.2f}"
        parts.append(f"AUROC {auroc.value:.2f} ({ends}; 0.50 is a coin toss)")
    return f"On held-out feedback it tells good from bad with {' and '.join(parts)}." if parts else ""


def _benchmarks(result: BenchmarksResult) -> str:
    metrics = [metric for task in result.tasks.values() for metric in task.metrics.values()]
    words = [metric.change.verdict for metric in metrics if metric.change]
    if not words:
        n = len(result.tasks)
        return f"It was run on {count(n, 'benchmark')}, without a reference to compare with." if n else ""
    told = " and ".join(f"{n} {word}" for word in ("better", "worse", "different") if (n := words.count(word)))
    unclear = words.count("no difference shown")
    rest = f"{count(unclear)} show no difference" if unclear else ""
    return (
        f"Of {count(len(words), 'benchmark result')} against the reference, {', '.join(p for p in (told, rest) if p)}."
    )
