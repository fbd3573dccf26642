"""The verdict of an export -> desirable, undesirable or neutral; what nobody declared is refused, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.feedback.files.labels import plain_word
from prospect.feedback.importers.shapes.base import Importer
from prospect.feedback.wording import names, show

# YAML 1.1 reads these words, unquoted, as true and false, so a key `yes:` of a label map arrives as True.
_YAML_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class Polarity:
    """Reads the verdicts of one import.

    Args:
        importer: whose `polarity` says what the tool's own verdicts mean.
        label_map: verdict -> true, false or null (neutral); it adds to the importer's and overrides it. Verdicts and
            keys are compared as text without regard to case, because CSV and YAML do not keep types.
    """

    def __init__(self, importer: Importer, label_map: Mapping[Any, bool | None] | None = None):
        self._importer = importer
        self._map = _checked_map(label_map or {})
        self._negatives: dict[str, str] = {}  # "0" or "-1" -> where it was first seen

    def read(self, verdict: Any, where: str) -> bool | None:
        """Return whether the verdict says desirable, None if it is neutral; refuse one that nobody declared."""
        key = _as_key(verdict)
        for known in (key, _YAML_BOOLEANS.get(key, key)):
            if known in self._map:
                return self._map[known]
        if isinstance(verdict, list | dict) or key not in self._importer.polarity:
            raise self._unknown(verdict, where)
        desirable = self._importer.polarity[key]
        if desirable is False and key in ("0", "-1"):
            self._check_one_negative(key, where)
        return desirable

    def _check_one_negative(self, key: str, where: str) -> None:
        self._negatives.setdefault(key, where)
        other = self._negatives.get("-1" if key == "0" else "0")
        if other is not None:
            raise DataError(
                f"{where}: the verdict is {key}, but {other} has {'-1' if key == '0' else '0'}; with both in one "
                "export 0 may mean neutral as well as undesirable. Say which: --label-map '{0: null, -1: false}' or "
                "'{0: false, -1: false}'"
            )

    def _unknown(self, verdict: Any, where: str) -> DataError:
        known = names(dict.fromkeys([*self._importer.polarity, *self._map]), "or")
        key = show(_as_key(verdict)) if isinstance(verdict, str) else show(verdict)
        return DataError(
            f"{where}: the verdict is {show(verdict)}; expected one of {self._importer.title}: {known}. "
            f"Say what it means: --label-map '{{{key}: true}}', or false, or null for neutral"
        )


def _as_key(verdict: Any) -> str:
    if isinstance(verdict, bool):
        return "true" if verdict else "false"
    if isinstance(verdict, float) and verdict.is_integer():
        return str(int(verdict))
    return plain_word(str(verdict)).removesuffix(".0")


def _checked_map(label_map: Mapping[Any, bool | None]) -> dict[str, bool | None]:
    checked: dict[str, bool | None] = {}
    for label, meaning in label_map.items():
        if meaning is not None and not isinstance(meaning, bool):
            raise UsageError(f"label map: {show(label)} is {show(meaning)}; expected true, false, or null for neutral.")
        key = _as_key(label)
        if checked.setdefault(key, meaning) is not meaning:
            raise UsageError(f"label map: {key} is there twice, with two meanings. Remove one.")
    return checked
