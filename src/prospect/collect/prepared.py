"""Statements of the hot path, whose SQL is made once: making it for each row costs more than the database takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Executable


class _Made(NamedTuple):
    """A statement for one kind of database.

    Attributes:
        sql: its text.
        names: of its parameters in their order; None where the driver takes them by name.
        fixed: the values of those that the statement itself sets.
    """

    sql: str
    names: list[str] | None
    fixed: dict[str, Any]


class Prepared:
    """A statement with named parameters, for any kind of database.

    Args:
        statement: makes it for `sqlite` or `postgresql`, which say some things differently.
    """

    def __init__(self, statement: Callable[[str], Executable]) -> None:
        self._statement = statement
        self._made: dict[str, _Made] = {}

    @classmethod
    def everywhere(cls, statement: Executable) -> Prepared:
        """Return a statement that both databases have."""
        return cls(lambda _: statement)

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Run it with these values, which are passed as they are."""
        name = connection.dialect.name
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._make(connection)
        given = {**made.fixed, **values}
        return connection.exec_driver_sql(
            made.sql, given if made.names is None else tuple([given[one] for one in made.names])
        )

    def _make(self, connection: Connection) -> _Made:
        compiled: Any = self._statement(connection.dialect.name).compile(dialect=connection.dialect)  # type: ignore[attr-defined]
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return _Made(str(compiled), compiled.positiontup, fixed)
