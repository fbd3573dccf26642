"""The columns that are kept of every row and every completion: numbers, hashes and short names, never the texts."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl


class Row(NamedTuple):
    """What is kept of a row; in a frame each field is a column.

    Attributes:
        file: number of the file.
        line: line or row number in it.
        id: the row's own id; null where it has none.
        prompt: hash of the prompt and its tools.
        content: hash of all columns but the id.
        opening: hash of the first words of an implicit prompt; null where there is none.
        prompt_bytes: length of the prompt in UTF-8.
        time: seconds since 1970; null where it is unknown, as are rater, model and source.
        weight: the row's weight.
        rater: name of the rater.
        model: name of the model.
        source: where the row comes from.
        turns: turns of prompt and (first) completion together; a string is one turn.
        script: script of the (first) completion.
        traits: names of what is odd about the row; null where nothing is.
        sampled: whether it was compared with others and searched for personal data.
    """

    file: int
    line: int
    id: str | None
    prompt: int
    content: int
    opening: int | None
    prompt_bytes: int
    time: float | None
    weight: float
    rater: str | None
    model: str | None
    source: str | None
    turns: int
    script: str
    traits: list[str] | None
    sampled: bool


class Completion(NamedTuple):
    """What is kept of a completion; a pair has two, the chosen one first.

    Attributes:
        row: number of its row, from 0.
        prompt: hash of its row's prompt.
        completion: hash of its text.
        words: its length; signs of languages written without spaces count as words.
        size: its length in bytes of UTF-8.
        verdict: 1 desirable (chosen), 0 undesirable (rejected); null where it is not judged.
        score: its score; null where it has none.
    """

    row: int
    prompt: int
    completion: int
    words: int
    size: int
    verdict: int | None
    score: float | None


_HASHES = dict.fromkeys(("prompt", "content", "opening", "completion"), pl.UInt64)
_TEXTS = dict.fromkeys(("id", "rater", "model", "source", "script"), pl.String)
_NUMBERS = dict.fromkeys(("time", "weight", "score"), pl.Float64)
_TYPES: dict[str, Any] = {**_HASHES, **_TEXTS, **_NUMBERS, "file": pl.Int32, "verdict": pl.Int8}
_TYPES |= {"traits": pl.List(pl.String), "sampled": pl.Boolean}


def frame(kind: type[Row | Completion], entries: list[Row] | list[Completion]) -> pl.DataFrame:
    """Return a frame with a column for each field."""
    return pl.DataFrame(entries, schema={name: _TYPES.get(name, pl.Int64) for name in kind._fields}, orient="row")
