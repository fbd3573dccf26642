"""What a store was told, under names: settings are the store's and no tenant's."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from prospect.collect.tables import setting


def read_setting(connection: Connection, name: str) -> str | None:
    """Return a setting; None where there is none of this name."""
    return connection.execute(select(setting.c.value).where(setting.c.name == name)).scalar()


def write_setting(connection: Connection, name: str, value: str | None) -> None:
    """Put a setting in place of an earlier one; None removes it."""
    connection.execute(delete(setting).where(setting.c.name == name))
    if value is not None:
        connection.execute(insert(setting), {"name": name, "value": value})


def names_of_settings(connection: Connection, prefix: str) -> list[str]:
    """Return the names that begin so, in their order."""
    query = select(setting.c.name).where(setting.c.name.startswith(prefix)).order_by(setting.c.name)
    return list(connection.execute(query).scalars())
