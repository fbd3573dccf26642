"""One config, key by key: the recipe that it makes, and what became of everything that it says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prospect.config import Config, flat, load_config, set_key
from prospect.recipe_text import commented, in_yaml
from prospect.translate.rules import Became, Rule, Theirs, Tool

Fate = Literal["carried", "assumed", "not here", "needless", "unknown"]
MODEL, DATA = "my/model", "feedback.jsonl"
"""What stands in for what a config does not name."""
_SECRET = re.compile(r"(?<!pad_)(?<!eos_)(?<!bos_)(?<!unk_)token$|api_key|secret|password|webhook", re.IGNORECASE)
_LONGEST = 60  # characters of a value that is shown


@dataclass(frozen=True)
class Entry:
    """What became of keys that were read together.

    Attributes:
        keys: theirs, with their values.
        fate: carried: settings of ours. assumed: the same of a default of theirs, which the config does not say. not
            here: it asks for what is not done. needless: there is nothing to set. unknown: no key of the tool's that is
            known, and left out.
        settings: ours.
        note: what differs, or why there is none.
        lost: whether the run will not do what the keys ask for.
    """

    keys: Mapping[str, Any]
    fate: Fate
    settings: Mapping[str, Any]
    note: str = ""
    lost: bool = False


@dataclass(frozen=True)
class Translation:
    """A config of another trainer as a recipe.

    Attributes:
        tool: which trainer's.
        settings: dotted keys of the recipe with their values.
        entries: what became of each key.
        missing: our keys that the config does not name, and for which a name of an example stands.
    """

    tool: Tool
    settings: Mapping[str, Any]
    entries: tuple[Entry, ...]
    missing: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether everything that the config asks for is in the recipe."""
        return not self.missing and not any(entry.lost for entry in self.entries)

    def recipe(self) -> dict[str, Any]:
        """Return the recipe as nested settings."""
        recipe: dict[str, Any] = {}
        for key, value in self.settings.items():
            recipe = set_key(recipe, key, value)
        return recipe

    def text(self) -> str:
        """Return it as YAML, each line with the key of theirs that it comes from."""
        comments = dict.fromkeys(self.missing, "<-- the config does not name it")
        for entry in self.entries:
            comments |= dict.fromkeys(entry.settings, ", ".join(entry.keys) or f"{self.tool.title}'s default")
        head = [f"Translated from {self.tool.title}. Look at it, and at what would be trained on:"]
        return commented(self.settings, comments, [*head, "prospect train FILE --dry-run"])


def shown(key: str, value: Any) -> str:
    """Return a value of theirs in few characters; a key to somebody's account is never shown."""
    text = "***" if value and _SECRET.search(key) else in_yaml(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def translate(
    tool: Tool, given: Mapping[str, Any], *, method: str = "", processes: int = 1, folder: Path | None = None
) -> Translation:
    """Return the recipe that a config of another trainer makes here.

    Args:
        tool: whose it is.
        given: what it says.
        method: kto, dpo, ... where the command says it and the config does not.
        processes: how many share its steps.
        folder: where it was found.

    Raises:
        ConfigError: it trains something that there is not here, or holds a value that no such config has.
    """
    loss = tool.loss(given, method)
    theirs = Theirs(given, tool.defaults(given, loss), loss, processes, folder or Path())
    usual = flat(Config.model_validate({"model": MODEL, "data": {"train": DATA}, "output": "runs/it"}).as_dict())
    settings: dict[str, Any] = {"loss.name": loss}
    entries = []
    for rule in tool.rules:
        entry = _entry(tool, rule, theirs, usual)
        if entry is not None:
            entries.append(entry)
            settings |= entry.settings
    unknown = {key: value for key, value in given.items() if tool.rule_of(key) is None}
    entries += [Entry({key: value}, "unknown", {}, lost=True) for key, value in unknown.items()]
    needed = {"model.name_or_path": MODEL, "data.train": DATA, "output": f"runs/{loss}"}
    missing = tuple(key for key in needed if key != "output" and key not in settings)
    made = Translation(tool, {**needed, **settings}, tuple(entries), missing)
    load_config(made.recipe(), where="the translated recipe")
    return made


def _entry(tool: Tool, rule: Rule, theirs: Theirs, usual: Mapping[str, Any]) -> Entry | None:
    keys = {key: value for key, value in theirs.given.items() if tool.rule_of(key) is rule}
    if not keys and not any(tool.rule_of(key) is rule for key in theirs.defaults):
        return None
    became: Became = rule.read(theirs)
    if keys:
        note = became.note or ("" if became.settings else "left to what is usual here")
        kind: Fate = "carried" if became.settings else "not here" if became.lost else "needless"
        return Entry(keys, kind, became.settings, note, became.lost)
    told = {key: value for key, value in became.settings.items() if key not in usual or usual[key] != value}
    return Entry({}, "assumed", told, became.note) if told else None
