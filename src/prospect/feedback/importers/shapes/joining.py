"""Exports in several files: verdicts in one table, the texts they judge in another, joined by an id.

The texts may be a thousand times as many as the verdicts, so the verdicts are looked through first, and of the texts
only those that somebody judged are kept in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect.errors import DataError, UsageError
from prospect.feedback.files.others.cells import NO_COMPLETION, NO_PROMPT
from prospect.feedback.importers.shapes.base import Cell, Dropped, Item, Options, Sample
from prospect.feedback.importers.shapes.payloads import completion_of, prompt_of
from prospect.feedback.importers.shapes.reading import Row, dig, rows
from prospect.feedback.wording import names, show

Cells = dict[str, Any]

MACHINE = "machine score"
UNKNOWN_SOURCE = "unknown whether a person or a machine judged"
OTHER_LABEL = "another label than the one asked for"


class Said(NamedTuple):
    """A prompt and what was answered, as far as they can be read, with model and user if the export has them."""

    prompt: Cell | None
    completion: Cell | None
    model: str | None = None
    user: str | None = None

    @property
    def fault(self) -> str | None:
        """Why there is nothing here to judge, if so."""
        if self.completion is None:
            return NO_COMPLETION
        return NO_PROMPT if self.prompt is None else None


class Export:
    """The rows of several files, told apart by their shape.

    Args:
        paths: the files.
        kind_of: the table that a row is of; None where it is of none.
        tables: table -> what its rows are called in messages; the first holds the verdicts.
    """

    def __init__(self, paths: Sequence[Path], kind_of: Callable[[Cells], str | None], tables: Mapping[str, str]):
        self._paths = paths
        self._kind_of = kind_of
        self._tables = tables
        self._kinds: dict[Path, set[str | None]] = {}

    def verdicts(self) -> Iterator[Row]:
        """Yield the rows of the first table, and note which file holds which; this goes before all else.

        Refuses files without verdicts, and verdicts without texts.
        """
        verdict = next(iter(self._tables))
        for path in self._paths:
            kinds = self._kinds.setdefault(path, set())
            for row in rows(path):
                kind = self._kind_of(row.cells) if isinstance(row, Row) else None
                kinds.add(kind)
                if kind == verdict and isinstance(row, Row):
                    yield row
        found: set[str | None] = set().union(*self._kinds.values())
        texts = [kind for kind in self._tables if kind != verdict]
        if verdict not in found or found.isdisjoint(texts):
            self._refuse(verdict if verdict not in found else texts[0])

    def table(self, kind: str) -> Iterator[Row]:
        """Yield the rows of one table."""
        for path in self._paths:
            if kind in self._kinds[path]:
                yield from (row for row in rows(path) if isinstance(row, Row) and self._kind_of(row.cells) == kind)

    def items(self, read: Callable[[str, Cells], Item | None]) -> Iterator[Item]:
        """Yield what `read` makes of each verdict, if anything, and `Dropped` for rows that are of no table."""
        verdict = next(iter(self._tables))
        no_table = f"row is neither {names((f'a {name}' for name in self._tables.values()), 'nor')}"
        for path in self._paths:
            if self._kinds[path].isdisjoint((verdict, None)):
                continue
            for row in rows(path):
                if isinstance(row, Dropped):
                    yield row
                    continue
                kind = self._kind_of(row.cells)
                item = read(row.where, row.cells) if kind == verdict else None
                if kind is None:
                    yield Dropped(where=row.where, reason=no_table)
                elif item is not None:
                    yield item

    def _refuse(self, missing: str) -> None:
        files = names(str(path) for path in self._paths)
        wanted = " and ".join(f"{name}s" for name in self._tables.values())
        raise DataError(
            f"{files}: there is no {self._tables[missing]} in it; expected {wanted}, which this tool keeps apart. "
            "Export both, and name all files in one command"
        )


def all_are(kind_of: Callable[[Cells], str | None], verdict: str, samples: Sequence[Sample]) -> bool:
    """Whether every file is of one of the tables and at least one has verdicts."""
    kinds = [{kind_of(dict(row)) for row in sample.rows} for sample in samples]
    return all(kinds) and all(None not in found for found in kinds) and any(verdict in found for found in kinds)


def the_label(found: Counter[str], asked: str | None, what: str, paths: Sequence[Path]) -> str | None:
    """Return which of several scores, questions or annotations is the verdict; None where there is none at all.

    Refuses a name that does not occur, and several names where nobody said which.
    """
    if asked is not None and asked in found:
        return asked
    if asked is None and len(found) < 2:
        return next(iter(found), None)
    files = names(str(path) for path in paths)
    counted = names(f"{show(name)} ({count})" for name, count in found.most_common(8)) if found else "none"
    if asked is not None:
        raise DataError(f"{files}: no {what} is called {show(asked)}; found {counted}. Name one of these: --label-key")
    likely = found.most_common(1)[0][0]
    raise DataError(
        f"{files}: there are {len(found)} {what}s: {counted}; expected one that is the verdict. "
        f"Say which: --label-key {likely}"
    )


def check_columns(options: Options, *known: str) -> None:
    """Refuse a column mapping for a field that the importer would not use."""
    unknown = next((field for field in options.columns if field not in known), None)
    if unknown is not None:
        raise UsageError(f"--map {unknown}=...: this format takes no such field; expected {names(known, 'or')}")


def first(row: Any, *paths: str) -> Any:
    """Return the first value under one of several dotted paths that is neither null nor empty."""
    for path in paths:
        value = dig(row, path) if "." in path else row.get(path) if isinstance(row, Mapping) else None
        if value is not None and value != "":
            return value
    return None


def name_of(value: Any) -> str | None:
    """Return an id or a name as text; None where the value is neither text nor a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None


def said_by(row: Cells, options: Options, given: str, answered: str) -> Said:
    """Return the prompt and the completion of a traced call.

    Args:
        row: the call.
        options: `columns` may say under which keys prompt and completion are, dotted: {"prompt": "input.question"}.
        given: the path of the call's input.
        answered: the path of its output.
    """
    prompt = prompt_of(dig(row, options.columns.get("prompt", given)))
    return Said(prompt, completion_of(dig(row, options.columns.get("completion", answered)), prompt))
