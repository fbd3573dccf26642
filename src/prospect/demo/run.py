"""`prospect demo`: thumbs from simulated customers, a model aligned on them, and an outcome that anybody can check.

The same steps as for one's own product: sample replies, collect thumbs into a file, train by a recipe, compare before
and after on prompts that training never saw.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prospect import progress
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.customer import Rater, collect_thumbs
from prospect.demo.outcome import Outcome, write_pages
from prospect.demo.rubric import check
from prospect.demo.settings import METHODS, DemoFeedback
from prospect.demo.world import REPLY_TOKENS, Inquiry, held_out_prompts, training_prompts
from prospect.errors import ConfigError, RunStopped
from prospect.feedback import class_counts, write_jsonl
from prospect.models.sampling import Generated
from prospect.progress import timing
from prospect.results.before_after import BeforeAfter, BeforeAfterExample, BeforeAfterResult, MeanWords
from prospect.run_dir import RunDir
from prospect.statistics.rates import Rate, proportion, win_rate
from prospect.training.memory.allocator import keep_freed_memory
from prospect.training.train import train

PROMPTS = 600  # customers who write
REPLIES = 4  # sampled for each, as in the KTO paper's study on sampled solutions
HELD_OUT = 400  # a 95 % interval of at most 5 points on either side

RULE_NAMES = {
    "order": "names the right order",
    "remedy": "answers the problem that was asked",
    "polite": "is polite",
    "short": "keeps under the word limit",
    "promises": "promises nothing it should not",
}


@dataclass(frozen=True, kw_only=True)
class DemoOutcome(Outcome):
    """What a demo run on texts showed.

    Attributes:
        win_rate: how often the aligned model's reply keeps more rules; equally many count half.
        examples: prompts with both replies.
    """

    rates = (*Outcome.rates, "win_rate")

    win_rate: Rate
    examples: list[BeforeAfterExample]


def run_demo(
    output: Path,
    *,
    method: str = "kto",
    seed: int = 0,
    feedback: DemoFeedback | None = None,
    quiet: bool = False,
) -> DemoOutcome:
    """Sample, collect thumbs, align, and compare.

    Args:
        output: the run directory.
        method: kto, dpo or sft.
        seed: of customers, thumbs, training and sampling.
        feedback: how thumbs are given; clean ones by default.
        quiet: say nothing of what is being done.

    Raises:
        ConfigError: an unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f'demo method is "{method}"; expected one of {", ".join(METHODS)}.')
    with progress.shown("prospect demo", quiet=quiet):
        return _run(output, method, seed, feedback or DemoFeedback(), quiet)


def _run(output: Path, method: str, seed: int, feedback: DemoFeedback, quiet: bool) -> DemoOutcome:
    begun = time.monotonic()
    keep_freed_memory()
    with progress.phase("loading the model"):
        base = load_base()
    inquiries, asked = training_prompts(PROMPTS, seed), held_out_prompts(HELD_OUT)
    with progress.phase(f"sampling {REPLIES} replies to each of {PROMPTS} customers", part=timing.ANSWERS):
        replies = answer(base, inquiries, REPLIES, seed)
    with progress.phase(f"sampling a reply to each of {HELD_OUT} held-out customers", part=timing.ANSWERS):
        before = answer(base, asked, 1, seed)
    counts = write_thumbs(output, inquiries, replies, feedback, seed)
    progress.note(f"thumbs: {counts[0]} up, {counts[1]} down; aligning by {method}")
    run = align(recipe(method, output, seed), quiet=quiet)
    with progress.phase("loading the model"):
        aligned = load_base(run.model_path)
    with progress.phase("asking the aligned model the same held-out questions", part=timing.ANSWERS):
        after = answer(aligned, asked, 1, seed)
    return conclude(run, method, asked, before, after, counts, feedback, begun)


def write_thumbs(
    output: Path,
    inquiries: Sequence[Inquiry],
    replies: Sequence[Sequence[Generated]],
    feedback: DemoFeedback,
    seed: int,
) -> tuple[int, int]:
    """Write the customers' thumbs to feedback.jsonl; give how many are up and down."""
    raters = [Rater(f"customer-{i + 1}", feedback.noise) for i in range(feedback.raters)]
    thumbs = collect_thumbs(
        inquiries,
        replies,
        raters=raters,
        keep_desirable=feedback.keep_desirable,
        keep_undesirable=feedback.keep_undesirable,
        seed=seed,
    )
    output.mkdir(parents=True, exist_ok=True)
    write_jsonl(thumbs, output / "feedback.jsonl")
    counts = class_counts(thumbs)
    return counts.desirable, counts.undesirable


def recipe(method: str, output: Path, seed: int) -> dict[str, Any]:
    """Return the recipe of a method: what anyone would write for their own thumbs."""
    settings = METHODS[method]
    return {
        "model": {"name_or_path": str(BASE)},
        "data": {"train": str(output / "feedback.jsonl"), "eval": 0.1},
        "loss": settings["loss"],
        "train": {
            "batch_size": 32,
            "epochs": settings["epochs"],
            "learning_rate": settings["learning_rate"],
            "seed": seed,
            "eval_every": 50,
            "sample_tokens": REPLY_TOKENS,
        },
        "output": str(output),
    }


def align(made: Mapping[str, Any], *, quiet: bool = False) -> RunDir:
    """Train by a recipe; `quiet` says nothing of it.

    Raises:
        RunStopped: a signal came; there is nothing to resume.
    """
    try:
        return train(made, quiet=quiet)
    except RunStopped as stop:
        again = "stopped. The demo begins anew each time: start it again with the same command."
        raise RunStopped(again, stop.signal) from None


def conclude(
    run: RunDir,
    method: str,
    asked: Sequence[Inquiry],
    before: Sequence[Sequence[Generated]],
    after: Sequence[Sequence[Generated]],
    counts: tuple[int, int],
    feedback: DemoFeedback,
    begun: float,
) -> DemoOutcome:
    """Count who keeps which rules, and write evaluation/demo.json and the report."""
    old = [check(inquiry, reply[0].text) for inquiry, reply in zip(asked, before, strict=True)]
    new = [check(inquiry, reply[0].text) for inquiry, reply in zip(asked, after, strict=True)]
    rules = {
        label: (_share([kept[rule] for kept in old]), _share([kept[rule] for kept in new]))
        for rule, label in RULE_NAMES.items()
    }
    difference = [sum(b.values()) - sum(a.values()) for a, b in zip(old, new, strict=True)]
    wins = win_rate(sum(d > 0 for d in difference), sum(d < 0 for d in difference), sum(d == 0 for d in difference))
    passed = [(all(a.values()), all(b.values())) for a, b in zip(old, new, strict=True)]
    outcome = DemoOutcome(
        method=method,
        before=_share([a for a, _ in passed]),
        after=_share([b for _, b in passed]),
        win_rate=wins,
        rules=rules,
        examples=_examples(asked, before, after, passed),
        thumbs=counts,
        seconds=0.0,
        report=run.report_path,
    )
    result = BeforeAfterResult(
        before=outcome.before,
        after=outcome.after,
        win_rate=wins,
        method=method,
        rules={rule: BeforeAfter(before=b, after=a) for rule, (b, a) in rules.items()},
        noise=feedback.noise,
        customers=asdict(feedback),
        mean_words=MeanWords(before=_mean_words(before), after=_mean_words(after)),
        examples=outcome.examples,
    )
    run.write_evaluation("demo", result)
    return replace(outcome, report=write_pages(run), seconds=time.monotonic() - begun)


def _share(kept: Sequence[bool]) -> Rate:
    return proportion(sum(kept), len(kept))


def _mean_words(replies: Sequence[Sequence[Generated]]) -> float:
    return round(sum(len(reply[0].text.split()) for reply in replies) / len(replies), 2)


def _examples(
    asked: Sequence[Inquiry],
    before: Sequence[Sequence[Generated]],
    after: Sequence[Sequence[Generated]],
    passed: Sequence[tuple[bool, bool]],
) -> list[BeforeAfterExample]:
    """Return the first three held-out prompts, whatever became of them: chosen by nobody."""
    return [
        BeforeAfterExample(
            prompt=asked[i].message,
            before=before[i][0].text,
            after=after[i][0].text,
            before_passes=passed[i][0],
            after_passes=passed[i][1],
        )
        for i in range(3)
    ]
