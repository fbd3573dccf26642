"""A SQLite store as a source of feedback: the rows of `prospect collect export` with its usual settings."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect.errors import DataError
from prospect.feedback.files.store.branches import Query
from prospect.feedback.files.store.duplicates import DuplicateCap
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.files.store.votes import Collected, collected_votes
from prospect.feedback.times import write_time
from prospect.feedback.wording import names
from prospect.terminal import say

if TYPE_CHECKING:
    from prospect.feedback.files.readers import RawRow

SCHEMA = "0003"
"""The newest schema that is read here, and that the store migrates to; later ones have a higher number."""

CACHE_KB = 65536
"""What SQLite may remember of a store: the index of a million turns, so that each of its pages is read once."""

SOURCE = "prospect"
"""What rows from a store name as their source."""


def read_store(path: Path) -> Iterator[RawRow]:
    """Yield the rows of the votes in a store, as they are now.

    Votes that cannot become rows are left out: those taken back, without consent, purged, of quarantined raters,
    beyond the limits, and on answers that are no text. How many is said once; `prospect collect export` counts them
    by reason.

    Refuses a file that is no store, one with a newer schema, and one with several tenants.
    """
    with opened_store(path) as query:
        tenants = [tenant for (tenant,) in query("SELECT DISTINCT tenant FROM turn ORDER BY tenant", {})]
        if len(tenants) > 1:
            raise DataError(
                f"{path}: holds turns of {len(tenants)} tenants ({names(tenants)}); expected one, for rows of several "
                "do not mix. Write those of each with `prospect collect export --tenant NAME`"
            )
        if not tenants:
            return
        selection = Selection(tenant=tenants[0])
        beyond = _beyond_duplicates(query, selection)
        seen = kept = 0
        for vote in collected_votes(query, selection):
            seen += 1
            if seen - 1 in beyond:
                continue
            where, row = f"{path}:{vote.turn}", _columns(vote)
            if vote.unusable is None and vote.value and _is_readable(row, where):
                kept += 1
                yield where, row["id"], row
        if kept < seen:
            _tell(path, kept, seen)


def _beyond_duplicates(query: Query, selection: Selection) -> frozenset[int]:
    """Return which votes are beyond the cap on nearly the same texts, by their place from 0."""
    cap = DuplicateCap(selection.duplicates)
    for vote in collected_votes(query, selection):
        cap.add(vote)
    return frozenset(cap.beyond())


@cache
def _tell(path: Path, kept: int, seen: int) -> None:
    say(f"{path}: {kept} of {seen} votes are used; `prospect collect export --dry-run` says why not the others")


@contextmanager
def opened_store(path: Path) -> Iterator[Query]:
    """Give a query on one state of a store, which is not written to.

    Raises:
        DataError: it is no store, its schema is newer, or it cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)) as file:
            file.execute(f"PRAGMA cache_size=-{CACHE_KB}")
            file.execute("BEGIN")
            check_schema(_version(file), str(path))
            yield lambda sql, values: file.execute(sql, values)
    except sqlite3.Error as error:
        raise DataError(f"{path}: cannot be read as a store: {error}. Name one that `prospect serve` writes") from error


def check_schema(found: str | None, name: str) -> None:
    """Refuse a store that is none, or newer than this program."""
    if found is None:
        raise DataError(f"{name}: is no store of `prospect serve`. Check the name")
    if found > SCHEMA:
        raise DataError(
            f"{name}: has schema {found}, and this program knows those up to {SCHEMA}. Use the newer Prospect that "
            "wrote it"
        )


def _version(file: sqlite3.Connection) -> str | None:
    if not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    row: Sequence[str] | None = file.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def _columns(vote: Collected) -> dict[str, Any]:
    row = {
        "prompt": vote.prompt,
        "completion": vote.completion,
        "label": vote.value > 0,
        "id": f"{SOURCE}:{vote.turn}:{vote.rater}",
        "weight": None if vote.weight == 1 else vote.weight,
        "rater": vote.rater,
        "tools": vote.tools,
        "finished": None if vote.finished else False,
        "source": SOURCE,
        "source_id": f"{vote.turn}:{vote.rater}",
        "time": write_time(vote.at),
        "model": vote.model,
        "reason": vote.reason,
    }
    return {name: cell for name, cell in row.items() if cell is not None}


def _is_readable(row: Mapping[str, Any], where: str) -> bool:
    from prospect.feedback.files.rows import RowParser  # a server knows this module's numbers, and reads no rows

    try:
        RowParser().parse(row, where, where)
    except DataError:
        return False
    return True
