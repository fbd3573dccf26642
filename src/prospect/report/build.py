"""The report: reads a run directory and nothing else, writes one page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from prospect.atomic import write_text
from prospect.report import figures, summary
from prospect.report.facts import Facts, dig, is_number
from prospect.report.findings import findings
from prospect.report.wording import count, differences, duration, interval, number, percent, plain, short_path
from prospect.training.run_dir import RunDir

FIRST_SAMPLES, MOST_SAMPLES = 4, 24  # shown at once, and in all: enough to read, few enough to stay small
PROMPT_LIMIT, COMPLETION_LIMIT = 700, 1500  # characters, so that 24 long samples stay far below 2 MB
DRAWN = {"prompt_tokens", "completion_tokens", "completion_histogram"}
HELD_OUT = {
    "eval_loss": "loss",
    "eval_rewards/auroc": "AUROC",
    "eval_rewards/accuracies": "accuracy",
    "eval_rewards/margins": "reward margin (β · nats)",
    "eval_rewards/chosen": "reward of {0} (β · nats)",
    "eval_rewards/rejected": "reward of {1} (β · nats)",
    "eval_kl": "z0 (nats)",
}


class Card(NamedTuple):
    """One key number."""

    label: str
    value: str
    note: str


class Sample(NamedTuple):
    """One prompt with its completion before and after; the texts are safe markup."""

    prompt: str
    before: Markup
    after: Markup | None
    before_passes: bool | None = None
    after_passes: bool | None = None


def build_report(run: str | Path) -> Path:
    """Write `report.html` for a run and return its path; a run in progress or with missing pieces will do.

    Args:
        run: the run directory.

    Raises:
        CheckpointError: `run` is no run directory, or a file in it is damaged beyond a torn last line.
    """
    directory = RunDir(run)
    write_text(directory.report_path, render(Facts.read(directory)))
    return directory.report_path


def render(facts: Facts) -> str:
    """Return the page for `facts`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        facts=facts,
        byline=_byline(facts),
        headline=summary.headline(facts),
        summary=_summary(facts),
        findings=findings(facts),
        cards=_cards(facts),
        results=figures.result_figures(facts) + figures.other_rate_figures(facts),
        examples=_examples(facts),
        curves=figures.learning_curves(facts),
        optimizer=figures.optimizer_curves(facts),
        held_out=figures.held_out_figures(facts),
        held_out_table=_held_out_table(facts),
        data=figures.data_figures(facts),
        data_table=_token_table(facts),
        data_notes=_data_notes(facts),
        samples=_samples(facts),
        first_samples=FIRST_SAMPLES,
        config=yaml.safe_dump(facts.config, sort_keys=False, allow_unicode=True) if facts.config else "",
        provenance=list(_flat(facts.provenance)),
    )


def _byline(facts: Facts) -> list[str]:
    started, seed = facts.origin("started"), facts.recipe("train", "seed")
    parts = [
        facts.name,
        str(started)[:16].replace("T", " ") if started else "",
        f"seed {seed}" if is_number(seed) else "",
        "in progress" if facts.in_progress else "",
    ]
    return [part for part in parts if part]


def _summary(facts: Facts) -> list[tuple[str, list[str]]]:
    return [
        ("What was done", summary.what_was_done(facts)),
        ("What changed", summary.what_changed(facts)),
        ("How sure we are", summary.how_sure(facts)),
    ]


def _cards(facts: Facts) -> list[Card]:
    cards = (
        _pass_card(facts),
        _win_card(facts),
        _auroc_card(facts),
        _margin_card(facts),
        _data_card(facts),
        _steps_card(facts),
    )
    return [card for card in cards if card]


def _pass_card(facts: Facts) -> Card | None:
    compared = facts.comparison
    return compared and Card("pass rate", percent(compared.after.rate), f"was {percent(compared.before.rate)}")


def _win_card(facts: Facts) -> Card | None:
    win = facts.comparison.win if facts.comparison else None
    return win and Card("wins against its start", percent(win.rate), f"95%: {interval(win.low, win.high)}")


def _auroc_card(facts: Facts) -> Card | None:
    auroc = facts.curve("eval_rewards/auroc")
    if not auroc:
        return None
    return Card(
        "held-out AUROC",
        f"{auroc.last:.2f}",
        f"was {auroc.first:.2f}" if len(auroc.steps) > 1 else "0.50 is chance",
    )


def _margin_card(facts: Facts) -> Card | None:
    margins, loss = facts.curve("rewards/margins"), facts.curve("loss")
    curve, label, unit = (margins, "reward margin", ", β · nats") if margins else (loss, "training loss", "")
    if not curve:
        return None
    last = curve.values[-max(1, len(curve.values) // 20) :].mean()  # one step alone is noise
    return Card(label, number(float(last)), f"mean of the last 5% of steps{unit}")


def _data_card(facts: Facts) -> Card | None:
    train, counts = facts.train_data, facts.class_counts
    rows = train.get("rows")
    if not is_number(rows):
        return None
    note = (
        f"{percent(counts[0] / sum(counts))} desirable" if counts else f"from {short_path(train.get('source', 'data'))}"
    )
    return Card(f"{summary.NOUNS.get(str(train.get('kind')), 'record')}s", count(rows), note)


def _steps_card(facts: Facts) -> Card | None:
    seconds, speed = facts.origin("seconds"), facts.curve("tokens_per_second")
    time = duration(seconds) if is_number(seconds) else ""
    pace = f"{number(float(sorted(speed.values)[len(speed.values) // 2]))} tokens/s" if speed else ""
    note = " · ".join(part for part in (time, pace) if part)
    return Card("steps", count(facts.steps_done), note) if facts.steps_done else None


def _examples(facts: Facts) -> list[Sample]:
    """What the evaluation picked out to read."""
    examples = dig(facts.comparison.details, "examples") if facts.comparison else None
    chosen = [example for example in examples or () if isinstance(example, dict)][:MOST_SAMPLES]
    return [
        _sample(
            example.get("prompt", ""),
            example.get("before", ""),
            example.get("after", ""),
            example.get("before_passes"),
            example.get("after_passes"),
        )
        for example in chosen
    ]


def _samples(facts: Facts) -> list[Sample]:
    """The first and the last completion of every prompt that was sampled."""
    by_prompt: dict[str, dict[Any, dict[str, Any]]] = {}
    for row in facts.samples:
        if is_number(row.get("step")):
            key = json.dumps(row.get("prompt"), sort_keys=True)
            by_prompt.setdefault(key, {}).setdefault(row["step"], row)
    found = []
    for steps in list(by_prompt.values())[:MOST_SAMPLES]:
        first, last = steps[min(steps)], steps[max(steps)]
        after = last.get("completion", "") if first is not last else None
        found.append(_sample(first.get("prompt", ""), first.get("completion", ""), after))
    return found


def _sample(prompt: Any, before: Any, after: Any, *passes: bool | None) -> Sample:
    prompt, before = plain(prompt, PROMPT_LIMIT), plain(before, COMPLETION_LIMIT)
    if after is None:
        return Sample(prompt, escape(before), None)
    return Sample(prompt, *differences(before, plain(after, COMPLETION_LIMIT)), *passes)


def _held_out_table(facts: Facts) -> list[tuple[str, str, str]]:
    """(metric, at the first evaluation, at the last)."""
    curves = [(name.format(*facts.class_names), facts.curve(key)) for key, name in HELD_OUT.items()]
    return [(name, number(curve.first), number(curve.last)) for name, curve in curves if len(curve.steps) > 1]


def _token_table(facts: Facts) -> list[tuple[str, list[str]]]:
    """(kind of text, mean, median, 90th percentile, greatest) in tokens."""
    train = facts.train_data
    names = ("demonstrations", "") if facts.feedback == "demonstration" else facts.class_names
    texts = [
        ("prompts", train.get("prompt_tokens")),
        (names[0], dig(train, "completion_tokens", "desirable")),
        (names[1], dig(train, "completion_tokens", "undesirable")),
    ]
    columns = ("mean", "p50", "p90", "max")
    return [
        (name, [f"{dig(stats, column):,.1f}".removesuffix(".0") for column in columns])
        for name, stats in texts
        if all(is_number(dig(stats, column)) for column in columns)
    ]


def _data_notes(facts: Facts) -> list[str]:
    """What the figures on the data leave out, as short remarks."""
    train = facts.train_data
    held_out = facts.origin("data", "eval", "rows")
    remarks = (
        (train.get("cut"), "completion", "cut by max_length"),
        (train.get("empty_completions"), "completion", "empty (the end token alone)"),
        (train.get("dropped"), "record", "dropped"),
        (held_out, "row", "held out"),
    )
    return [f"{count(n, noun)} {what}" for n, noun, what in remarks if is_number(n) and n > 0]


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as (dotted path, text); what the page shows elsewhere is left out."""
    if not isinstance(tree, dict):
        yield path, "none" if tree is None else str(tree)
        return
    for key, value in tree.items():
        if key not in DRAWN:
            yield from _flat(value, f"{path}.{key}" if path else str(key))
