"""The report: reads a run directory and nothing else, writes one page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from prospect.atomic import write_text
from prospect.report.page.pages import render_page
from prospect.report.page.parts import (
    FIRST_SAMPLES,
    MOST_SAMPLES,
    PROMPT_LIMIT,
    PageSample,
    PageTable,
    SampleSide,
    compare_sample,
    flat,
)
from prospect.report.page.pictures import picture_grid, picture_side
from prospect.report.page.wording import count, number, plain
from prospect.report.rounds.words import round_name
from prospect.report.run import figures, summary
from prospect.report.run.cards import key_numbers
from prospect.report.run.evaluations import evaluation_parts
from prospect.report.run.facts import RunFacts, is_number
from prospect.report.run.findings import findings
from prospect.results.run import SampleRow
from prospect.run_dir import RunDir

DRAWN = frozenset({"shown", "prompt_tokens", "completion_tokens", "completion_histogram"})
HELD_OUT = {
    "eval_loss": "loss",
    "eval_rewards/auroc": "AUROC",
    "eval_rewards/accuracies": "accuracy",
    "eval_rewards/margins": "reward margin (β · nats)",
    "eval_rewards/chosen": "reward of {0} (β · nats)",
    "eval_rewards/rejected": "reward of {1} (β · nats)",
    "eval_kl": "z0 (nats)",
}


def build_report(run: str | Path) -> Path:
    """Write `report.html` for a run and return its path; a run in progress or with missing pieces will do.

    Args:
        run: the run directory.

    Raises:
        CheckpointError: `run` is no run directory, or a file in it is damaged beyond a torn last line.
    """
    directory = RunDir(run)
    write_text(directory.report_path, render(RunFacts.read(directory)))
    return directory.report_path


def render(facts: RunFacts) -> str:
    """Return the page for `facts`."""
    return render_page(
        "page.html.j2",
        kind="Prospect run report",
        footer="Made by prospect report from the run directory alone.",
        facts=facts,
        byline=_byline(facts),
        headline=summary.headline(facts),
        summary=_summary(facts),
        findings=findings(facts),
        cards=key_numbers(facts),
        results=figures.result_figures(facts),
        examples=_examples(facts) or _pictures(facts),
        evaluations=evaluation_parts(facts),
        curves=figures.learning_curves(facts),
        optimizer=figures.optimizer_curves(facts),
        held_out=figures.held_out_figures(facts),
        held_out_table=_held_out_table(facts),
        data=figures.data_figures(facts),
        data_table=_token_table(facts),
        data_notes=_data_notes(facts),
        data_pictures=_data_pictures(facts),
        samples=_samples(facts),
        first_samples=FIRST_SAMPLES,
        config=yaml.safe_dump(facts.config, sort_keys=False, allow_unicode=True) if facts.config else "",
        provenance=flat(facts.provenance.model_dump(mode="json", exclude_unset=True), leave_out=DRAWN),
    )


def _byline(facts: RunFacts) -> list[str]:
    started, seed = facts.provenance.started, facts.recipe("train", "seed")
    parts = [
        facts.name,
        f"{round_name(facts.round_of.round)} of {facts.round_of.ledger.protocol}" if facts.round_of else "",
        started[:16].replace("T", " ") if started else "",
        f"seed {seed}" if is_number(seed) else "",
        "in progress" if facts.in_progress else "",
    ]
    return [part for part in parts if part]


def _summary(facts: RunFacts) -> list[tuple[str, list[str]]]:
    return [
        ("What was done", summary.what_was_done(facts)),
        ("What changed", summary.what_changed(facts)),
        ("How sure we are", summary.how_sure(facts)),
    ]


def _examples(facts: RunFacts) -> list[PageSample]:
    """Return what the evaluation picked out to read."""
    examples = facts.comparison.examples if facts.comparison else []
    return [
        compare_sample(one.prompt, one.before, one.after, passes=(one.before_passes, one.after_passes))
        for one in examples[:MOST_SAMPLES]
    ]


def _pictures(facts: RunFacts) -> list[PageSample]:
    """Return pictures of the same prompts by both models."""

    def side(title: str, names: Sequence[str], passed: int) -> SampleSide:
        return picture_side(title, f"{passed} of {len(names)} pass", facts.path, names)

    return [
        PageSample(one.prompt, [side("Before", one.before, one.before_pass), side("After", one.after, one.after_pass)])
        for one in (facts.comparison.pictures if facts.comparison else [])[:MOST_SAMPLES]
    ]


def _data_pictures(facts: RunFacts) -> list[SampleSide]:
    """Return small copies of a few images of each class."""
    images = facts.provenance.images
    sides = []
    for label, name, total in zip((True, False), facts.class_names, facts.class_counts or (None, None), strict=True):
        some = [one for one in images.shown if one.desirable is label][:MOST_SAMPLES] if images else []
        if some:
            said = f"{count(len(some))} of {count(total)}" if total else f"{count(len(some))} of them"
            alt = f"{name}: {'; '.join(plain(one.prompt, PROMPT_LIMIT // 10) for one in some)}"
            sides.append(
                SampleSide(f"{name.capitalize()}, {said}", picture_grid(facts.path, [one.image for one in some], alt))
            )
    return sides


def _samples(facts: RunFacts) -> list[PageSample]:
    """Return the first and the last completion of every prompt that was sampled."""
    by_prompt: dict[str, dict[int, SampleRow]] = {}
    for row in facts.samples:
        by_prompt.setdefault(json.dumps(row.prompt, sort_keys=True), {}).setdefault(row.step, row)
    found = []
    for steps in list(by_prompt.values())[:MOST_SAMPLES]:
        first, last = steps[min(steps)], steps[max(steps)]
        if first.image is not None:
            found.append(_drawn(facts.path, first, last))
            continue
        found.append(compare_sample(first.prompt, first.completion, last.completion if first is not last else None))
    return found


def _drawn(folder: Path, first: SampleRow, last: SampleRow) -> PageSample:
    """Return the images of one prompt and seed at two steps."""
    rows = {f"Step {count(row.step)}": row for row in (first, last)}
    sides = [
        SampleSide(title, picture_grid(folder, [str(row.image)], f"{title}: {row.prompt}"))
        for title, row in rows.items()
    ]
    return PageSample(str(first.prompt), sides)


def _held_out_table(facts: RunFacts) -> PageTable | None:
    """Each metric at the first evaluation and at the last."""
    curves = [(name.format(*facts.class_names), facts.curve(key)) for key, name in HELD_OUT.items()]
    rows = [(name, number(curve.first), number(curve.last)) for name, curve in curves if len(curve.steps) > 1]
    return (
        PageTable("Held-out feedback, first and last evaluation", ("metric", "first", "last"), rows) if rows else None
    )


def _token_table(facts: RunFacts) -> PageTable | None:
    """Lengths of prompts and completions in tokens."""
    train = facts.train_data
    names = ("demonstrations", "") if facts.feedback == "demonstration" else facts.class_names
    texts = [
        ("prompts", train.prompt_tokens),
        (names[0], train.completion_tokens.get("desirable")),
        (names[1], train.completion_tokens.get("undesirable")),
    ]
    rows = [
        (name, *(f"{value:,.1f}".removesuffix(".0") for value in (lengths.mean, lengths.p50, lengths.p90, lengths.max)))
        for name, lengths in texts
        if lengths
    ]
    return PageTable("Lengths in tokens", ("text", "mean", "median", "90% under", "most"), rows) if rows else None


def _data_notes(facts: RunFacts) -> list[str]:
    """Return what the figures on the data leave out, as short remarks."""
    train = facts.train_data
    remarks = (
        (train.cut, "completion", "cut by max_length"),
        (train.empty_completions, "completion", "empty (the end token alone)"),
        (train.dropped, "record", "dropped"),
        *((found.rows, "record", f"left out: {why}") for why, found in train.unrenderable.items()),
        (facts.held_out.rows, "row", "held out"),
    )
    return [f"{count(n, noun)} {what}" for n, noun, what in remarks if n]
