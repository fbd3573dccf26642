"""What is kept of every row: numbers and hashes in columns, never the texts.

Legend: N rows, A completions (a pair has two, a scored row K), all numpy arrays of one dimension.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOBODY = -1
"""The code of an unknown rater, model or source."""
UNJUDGED = -1
"""The verdict on a completion that nobody called desirable or undesirable."""


@dataclass(kw_only=True)
class Table:
    """The rows of one kind, of one piece, one file or all of them.

    Attributes:
        file: (N,) number of the file.
        line: (N,) line or row number in it.
        prompt: (N,) hash of the prompt and its tools.
        content: (N,) hash of all that a row says but its id.
        opening: (N,) hash of the first words of an implicit prompt; 0 where there is none.
        prompt_bytes: (N,) length of the prompt in UTF-8.
        time: (N,) seconds since 1970; NaN where it is unknown.
        weight: (N,)
        rater: (N,) code, an index of `names["rater"]`; likewise `model` and `source`.
        row: (A,) the row that the completion belongs to.
        completion: (A,) hash of the completion's text.
        words: (A,) its length; signs of languages written without spaces count as words.
        size: (A,) its length in bytes of UTF-8.
        verdict: (A,) 1 desirable (chosen), 0 undesirable (rejected), -1 unjudged.
        score: (A,) of scored rows and of rows with a score; NaN elsewhere.
        ids: the rows' own ids; None where a row has none.
        names: what the codes of rater, model and source mean.
        marks: a trait -> the rows that have it, ascending.
        counts: a property with few values (turns, prompt script, ...) -> value -> rows.
    """

    file: NDArray[Any]
    line: NDArray[Any]
    prompt: NDArray[Any]
    content: NDArray[Any]
    opening: NDArray[Any]
    prompt_bytes: NDArray[Any]
    time: NDArray[Any]
    weight: NDArray[Any]
    rater: NDArray[Any]
    model: NDArray[Any]
    source: NDArray[Any]
    row: NDArray[Any]
    completion: NDArray[Any]
    words: NDArray[Any]
    size: NDArray[Any]
    verdict: NDArray[Any]
    score: NDArray[Any]
    ids: list[str | None]
    names: dict[str, list[str]]
    marks: dict[str, NDArray[Any]]
    counts: dict[str, Counter[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.line)

    def marked(self, mark: str) -> NDArray[Any]:
        """Return the rows that have a trait, ascending."""
        import numpy as np

        return self.marks.get(mark, np.zeros(0, dtype=np.int64))

    def row_id(self, row: int, file_names: Sequence[str]) -> str:
        """Return what a person looks a row up by: its own id, else `file:line`."""
        return self.ids[row] or f"{file_names[int(self.file[row])]}:{int(self.line[row])}"


CODED = ("rater", "model", "source")
TYPES = {
    "file": "int32",
    "line": "int64",
    "prompt": "uint64",
    "content": "uint64",
    "opening": "uint64",
    "prompt_bytes": "int64",
    "time": "float64",
    "weight": "float64",
    "rater": "int32",
    "model": "int32",
    "source": "int32",
    "row": "int64",
    "completion": "uint64",
    "words": "int64",
    "size": "int64",
    "verdict": "int8",
    "score": "float64",
}
assert set(TYPES) == {f.name for f in fields(Table)} - {"ids", "names", "marks", "counts"}


def join_tables(tables: Iterable[Table]) -> Table:
    """Return the rows of several tables, one after another, with codes of their own."""
    import numpy as np

    tables = list(tables)
    starts = np.cumsum([0, *(len(table) for table in tables)])
    columns: dict[str, Any] = {}
    names: dict[str, list[str]] = {}
    for name, dtype in TYPES.items():
        parts = [getattr(table, name) for table in tables]
        if name == "row":
            parts = [part + start for part, start in zip(parts, starts, strict=False)]
        elif name in CODED:
            parts, names[name] = _common_codes(parts, [table.names[name] for table in tables])
        columns[name] = np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)
    counts: dict[str, Counter[Any]] = {}
    marks: dict[str, list[Any]] = {}
    for table, start in zip(tables, starts, strict=False):
        for key, counter in table.counts.items():
            counts.setdefault(key, Counter()).update(counter)
        for key, rows in table.marks.items():
            marks.setdefault(key, []).append(rows + start)
    return Table(
        **columns,
        ids=[row_id for table in tables for row_id in table.ids],
        names=names,
        marks={key: np.concatenate(parts) for key, parts in marks.items()},
        counts=counts,
    )


def _common_codes(parts: list[Any], lists: list[list[str]]) -> tuple[list[Any], list[str]]:
    """Codes of one common list of names, in the order of first appearance."""
    import numpy as np

    code_of: dict[str, int] = {}
    recoded = []
    for part, own in zip(parts, lists, strict=True):
        # The last entry is what -1, nobody, becomes: an index from the end.
        new = np.array([*(code_of.setdefault(name, len(code_of)) for name in own), NOBODY], dtype=np.int32)
        recoded.append(new[part])
    return recoded, list(code_of)
