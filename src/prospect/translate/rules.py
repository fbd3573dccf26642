"""What becomes of another trainer's keys: a rule takes those that belong together, and gives settings of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from prospect.errors import ConfigError
from prospect.peers import explain_key

OFF: tuple[Any, ...] = (None, False, 0, "", "no", "none", "None", "off", "false", "disabled", [], {})
"""Values by which a config says that it does not want something."""


@dataclass(frozen=True)
class Theirs:
    """A config of another trainer.

    Attributes:
        given: what it says, by key.
        defaults: what the trainer does where it says nothing, as far as that matters here.
        loss: our name of the loss that it trains.
        processes: how many processes share its steps.
        folder: where it was found; paths in it may be relative to that.
    """

    given: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    loss: str = "kto"
    processes: int = 1
    folder: Path = Path()

    def get(self, *keys: str) -> Any:
        """Return the first of the keys that the config gives a value, else the trainer's own default, else None."""
        for place in (self.given, self.defaults):
            for key in keys:
                if place.get(key) is not None:
                    return place[key]
        return None

    def number(self, *keys: str) -> float | None:
        """Return the same as a number.

        Raises:
            ConfigError: it is none.
        """
        value = self.get(*keys)
        if value is None:
            return None
        try:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{keys[0]} is {value!r}; expected a number. Write one, or leave the key out.") from None

    def on(self, *keys: str) -> bool:
        """Return whether one of the keys is switched on."""
        return any(self.get(key) not in OFF for key in keys)


class Became(NamedTuple):
    """What became of some keys.

    Attributes:
        settings: our dotted keys with their values; empty where there is none.
        note: what differs in meaning; why there is none.
        lost: whether what they ask for is not done here, and the run will be another.
    """

    settings: Mapping[str, Any] = {}
    note: str = ""
    lost: bool = False


class Rule(NamedTuple):
    """Keys of theirs that are read together; a star in a key stands for any letters."""

    keys: tuple[str, ...]
    read: Callable[[Theirs], Became]

    def matches(self, key: str) -> bool:
        """Return whether a key is the rule's."""
        return any(key == own or ("*" in own and fnmatchcase(key, own)) for own in self.keys)


class Tool(NamedTuple):
    """Another trainer.

    Attributes:
        name: as `--from` has it.
        title: as people write it.
        signs: keys by which its configs are told from others'.
        rules: the first that matches a key is the key's.
        loss: a config, and what its command or the user says that is trained (empty where nothing does) -> our loss.
        defaults: a config and our loss -> what the tool does where the config says nothing.
    """

    name: str
    title: str
    signs: tuple[str, ...]
    rules: tuple[Rule, ...]
    loss: Callable[[Mapping[str, Any], str], str]
    defaults: Callable[[Mapping[str, Any], str], dict[str, Any]]

    def rule_of(self, key: str) -> Rule | None:
        """Return the rule of a key; None for a word that is not known of the tool."""
        return next((rule for rule in self.rules if rule.matches(key)), None)


def rule(*keys: str) -> Callable[[Callable[[Theirs], Became]], Rule]:
    """Make the function below the rule of these keys."""
    return lambda read: Rule(keys, read)


def same(ours: str, *keys: str, note: str = "", number: bool = False) -> Rule:
    """Return the rule of keys whose value is the value of a key of ours."""

    def read(theirs: Theirs) -> Became:
        value = theirs.number(*keys) if number else theirs.get(*keys)
        return Became({} if value is None else {ours: value}, note)

    return Rule(keys, read)


def whole(ours: str, *keys: str, note: str = "") -> Rule:
    """Return the same where the value is a whole number."""

    def read(theirs: Theirs) -> Became:
        value = theirs.number(*keys)
        return Became({} if value is None else {ours: round(value)}, note)

    return Rule(keys, read)


def without(reason: str, *keys: str) -> Rule:
    """Return the rule of keys, several in a text, that ask for what is not done here, where they are switched on."""

    def read(theirs: Theirs) -> Became:
        wanted = any(theirs.on(key) for key in theirs.given if made.matches(key))
        return Became(note=reason, lost=True) if wanted else Became(note="off here too")

    made = Rule(tuple(" ".join(keys).split()), read)
    return made


def needless(reason: str, *keys: str) -> Rule:
    """Return the rule of keys, several in a text, that there is no need for: it is done, or changes no result."""
    return Rule(tuple(" ".join(keys).split()), lambda theirs: Became(note=reason))


def answered(key: str) -> str:
    """Return what `prospect.peers` answers to a key of theirs that has no counterpart."""
    answer = explain_key(key)
    assert answer is not None, key
    return answer


def listed(value: Any) -> list[Any]:
    """Return a list of what may be one value, a list, or words between commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that are None."""
    return {key: value for key, value in values.items() if value is not None}
