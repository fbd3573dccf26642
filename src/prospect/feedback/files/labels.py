"""Labels to verdicts: one declared mapping, and anything else is an error with its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from prospect.errors import ConfigError, DataError
from prospect.feedback.wording import names, show

_VERDICTS = {"true": True, "false": False, "1": True, "0": False, "-1": False}
THUMBS: Mapping[str, bool | None] = {
    **dict.fromkeys(("1", "true", "yes", "up", "thumbs_up", "thumbs-up", "thumbs up", "thumbsup", "👍"), True),
    **dict.fromkeys(("+1", ":+1:", ":thumbsup:", ":thumbs_up:"), True),
    **dict.fromkeys(("like", "liked", "good", "positive", "upvote", "desirable"), True),
    **dict.fromkeys(("0", "-1", "false", "no", "down", "thumbs_down", "thumbs-down", "thumbs down"), False),
    **dict.fromkeys(("thumbsdown", "👎", "dislike", "disliked", "bad", "negative", "downvote", "undesirable"), False),
    **dict.fromkeys((":-1:", ":thumbsdown:", ":thumbs_down:"), False),
    "neutral": None,
}
"""Words whose polarity is plain, for tools in which everyone names the labels; any other needs a label map."""
_SWITCHES = {"on": True, "off": False}
_TINTS = dict.fromkeys([0xFE0F, *range(0x1F3FB, 0x1F400)])
# YAML 1.1 reads these words, unquoted, as true and false, so a key `yes:` of a recipe arrives as True.
_YAML_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def plain_word(verdict: str) -> str:
    """Return a verdict as `THUMBS` spells it: lower case, and a thumb in its plain colour."""
    return verdict.strip().lower().translate(_TINTS)


class LabelReader:
    """Reads the labels of one file, by the map if one is given, else true/false, 1/0 or 1/-1.

    One reader per file: a file with both 0 and -1 is refused, for there 0 may well mean "neutral".

    Args:
        label_map: label -> desirable. Where it is given, only its labels are legal. Labels and keys are
            compared as text, because CSV and YAML do not keep types.
    """

    def __init__(self, label_map: Mapping[Any, bool] | None = None):
        self._map = _checked_map(label_map) if label_map else None
        self._negatives: dict[str, str] = {}  # "0" or "-1" -> where it was first seen

    def read(self, label: Any, where: str) -> bool:
        """Return whether the label says desirable; refuse a label that nobody declared."""
        if self._map is not None:
            return self._read_mapped(label, where)
        if label is True or label is False:
            return label
        key = _as_key(label).strip().lower().removesuffix(".0")
        verdict = _VERDICTS.get(key)
        if verdict is None:
            _refuse(label, where, "true/false, 1/0 or 1/-1")
        if key in ("0", "-1"):
            self._check_polarity(key, where)
        return verdict

    def _read_mapped(self, label: Any, where: str) -> bool:
        assert self._map is not None
        key = _as_key(label)
        verdict = self._map.get(key)
        if verdict is None and key.lower() in _YAML_BOOLEANS:
            verdict = self._map.get(_YAML_BOOLEANS[key.lower()])
        if verdict is None:
            _refuse(label, where, f"a label of data.label_map: {names(self._map, 'or')}")
        return verdict

    def _check_polarity(self, key: str, where: str) -> None:
        self._negatives.setdefault(key, where)
        other = self._negatives.get("-1" if key == "0" else "0")
        if other is not None:
            raise DataError(
                f"{where}: label is {key}, but {other} has {'-1' if key == '0' else '0'}; with both in one "
                "file 0 may mean neutral as well as undesirable. Say which: "
                "data.label_map: {1: true, 0: false, -1: false}, or remove the neutral rows"
            )


def _as_key(label: Any) -> str:
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label)


def _checked_map(label_map: Mapping[Any, bool]) -> dict[str, bool]:
    checked: dict[str, bool] = {}
    for label, verdict in label_map.items():
        if not isinstance(verdict, bool):
            raise ConfigError(f"data.label_map: {show(label)} is {show(verdict)}; expected true or false")
        key = _as_key(label)
        if checked.setdefault(key, verdict) is not verdict:
            raise ConfigError(f"data.label_map: {key} is there twice, once true and once false. Remove one")
    return checked


def _refuse(label: Any, where: str, expected: str) -> NoReturn:
    raise DataError(f"{where}: label is {show(label)}; expected {expected}. {_advice(label)}")


def _advice(label: Any) -> str:
    if label is None or label == "" or label != label:  # null, an empty cell, NaN
        return "Give the row a label or remove it; in a file of demonstrations leave the column out"
    if isinstance(label, list | dict):
        return "One label is one verdict on the whole completion"
    key = _as_key(label)
    entry = f'"{key}"' if key.lower() in _YAML_BOOLEANS or not key.replace("_", "").isalnum() else key
    desirable = THUMBS.get(plain_word(key), _SWITCHES.get(plain_word(key)))
    if desirable is not None:
        return f"Map it: data.label_map: {{{entry}: {'true' if desirable else 'false'}}}"
    return f"Map it: data.label_map: {{{entry}: true}} or {{{entry}: false}}"
