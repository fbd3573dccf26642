"""The model card: `model/README.md`, from the same facts as the run's page.

Its front matter is what model hubs read. Names of folders and files on this machine are left out of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from prospect.atomic import write_text
from prospect.model_source import how_to_load
from prospect.report.page.wording import count, number, short_path
from prospect.report.run import summary
from prospect.report.run.evaluations import plain_tree
from prospect.report.run.facts import Facts
from prospect.report.run.findings import findings
from prospect.report.run.measured import numbers_of, written
from prospect.run_dir import RunDir

BEGIN = (
    "<!-- Written by prospect report. Edit above or below these two marks: what is between them is written again. -->"
)
END = "<!-- End of what prospect report writes. -->"
MOST_RESULTS = 60  # rows of the table; the page has all
# What the card that training writes holds, and how it ends.
_OF_TRAINING, _LAST_LINE = "\nTrained by Prospect on ", "it runs again as it is."
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".yaml", ".yml", ".txt")
_HELD_OUT = {
    "eval_loss": "loss",
    "eval_rewards/accuracies": "accuracy",
    "eval_rewards/auroc": "AUROC",
    "eval_rewards/margins": "reward margin",
}


def write_model_card(run: str | Path) -> Path | None:
    """Write the card of a run's model and return its path; None where there is none to write.

    A card that somebody else wrote is left as it is. What a person wrote above or below ours is kept, and so are
    entries of the front matter that are not ours, such as a licence.

    Args:
        run: the run directory.

    Raises:
        CheckpointError: `run` is no run directory, or a file in it is damaged beyond a torn last line.
    """
    directory = RunDir(run)
    path = directory.model_path / "README.md"
    if not directory.model_path.is_dir():
        return None
    old = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    split = _split(old)
    if split is None:
        return None
    kept, above, below = split
    facts = Facts.read(directory)
    front = yaml.safe_dump(front_matter(facts, kept), sort_keys=False, allow_unicode=True).strip()
    parts = [f"---\n{front}\n---", above, f"{BEGIN}\n\n{card_body(facts)}\n\n{END}", below]
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def front_matter(facts: Facts, kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what model hubs read: library, base model, data sets, tags; of names only those of the hub.

    Args:
        facts: the run.
        kept: the entries that are there already; those that are not ours stay, and so do their tags.
    """
    kept = dict(kept or {})
    base, sources = _base(facts), facts.recipe("data", "train")
    data = [str(source).partition(":")[0] for source in (sources if isinstance(sources, list) else [sources])]
    tags = kept.pop("tags", [])
    loss = facts.loss.rpartition(":")[2]
    ours = ["prospect", *([loss] if loss else [])]
    loads_with = facts.provenance.policy.loads_with
    adapter = "Peft" in loads_with if loads_with else bool(facts.recipe("model", "lora"))
    found: dict[str, Any] = {"library_name": "peft" if adapter else "transformers"}
    if is_hub_name(base):
        found["base_model"] = base
    named = [source for source in dict.fromkeys(data) if is_hub_name(source)]
    if named:
        found["datasets"] = named
    found["tags"] = [*ours, *(tag for tag in (tags if isinstance(tags, list) else []) if tag not in ours)]
    for name in ("library_name", "base_model", "datasets"):
        kept.pop(name, None)
    return {**found, **kept}


def is_hub_name(name: Any) -> bool:
    """Whether a name is that of a hub (`owner/name`) and of no file or folder here."""
    text = str(name)
    shaped = bool(_HUB_NAME.fullmatch(text)) and not text.lower().endswith(_FILES)
    return shaped and not Path(text).exists()


def card_body(facts: Facts) -> str:
    """Return the card's text: what it is, results with intervals, limits, how to make it again."""
    method, base = facts.method or "training", _shown(facts.model or "a model")
    sections = [
        f"# {_plain(base)}, aligned with {_plain(method)}",
        _paragraph(summary.what_was_done(facts)),
        "## Results",
        _paragraph([*summary.what_changed(facts), *summary.how_sure(facts)]),
        _result_table(facts),
        _held_out_table(facts),
        _loading(facts),
        "## Limits",
        _limits(facts, base),
        "## How to make it again",
        _again(facts),
    ]
    return "\n\n".join(section for section in sections if section)


def _split(old: str) -> tuple[dict[str, Any], str, str] | None:
    """Return the front matter, and what a person wrote above and below ours; None where the card is not ours at all."""
    front, body = _front(old)
    if not body.strip():
        return front, "", ""
    if BEGIN in body and END in body:
        above, _, rest = body.partition(BEGIN)
        return front, above.strip(), rest.partition(END)[2].strip()
    if _OF_TRAINING in body and _LAST_LINE in body:
        return front, "", body.partition(_LAST_LINE)[2].strip()
    return None


def _front(text: str) -> tuple[dict[str, Any], str]:
    found = re.match(r"---\n(.*?)\n---\n?", text, re.DOTALL)
    if not found:
        return {}, text
    try:
        front = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError):  # a hub would refuse it as well
        front = None
    return (front if isinstance(front, dict) else {}), text[found.end() :]


def _result_table(facts: Facts) -> str:
    """Every number with an interval: the comparison before and after, and the evaluations."""
    rows = [(name, entry) for name, result in facts.evaluations.items() for entry in numbers_of(plain_tree(result))]
    if not rows:
        return ""
    several = len({name for name, _ in rows}) > 1  # then two may have a win rate
    lines = [
        f"| {_plain(f'{name}: {entry.name}' if several else entry.name)} | {written(entry.value, entry.share)} |"
        f" {written(entry.low, entry.share)} to {written(entry.high, entry.share)} |"
        f" {count(entry.n) if entry.n is not None else ''} |"
        for name, entry in rows[:MOST_RESULTS]
    ]
    more = len(rows) - MOST_RESULTS
    rest = [f"\n{count(more, 'more number')} of its evaluations are in the run's report."] if more > 0 else []
    return "\n".join(["| measure | value | interval | n |", "|---|---|---|---|", *lines, *rest])


def _held_out_table(facts: Facts) -> str:
    curves = {name: facts.curve(key) for key, name in _HELD_OUT.items()}
    lines = [
        f"| {name} | {number(curve.first)} | {number(curve.last)} |"
        for name, curve in curves.items()
        if len(curve.steps) > 1
    ]
    return "\n".join(["| on held-out feedback | before | after |", "|---|---|---|", *lines]) if lines else ""


def _loading(facts: Facts) -> str:
    loads_with = facts.provenance.policy.loads_with
    return how_to_load(loads_with) if loads_with else ""


def _limits(facts: Facts, base: str) -> str:
    """Return what the run's page says to worry about, and what holds for every such model."""
    said = [f"{finding.title}. {finding.text}" for finding in findings(facts)]
    fixed = [
        f"It has the licence and the limits of its base, {base}.",
        "It learnt what the people who gave the feedback liked; on other subjects nothing was measured here.",
    ]
    return "\n".join(f"- {_plain(text)}" for text in (*said, *fixed))


def _again(facts: Facts) -> str:
    origin, train = facts.provenance, facts.train_data
    identity = origin.policy.identity
    about = [
        f"prospect-align {origin.prospect}" if origin.prospect else "",
        f"commit {origin.git[:12]} of the folder it was started in" if origin.git else "",
        f"feedback {_shown(train.source)}, hash {train.sha256[:16]}" if train.sha256 else "",
        f"base model of identity {identity[:16]}" if identity else "",
    ]
    packages = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    lines = [f"- {_plain(text)}" for text in (*about, packages) if text]
    if not facts.config:
        return "\n".join(lines)
    recipe = yaml.safe_dump(_without_folders(facts.config), sort_keys=False, allow_unicode=True).strip()
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", recipe)), default=0))
    text = "Save this as `recipe.yaml`, put your own paths in, and run `prospect train recipe.yaml`:"
    return "\n".join([*lines, "", text, "", f"{fence}yaml", recipe, fence])


def _base(facts: Facts) -> str:
    """Return what hubs are to know as the base: of an adapter that was trained on, what that sits on."""
    under = facts.provenance.policy.base
    return str(under) if is_hub_name(under) else facts.model


def _shown(name: Any) -> str:
    """Return a hub name as it is, of a path the last part alone."""
    text = str(name)
    return text if is_hub_name(text) else short_path(text.replace("\\", "/")).rpartition("/")[2]


def _without_folders(tree: Any) -> Any:
    """Return the recipe with the last part of each path in place of the path; numbers, words and hub names stay."""
    if isinstance(tree, dict):
        return {key: _without_folders(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_folders(item) for item in tree]
    return _shown(tree) if isinstance(tree, str) and re.search(r"[/\\]", tree) else tree


def _paragraph(sentences: list[str]) -> str:
    return _plain(" ".join(sentences))


def _plain(text: str) -> str:
    """Text that Markdown takes as it is: no tags, links, tables, code or line breaks."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]|~])", r"\\\1", line)
    return line.replace("&", "&amp;").replace("<", "&lt;")
