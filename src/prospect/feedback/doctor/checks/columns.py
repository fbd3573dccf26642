"""A record -> what is kept of it: numbers, hashes and marks, in columns that grow row by row.

This runs in worker processes, millions of times: it is kept plain.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from prospect.feedback.doctor.checks.reading import Piece
from prospect.feedback.doctor.checks.table import CODED, NOBODY, TYPES, UNJUDGED, Table
from prospect.feedback.records import Demonstration, Feedback, Paired, Scored, Text, Unpaired
from prospect.feedback.texts.characters import odd_characters, script_of
from prospect.feedback.texts.personal_data import find_personal_data

# Written without spaces between words: there a sign counts as a word.
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_OPENING_WORDS = 8  # two different prompts hardly begin with the same eight words by chance
_SCRIPT_CHARACTERS = 2000  # enough to know the script of a text
_NEAR_CHARACTERS = 4000  # of a row, for near duplicates: copies of a text are alike at its beginning too
_LONGEST_NAME = 200  # characters of an id or a rater's name; nobody looks a longer one up


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a piece is measured.

    Attributes:
        label_map: label -> desirable; see `load_feedback`.
        sampled: the share of prompts whose rows are compared with one another and searched for personal data.
        prompts: the share of prompts that are compared with those of other files.
        with_tokens: the share whose records are kept for counting tokens.
    """

    label_map: Mapping[Any, bool] | None = None
    sampled: float = 1.0
    prompts: float = 0.0
    with_tokens: float = 0.0


_KEY_BITS = 24  # a piece of 8 MiB has fewer than 2^24 rows


def near_key(piece: int, row: int) -> int:
    """Return the key of a row among all rows of all pieces, before it is known how many rows came before."""
    return piece << _KEY_BITS | row


def piece_of_key(key: int) -> int:
    """Return the piece that a key belongs to."""
    return key >> _KEY_BITS


def row_of_key(key: int, starts: Mapping[int, int]) -> int:
    """Return the row in the whole table that a key means.

    Args:
        key: what `near_key` returned.
        starts: piece -> the rows before it.
    """
    return starts[piece_of_key(key)] + (key & ((1 << _KEY_BITS) - 1))


class Columns:
    """The columns of a `Table` as they grow.

    Args:
        piece: where the rows come from.
        settings: how closely they are looked at.
    """

    def __init__(self, piece: Piece, settings: Settings):
        from prospect.feedback.texts.near_duplicates import NearDuplicates

        self.piece = piece
        self.settings = settings
        self.columns: dict[str, list[Any]] = {name: [] for name in TYPES if name != "file"}
        self.ids: list[str | None] = []
        self.names: dict[str, dict[str, int]] = {name: {} for name in CODED}
        self.marks: dict[str, list[int]] = {}
        self.counts: dict[str, Counter[Any]] = {"turns": Counter(), "script": Counter()}
        self.samples: list[tuple[int, Feedback]] = []
        self.looked_at = 0
        self.near, self.near_prompts = NearDuplicates(), NearDuplicates()
        self.prompts: set[int] = set()

    def add(self, record: Feedback, line: int, *, implicit: bool) -> None:
        """Add a row."""
        at = self.columns
        row = len(self.ids)
        self.ids.append(_clean(record.id)[:_LONGEST_NAME] or None)
        prompt_text, prompt_bytes, prompt = _text(record.prompt)
        if record.tools:  # with other tools it is another prompt
            prompt = _hash(json.dumps(record.tools, sort_keys=True, default=str).encode(errors="replace"), prompt)
        completions, verdicts, scores = _judged(record)
        texts, hashes = [], []
        for completion, verdict, score in zip(completions, verdicts, scores, strict=True):
            text, size, key = _text(completion)
            at["row"].append(row)
            at["completion"].append(key)
            at["words"].append(_words(text))
            at["size"].append(size)
            at["verdict"].append(verdict)
            at["score"].append(score)
            texts.append(text)
            hashes.append(key)
        at["line"].append(line)
        at["prompt"].append(prompt)
        at["prompt_bytes"].append(prompt_bytes)
        at["content"].append(_content(record, prompt, hashes, verdicts, scores))
        at["opening"].append(_opening(prompt_text) if implicit and isinstance(record, Paired) else 0)
        at["time"].append(record.time.timestamp() if record.time else float("nan"))
        at["weight"].append(record.weight)
        for name in CODED:
            at[name].append(self._code(name, getattr(record, name)))
        turns = len(record.prompt) if isinstance(record.prompt, tuple) else 1 if record.prompt else 0
        self.counts["turns"][turns + (len(completions[0]) if isinstance(completions[0], tuple) else 1)] += 1
        self._mark_traits(record, row, prompt_text, texts, hashes)
        self._look_closer(record, row, prompt, prompt_text, texts)

    def _code(self, name: str, value: str | None) -> int:
        if value is None:
            return NOBODY
        known = self.names[name]
        return known.setdefault(_clean(value)[:_LONGEST_NAME], len(known))

    def _mark_traits(self, record: Feedback, row: int, prompt: str, texts: list[str], hashes: list[int]) -> None:
        if record.relative:
            self._mark("relative", row)
        if not record.finished:
            self._mark("unfinished", row)
        if not prompt:
            self._mark("empty_prompt", row)
        if not all(texts):
            self._mark("empty_completion", row)
        elif not all(text.strip() for text in texts):
            self._mark("blank_completion", row)
        if len(set(hashes)) < len(hashes):
            self._mark("same_sides", row)
        if isinstance(record, Scored) and len(set(record.scores)) == 1:
            self._mark("tied", row)
        script = script_of(texts[0][:_SCRIPT_CHARACTERS])
        asked = script_of(prompt[:_SCRIPT_CHARACTERS])
        self.counts["script"][script] += 1
        if "none" not in (script, asked) and script != asked:
            self._mark("other_script", row)
        odd = odd_characters(prompt).union(*map(odd_characters, texts))
        for name in odd:
            self._mark(f"odd:{name}", row)

    def _look_closer(self, record: Feedback, row: int, prompt: int, prompt_text: str, texts: list[str]) -> None:
        """Run the checks that are too slow for every row of a large file, on a sample of whole prompts."""
        place = prompt / 2**64
        if place < self.settings.with_tokens:
            self.samples.append((row, record))
        if place < self.settings.prompts and prompt not in self.prompts:
            self.prompts.add(prompt)
            self.near_prompts.add(near_key(self.piece.number, row), prompt_text[:_NEAR_CHARACTERS])
        if place < self.settings.sampled:
            self.looked_at += 1
            self.near.add(near_key(self.piece.number, row), "\n".join(text[:_NEAR_CHARACTERS] for text in texts))
            for kind in {match.kind for text in (prompt_text, *texts) for match in find_personal_data(text)}:
                self._mark(f"personal:{kind}", row)

    def _mark(self, name: str, row: int) -> None:
        self.marks.setdefault(name, []).append(row)

    def table(self) -> Table:
        """Return the rows so far."""
        import numpy as np

        arrays = {name: np.array(values, dtype=TYPES[name]) for name, values in self.columns.items()}
        return Table(
            **arrays,
            file=np.full(len(self.ids), self.piece.file, dtype=np.int32),
            ids=self.ids,
            names={name: list(known) for name, known in self.names.items()},
            marks={name: np.array(rows, dtype=np.int64) for name, rows in self.marks.items()},
            counts=self.counts,
        )


def _judged(record: Feedback) -> tuple[tuple[Text, ...], tuple[int, ...], tuple[float, ...]]:
    """Return the completions of a record, the verdict on each and its score."""
    nan = float("nan")
    if isinstance(record, Unpaired):
        return (record.completion,), (int(record.desirable),), (nan if record.score is None else record.score,)
    if isinstance(record, Paired):
        return (record.chosen, record.rejected), (1, 0), (nan, nan)
    if isinstance(record, Scored):
        return record.completions, (UNJUDGED,) * len(record.completions), record.scores
    assert isinstance(record, Demonstration)
    return (record.completion,), (UNJUDGED,), (nan if record.score is None else record.score,)


def _text(text: Text) -> tuple[str, int, int]:
    """Return the words of a text, its length in bytes of UTF-8, and a hash that it shares with no other text."""
    if isinstance(text, str):
        encoded = text.encode()
        return text, len(encoded), _hash(encoded)
    plain = "\n".join(turn.content for turn in text)
    turns = [[turn.role, turn.content, dict(turn.extra)] for turn in text]
    identity = json.dumps(turns, sort_keys=True, default=str).encode()
    return plain, len(plain.encode()), _hash(identity, 1)


def _hash(value: bytes, salt: int = 0) -> int:
    return int.from_bytes(blake2b(value, digest_size=8, salt=salt.to_bytes(8, "little")).digest(), "little")


def _content(
    record: Feedback, prompt: int, hashes: list[int], verdicts: tuple[int, ...], scores: tuple[float, ...]
) -> int:
    said = (record.kind, prompt, hashes, verdicts, scores, record.rater, record.time, record.source_id, record.reason)
    return _hash(repr(said).encode(errors="replace"))


def _opening(prompt: str) -> int:
    words = prompt.split(None, _OPENING_WORDS)[:_OPENING_WORDS]
    return _hash(" ".join(words).encode()) if len(words) == _OPENING_WORDS else 0


def _words(text: str) -> int:
    words = len(text.split())
    return words if text.isascii() else words + len(_SPACELESS.findall(text))


def _clean(name: str) -> str:
    """Return a printable name: half characters and control characters become question marks."""
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)
