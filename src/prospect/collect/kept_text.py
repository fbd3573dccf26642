"""Whether texts are kept as they were, or with personal data replaced: what the store was told last holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Literal, get_args

from sqlalchemy import Connection

from prospect.collect.database import Database
from prospect.collect.rows import milliseconds, moment
from prospect.collect.settings import read_setting, write_setting
from prospect.errors import StoreError
from prospect.feedback.times import write_time

KeptText = Literal["whole", "redacted"]
KEPT_TEXTS: tuple[KeptText, ...] = get_args(KeptText)

_NAME = "store_text"  # of the setting; its value is a list of [what, since when], the last one holds


def is_redacted(database: Database, wanted: KeptText | None = None) -> bool:
    """Return whether personal data is replaced in what is written from now on.

    Args:
        database: of the store.
        wanted: what holds from now on; None is what held before, and in a new store whole texts.
    """
    if wanted is not None and wanted not in KEPT_TEXTS:
        raise StoreError(f"texts are to be kept {wanted}; expected {' or '.join(KEPT_TEXTS)}")
    with database.reading() as connection:
        held = _history(connection)
    if wanted is None or wanted == _last(held):
        return _last(held) == "redacted"
    with database.writing() as connection:
        history = [*_history(connection), (wanted, milliseconds(datetime.now(UTC)))]
        write_setting(connection, _NAME, json.dumps(history))
    return wanted == "redacted"


def said_of(connection: Connection) -> str | None:
    """Return what an export says about the texts of the store; None where they have always been whole."""
    parts = [f"{kept} since {write_time(moment(since))}" for kept, since in _history(connection)]
    return f"texts were written {', '.join(parts)}" if parts else None


def _history(connection: Connection) -> list[tuple[KeptText, int]]:
    value = read_setting(connection, _NAME)
    return [] if value is None else json.loads(value)


def _last(history: list[tuple[KeptText, int]]) -> KeptText:
    return history[-1][0] if history else "whole"
