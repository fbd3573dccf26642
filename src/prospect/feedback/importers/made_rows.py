"""A vote or preference of an export -> a line of a feedback file, read once as `load_feedback` will read it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.files.others.layouts import number_of
from prospect.feedback.files.rows import RowParser, finite_number
from prospect.feedback.files.text import HalfCharacterError, SpeakerError, parse_text
from prospect.feedback.files.write import encode
from prospect.feedback.frozen.tombstones import Graveyard
from prospect.feedback.importers.report import by_frequency
from prospect.feedback.importers.shapes.base import Cell, Preference, Ranking, Vote
from prospect.feedback.times import read_time, write_time

_SIDES = ("prompt", "completion", "chosen", "rejected")


class Unusable(Exception):  # noqa: N818 - it is a reason, caught where it is counted
    """No row can be made of an item; the text says why, in words that are the same for all like it."""


class Made(NamedTuple):
    """A row ready to be written, and what the report counts of it."""

    id: str
    label: bool | None
    is_correction: bool
    relative: bool
    rater: str | None
    redacted: dict[str, int]
    lost_weight: bool
    line: bytes


class RowMaker:
    """Makes the rows of one import.

    Args:
        source: the importer's name, which every row keeps.
        files: the export's files, to shorten their paths in ids.
        redact: whether personal data in the texts is replaced.
        raters: what a rater is called in the file.
        purged: rows that were removed from a dataset and must not come back.
    """

    def __init__(
        self,
        source: str,
        files: Iterable[Path],
        *,
        redact: bool,
        raters: Callable[[str], str],
        purged: Graveyard | None = None,
    ):
        self._source = source
        self._files = {str(path): path.name for path in files}
        self._redact = redact
        self._rater_name = raters
        self._purged = purged
        self._parsers = {side: RowParser() for side in ("completion", "chosen", "completions")}

    def vote(self, vote: Vote, desirable: bool) -> Made:
        """Return the row of a vote that counts."""
        if vote.unusable:
            raise Unusable(vote.unusable)
        extra = {
            "label": desirable,
            "relative": vote.relative or None,
            "score": finite_number(vote.score),
            "tools": vote.tools,
            "finished": None if vote.finished else False,
        }
        return self._made(vote, {"prompt": vote.prompt, "completion": vote.completion}, extra)

    def correction(self, vote: Vote) -> Made:
        """Return a desirable row of the answer that the rater wrote in place of the completion."""
        if vote.unusable or not vote.correction or not vote.correction.strip():
            raise Unusable(vote.unusable or "correction is empty")
        texts: dict[str, Cell] = {"prompt": vote.prompt, "completion": vote.correction}
        extra = {"label": True, "tools": vote.tools, "model": None, "reason": "correction"}
        return self._made(vote, texts, extra, is_correction=True)

    def preference(self, item: Preference) -> Made:
        """Return the row of a preference."""
        texts = {"prompt": item.prompt, "chosen": item.chosen, "rejected": item.rejected}
        return self._made(item, texts, {"tools": item.tools, "relative": item.relative or None})

    def ranking(self, item: Ranking) -> Made:
        """Return the row of completions with scores."""
        texts = {"prompt": item.prompt, "completions": item.completions}
        return self._made(item, texts, {"scores": item.scores, "tools": item.tools})

    def _made(
        self,
        item: Vote | Preference | Ranking,
        texts: dict[str, Any],
        extra: dict[str, Any],
        is_correction: bool = False,
    ) -> Made:
        found: Counter[str] = Counter()
        row: dict[str, Any] = {**texts, **self._provenance(item), **extra}
        if is_correction:
            row["id"] += ":correction"
        if self._redact:
            for column in (*texts, "reason"):
                row[column] = redacted(row[column], found)
        row = {column: value for column, value in row.items() if value is not None or column in texts}
        for column in texts:
            if row[column] is None or row[column] == []:
                raise Unusable(f"{column} is missing")
        return Made(
            id=row["id"],
            label=row.get("label"),
            is_correction=is_correction,
            relative="relative" in row,
            rater=row.get("rater"),
            redacted=dict(found),
            lost_weight="weight" not in row and item.weight not in (None, ""),
            line=self._line(row, texts, item.where),
        )

    def _provenance(self, item: Vote | Preference | Ranking) -> dict[str, Any]:
        name = item.source_id if item.source_id is not None else self._short(item.where)
        return {
            "id": _text(f"{self._source}:{name}" if item.source_id is not None else name),
            "rater": None if item.rater is None else self._rater_name(item.rater),
            "weight": _weight(item.weight),
            "source": self._source,
            "source_id": _text(item.source_id),
            "time": _time(item.time),
            "model": _text(item.model),
            "reason": _text(item.reason),
        }

    def _short(self, where: str) -> str:
        """Return the place without folders, so that an export has the same ids wherever it lies."""
        for path, name in self._files.items():
            if where.startswith(f"{path}:"):
                return name + where[len(path) :]
        return where

    def _line(self, row: dict[str, Any], texts: Iterable[str], where: str) -> bytes:
        parser = next(parser for side, parser in self._parsers.items() if side in row)
        try:
            record = parser.parse(row, where, row["id"])
        except SpeakerError as error:
            raise Unusable("completion is not the assistant's") from error
        except DataError as error:
            _refuse_texts(row, texts)
            raise Unusable("row cannot be read as feedback") from error
        if self._purged is not None and self._purged.covers(record):
            raise Unusable("purged")
        try:
            return encode(record, Path())  # its completions are texts
        except DataError as error:
            raise Unusable("row cannot be written as JSON") from error


class Tally:
    """Counts the rows on their way to the file."""

    def __init__(self) -> None:
        self.rows = 0
        self._labels: Counter[bool | None] = Counter()
        self._corrections = 0
        self._relative = 0
        self._lost_weights = 0
        self._raters: set[bytes] = set()
        self._redacted: Counter[str] = Counter()
        self._ids: set[bytes] = set()

    def take(self, rows: Iterable[Made]) -> Iterator[bytes]:
        """Yield the lines of the rows, each with an id of its own."""
        for made in rows:
            self.rows += 1
            self._corrections += made.is_correction
            if not made.is_correction:
                self._labels[made.label] += 1
                self._relative += made.relative
            self._lost_weights += made.lost_weight
            if made.rater is not None:
                self._raters.add(digest(made.rater))
            self._redacted.update(made.redacted)
            yield self._with_own_id(made)

    def numbers(self) -> dict[str, Any]:
        """Return the counts, by their names in the report."""
        return {
            "desirable": self._labels[True],
            "undesirable": self._labels[False],
            "corrections": self._corrections,
            "relative": self._relative,
            "unusable_weights": self._lost_weights,
            "raters": len(self._raters),
            "redacted": by_frequency(self._redacted),
        }

    def _with_own_id(self, made: Made) -> bytes:
        name, count = made.id, 1
        while (key := digest(name)) in self._ids:
            count += 1
            name = f"{made.id}#{count}"
        self._ids.add(key)
        if count == 1:
            return made.line
        return json.dumps({**json.loads(made.line), "id": name}, ensure_ascii=False).encode() + b"\n"


def digest(text: str) -> bytes:
    """Return 12 bytes that stand for a text: of a million texts two share them with a chance of 10^-17."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).digest()


def redacted(value: Any, found: Counter[str]) -> Any:
    """Return a text, or the turns of a conversation, with personal data replaced; what was found is added up."""
    from prospect.feedback.texts.personal_data import redact

    def replaced(text: str) -> str:
        text, kinds = redact(text)
        found.update(kinds)
        return text

    return with_texts(value, replaced)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a text, or the turns of a conversation, with `change` made to every text but roles and types."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [with_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {key: item if key in ("role", "type") else with_texts(item, change) for key, item in value.items()}
    return value


def _refuse_texts(row: dict[str, Any], columns: Iterable[str]) -> None:
    """Say which text makes the row unreadable, if one does."""
    for column in columns:
        text = row[column]
        try:
            for one in text if column == "completions" else [text]:
                parse_text(one, column, "")
        except HalfCharacterError:
            raise Unusable(f"{column} holds half a character") from None
        except DataError:
            raise Unusable(f"{column} cannot be read as text") from None


def _text(value: Any) -> str | None:
    """Return a fact about the row as text that can be written; None where it says nothing."""
    if value is None or value == "":
        return None
    return str(value).encode(errors="replace").decode()


def _time(value: Any) -> str | None:
    time = read_time(value)
    return None if time is None else write_time(time)


def _weight(value: Any) -> float | None:
    """Return a weight, also one written as text; None where it is no number of at least 0."""
    weight = number_of(value)
    return weight if weight is not None and weight >= 0 else None
