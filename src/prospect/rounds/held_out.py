"""How a round's model does on prompts that training never sees: rates with intervals, KL, length, diversity."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prospect import progress
from prospect.evaluation.answers.answers import Answer
from prospect.evaluation.answers.generate import as_rows
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.answers.writers import Generation
from prospect.evaluation.contest.judges.base import plain_text
from prospect.evaluation.contest.text_measures import measure_texts
from prospect.evaluation.held_out.scoring import draw_own_samples, frozen, score_rows
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.records import Demonstration, text_of
from prospect.models.loading import resolve_max_length
from prospect.models.policy import load_for_scoring
from prospect.progress import timing
from prospect.results.rounds import HeldOut, RoundSample
from prospect.rounds.folder import PARTIAL
from prospect.rounds.outcomes import Looks, Outcomes, Passed, Written, judge_written
from prospect.rounds.recipe import RoundsRecipe
from prospect.rounds.sampling import Sampler
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.comparisons import Difference, compare_paired
from prospect.statistics.means import mean_by_prompt, rate_by_prompt
from prospect.statistics.rates import Rate

_SHOWN = 2000  # characters of a sample in the ledger


def look(
    sampler: Sampler, looks: Looks, model: str, start_model: str, number: int, folder: Path, start: Path, last: Path
) -> HeldOut:
    """Let a round's model answer the held-out prompts, once each, and say how that is against start and last round.

    Args:
        sampler: who writes.
        looks: what all rounds are looked at with.
        model: the round's model.
        start_model: that of round 0.
        number: of the round, 0 for the start.
        folder: where what is written goes; what a killed run has left there is used.
        start: the same folder of the start.
        last: that of the model before it.
    """
    begun = time.monotonic()
    recipe, settings = sampler.recipe, sampler.recipe.rounds
    prompts = [question.prompt for question in looks.questions]
    generation = Generation(1, settings.max_new_tokens, settings.temperature, settings.top_p, looks.seed)
    who = f"round {number}" if number else "the start"
    folder.mkdir(parents=True, exist_ok=True)
    with progress.phase(f"{who} answers {len(prompts)} held-out prompts", part=timing.ANSWERS):
        answers = sampler.answer(model, prompts, generation, number=number, keep=folder / PARTIAL)
    if not all(answers):  # prompts that the chat template cannot render, and the recipe leaves out
        there = [i for i, some in enumerate(answers) if some]
        looks = replace(looks, questions=[looks.questions[i] for i in there])
        prompts, answers = [prompts[i] for i in there], [answers[i] for i in there]
    rows = as_rows(prompts, answers)
    write_jsonl(rows, folder / "samples.jsonl")
    before = Outcomes.of(start) if number else None
    outcomes = judge_written(looks, Written(rows, _read(start) if number else None, before), folder)
    outcomes.write(folder / "outcomes.json")
    kl = _kl(recipe, looks, model, start_model, who) if number and settings.evaluate.kl_prompts else None
    found = _numbers(recipe, rows, answers, outcomes)
    if before is not None:
        found = _against(found, outcomes, before, Outcomes.of(last))
    seconds = round(time.monotonic() - begun, 2)
    return found.model_copy(update={"kl": kl, "seconds": seconds})


def _read(folder: Path) -> list[Demonstration]:
    return [row for row in load_feedback(folder / "samples.jsonl") if isinstance(row, Demonstration)]


def _rate(passed: Sequence[float | None]) -> Rate:
    return rate_by_prompt(list(passed), None)


def _numbers(
    recipe: RoundsRecipe, rows: Sequence[Demonstration], answers: Sequence[Sequence[Answer]], outcomes: Outcomes
) -> HeldOut:
    texts = [plain_text(text_of(row.completion, row.where)) for row in rows]
    measured = measure_texts(texts)
    first, second = outcomes.judge, outcomes.second
    scores = [score for score in first.scores if score is not None]
    graded = len(scores) > 1 and set(scores) - {0.0, 1.0}
    flat = [one for some in answers for one in some]
    return HeldOut(
        rate=_rate(first.passed),
        mean_score=mean_by_prompt(scores) if graded else None,
        second=_rate(second.passed) if second else None,
        agreement=_agreement(first, second) if second else None,
        words=round(measured.words.value, 2),
        tokens=round(sum(one.tokens for one in flat) / len(flat), 2),
        cut=sum(not row.finished for row in rows),
        repetition=_rounded(measured.repetition.value if measured.repetition else None),
        distinct_2=_rounded(measured.distinct_2),
        samples=[
            RoundSample(
                prompt=plain_text(row.prompt)[:_SHOWN],
                completion=text[:_SHOWN],
                score=first.scores[i],
                desirable=None if first.passed[i] in (None, 0.5) else bool(first.passed[i]),
            )
            for i, (row, text) in enumerate(zip(rows, texts, strict=True))
        ][: recipe.rounds.evaluate.samples],
        seconds=0.0,
    )


def _agreement(first: Passed, second: Passed) -> float | None:
    both = [a == b for a, b in zip(first.passed, second.passed, strict=True) if a is not None and b is not None]
    return round(sum(both) / len(both), 4) if both else None


def _against(found: HeldOut, now: Outcomes, start: Outcomes, last: Outcomes) -> HeldOut:
    """Return the numbers with what changed on the same prompts."""
    pairs = list(zip(now.judge.passed, start.judge.passed, strict=True))
    more: dict[str, Difference | int] = {
        "against_start": compare_paired(now.judge.passed, start.judge.passed),
        "against_last": compare_paired(now.judge.passed, last.judge.passed),
        "gained": sum((a or 0) > (b or 0) for a, b in pairs),
        "lost": sum((a or 0) < (b or 0) for a, b in pairs),
    }
    if now.second and start.second and last.second:
        more["second_against_start"] = compare_paired(now.second.passed, start.second.passed)
        more["second_against_last"] = compare_paired(now.second.passed, last.second.passed)
    return found.model_copy(update=more)


def _kl(recipe: RoundsRecipe, looks: Looks, model: str, start_model: str, who: str) -> Estimate | None:
    """Return the mean log-ratio to the start of samples at temperature 1, over all tokens: KL(policy || start).

    One model is in memory at a time.
    """
    settings, subject = recipe.rounds, find_subject(model)
    records = [
        Demonstration(prompt=question.prompt, completion="", id=question.key, where=question.key)
        for question in looks.questions[: settings.evaluate.kl_prompts]
    ]
    base = recipe.base
    with progress.phase(f"KL of {who} from the start", part="KL from the start"):
        policy = load_for_scoring(subject.settings, base.train.precision)
        most = resolve_max_length(None, policy.model.config)
        own = draw_own_samples(
            policy,
            records,
            max_length=most,
            max_new_tokens=settings.max_new_tokens,
            seed=looks.seed,
            batch_size=settings.sample_batch,
            rendering=Rendering.of(base.data),
        )
        if len(own.rows) < 2:
            return None
        ours = score_rows(policy.logps, own.rows, policy.device, None, f"the model of {who}")
        tokenizer, device = policy.tokenizer, policy.device
        del policy
        compared = frozen(find_subject(start_model).settings, tokenizer, base.train.precision, start_model)
        theirs = score_rows(compared.score, own.rows, device, None, "the start")
    return mean_by_prompt(list(ours - theirs), [row.prompt_key for row in own.rows])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
