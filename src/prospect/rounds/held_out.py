"""How a round's model does on prompts that training never sees: rates with intervals, KL, length, diversity."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prospect import progress
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.records import Demonstration
from prospect.results.rounds import HeldOut
from prospect.rounds.medium import Draws, RoundsMedium
from prospect.rounds.outcomes import Looks, Outcomes, Passed, Written, judge_written
from prospect.rounds.recipe import EvaluateSettings
from prospect.statistics.comparisons import Difference, compare_paired
from prospect.statistics.means import mean_by_prompt, rate_by_prompt
from prospect.statistics.rates import Rate

Keys = Sequence[str] | None
"""The prompt of each sample; None where each is of its own."""


def look(
    medium: RoundsMedium,
    settings: EvaluateSettings,
    looks: Looks,
    model: str,
    start_model: str,
    number: int,
    folder: Path,
    start: Path,
    last: Path,
) -> HeldOut:
    """Let a round's model answer the held-out prompts, and say how that is against start and last round.

    Args:
        medium: what the models make.
        settings: of the recipe.
        looks: what all rounds are looked at with.
        model: the round's model.
        start_model: that of round 0.
        number: of the round, 0 for the start.
        folder: where what is made goes; what a killed run has left there is used.
        start: the same folder of the start.
        last: that of the model before it.
    """
    begun = time.monotonic()
    who = f"round {number}" if number else "the start"
    folder.mkdir(parents=True, exist_ok=True)
    prompts, count = [question.prompt for question in looks.questions], settings.samples_per_prompt
    with progress.phase(f"{who} answers {len(prompts)} held-out prompts"):
        draws = medium.draw(model, prompts, count, looks.seed, number=number, folder=folder)
    # Of prompts that the chat template cannot render, and the recipe leaves out, there are no rows.
    answered = [question for question, some in zip(looks.questions, draws.rows, strict=True) if some]
    draws = draws._replace(rows=[some for some in draws.rows if some])
    rows = draws.flat
    write_jsonl(rows, folder / "samples.jsonl")
    before = Outcomes.of(start) if number else None
    each = [question for question, some in zip(answered, draws.rows, strict=True) for _ in some]
    written = Written(rows, _read(start) if number else None, before)
    outcomes = judge_written(replace(looks, questions=each), written, folder)
    outcomes.write(folder / "outcomes.json")
    kl = medium.kl(answered, model, start_model, who, looks.seed) if number else None
    keys = [question.key for question in each] if count > 1 else None
    found = _numbers(medium, draws, outcomes, keys, settings.samples)
    if before is not None:
        found = _against(found, outcomes, before, Outcomes.of(last), keys)
    seconds = round(time.monotonic() - begun, 2)
    return found.model_copy(update={"kl": kl, "seconds": seconds})


def _read(folder: Path) -> list[Demonstration]:
    return [row for row in load_feedback(folder / "samples.jsonl") if isinstance(row, Demonstration)]


def _rate(passed: Sequence[float | None], keys: Keys) -> Rate:
    return rate_by_prompt(list(passed), keys)


def _numbers(medium: RoundsMedium, draws: Draws, outcomes: Outcomes, keys: Keys, shown: int) -> HeldOut:
    first, second = outcomes.judge, outcomes.second
    scored = [i for i, score in enumerate(first.scores) if score is not None]
    scores = [score for score in first.scores if score is not None]
    graded = len(scores) > 1 and set(scores) - {0.0, 1.0}
    rows, places, end = draws.flat, list[range](), 0
    for some in draws.rows[:shown]:
        places.append(range(end, end := end + len(some)))
    return HeldOut(
        rate=_rate(first.passed, keys),
        mean_score=mean_by_prompt(scores, [keys[i] for i in scored] if keys else None) if graded else None,
        second=_rate(second.passed, keys) if second else None,
        agreement=_agreement(first, second) if second else None,
        samples=[medium.show(rows, first, of_prompt) for of_prompt in places],
        seconds=0.0,
        **medium.measure(draws),
    )


def _agreement(first: Passed, second: Passed) -> float | None:
    both = [a == b for a, b in zip(first.passed, second.passed, strict=True) if a is not None and b is not None]
    return round(sum(both) / len(both), 4) if both else None


def _against(found: HeldOut, now: Outcomes, start: Outcomes, last: Outcomes, keys: Keys) -> HeldOut:
    """Return the numbers with what changed on the same prompts."""
    changed = _changes(now.judge.passed, start.judge.passed, keys)
    more: dict[str, Difference | int] = {
        "against_start": compare_paired(now.judge.passed, start.judge.passed, keys),
        "against_last": compare_paired(now.judge.passed, last.judge.passed, keys),
        "gained": sum(change > 0 for change in changed),
        "lost": sum(change < 0 for change in changed),
    }
    if now.second and start.second and last.second:
        more["second_against_start"] = compare_paired(now.second.passed, start.second.passed, keys)
        more["second_against_last"] = compare_paired(now.second.passed, last.second.passed, keys)
    return found.model_copy(update=more)


def _changes(now: Sequence[float | None], start: Sequence[float | None], keys: Keys) -> list[float]:
    """Return for each prompt how many more of its samples pass; one that could not be read does not."""
    found: dict[str | int, float] = {}
    for i, (a, b) in enumerate(zip(now, start, strict=True)):
        key = keys[i] if keys else i
        found[key] = found.get(key, 0.0) + (a or 0) - (b or 0)
    return list(found.values())
