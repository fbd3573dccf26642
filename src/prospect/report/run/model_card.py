"""The text of a run's model card, from the same facts as the run's page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from prospect.atomic import write_text
from prospect.model_card import (
    FILE,
    Card,
    front_matter,
    held_out_table,
    how_to_load,
    plain_markdown,
    read_card,
    shown_name,
)
from prospect.report.page.wording import count
from prospect.report.rounds.card import round_findings, rounds_section
from prospect.report.run import summary
from prospect.report.run.evaluations import plain_tree
from prospect.report.run.facts import RunFacts
from prospect.report.run.findings import findings
from prospect.report.run.measured import numbers_of, written
from prospect.run_dir import RunDir

MOST_RESULTS = 60  # rows of the table; the page has all


def write_model_card(run: str | Path) -> Path | None:
    """Write the card of a run's model and return its path; None where there is none to write.

    A card of another author is left as it is. A person's text above or below ours is kept, and so are entries of the
    front matter that Prospect does not set, such as a licence.

    Args:
        run: the run directory.

    Raises:
        CheckpointError: `run` is no run directory, or a file in it is damaged beyond a torn last line.
    """
    directory = RunDir(run)
    path = directory.model_path / FILE
    if not directory.model_path.is_dir():
        return None
    old = read_card(path)
    if old.above and not old.ours:
        return None
    facts = RunFacts.read(directory)
    front = front_matter(facts.config, facts.provenance, facts.metrics, old.front)
    write_text(path, Card(front, old.above, card_body(facts), old.below).text)
    return path


def card_body(facts: RunFacts) -> str:
    """Return the card's text: what it is, results with intervals, limits, how to make it again."""
    method, base = facts.method or "training", shown_name(_start(facts) or "a model")
    sections = [
        f"# {plain_markdown(base)}, aligned with {plain_markdown(method)}",
        _paragraph(summary.what_was_done(facts)),
        "## Results",
        _paragraph([*summary.what_changed(facts), *summary.how_sure(facts)]),
        _result_table(facts),
        held_out_table(facts.metrics),
        rounds_section(facts.round_of) if facts.round_of else "",
        _loading(facts),
        "## Limits",
        _limits(facts, base),
        "## How to make it again",
        _again(facts),
    ]
    return "\n\n".join(section for section in sections if section)


def _start(facts: RunFacts) -> str:
    """Return the model that the run started from, or the rounds that it is one of."""
    return facts.round_of.ledger.start if facts.round_of else facts.model


def _result_table(facts: RunFacts) -> str:
    """Every number with an interval: the comparison before and after, and the evaluations."""
    rows = [(name, entry) for name, result in facts.evaluations.items() for entry in numbers_of(plain_tree(result))]
    if not rows:
        return ""
    several = len({name for name, _ in rows}) > 1  # then two may have a win rate
    lines = [
        f"| {plain_markdown(f'{name}: {entry.name}' if several else entry.name)} |"
        f" {written(entry.value, entry.share)} |"
        f" {written(entry.low, entry.share)} to {written(entry.high, entry.share)} |"
        f" {count(entry.n) if entry.n is not None else ''} |"
        for name, entry in rows[:MOST_RESULTS]
    ]
    more = len(rows) - MOST_RESULTS
    rest = [f"\n{count(more, 'more number')} of its evaluations are in the run's report."] if more > 0 else []
    return "\n".join(["| measure | value | interval | n |", "|---|---|---|---|", *lines, *rest])


def _loading(facts: RunFacts) -> str:
    loads_with = facts.provenance.policy.loads_with
    return how_to_load(loads_with, facts.provenance.policy.base) if loads_with else ""


def _limits(facts: RunFacts, base: str) -> str:
    """Return the findings of the run's page, and what holds for every such model."""
    found = findings(facts) + (round_findings(facts.round_of) if facts.round_of else [])
    said = [f"{finding.title}. {finding.text}" for finding in found]
    fixed = [
        f"It has the licence and the limits of its base, {base}.",
        "It learnt what the people who gave the feedback liked; on other subjects nothing was measured here.",
    ]
    return "\n".join(f"- {plain_markdown(text)}" for text in (*said, *fixed))


def _again(facts: RunFacts) -> str:
    origin, train = facts.provenance, facts.train_data
    identity = origin.policy.identity
    about = [
        f"prospect-align {origin.prospect}" if origin.prospect else "",
        f"commit {origin.git[:12]} of the folder it was started in" if origin.git else "",
        f"feedback {shown_name(train.source)}, hash {train.sha256[:16]}" if train.sha256 else "",
        f"base model of identity {identity[:16]}" if identity else "",
    ]
    packages = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    lines = [f"- {plain_markdown(text)}" for text in (*about, packages) if text]
    if not facts.config:
        return "\n".join(lines)
    made = {key: value for key, value in facts.config.items() if key != "push_to_hub"}  # its repository is not theirs
    recipe = yaml.safe_dump(_without_folders(made), sort_keys=False, allow_unicode=True).strip()
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", recipe)), default=0))
    text = "Save this as `recipe.yaml`, put your own paths in, and run `prospect train recipe.yaml`:"
    return "\n".join([*lines, "", text, "", f"{fence}yaml", recipe, fence])


def _without_folders(tree: Any) -> Any:
    """Return the recipe with the last part of each path in place of the path; numbers, words and hub names stay."""
    if isinstance(tree, dict):
        return {key: _without_folders(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_folders(item) for item in tree]
    return shown_name(tree) if isinstance(tree, str) and re.search(r"[/\\]", tree) else tree


def _paragraph(sentences: list[str]) -> str:
    return plain_markdown(" ".join(sentences))
