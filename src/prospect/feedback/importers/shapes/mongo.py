"""How MongoDB's exports write ids and times: {"$oid": "..."}, {"$date": "..."}, {"$date": {"$numberLong": "..."}}."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prospect.feedback.times import read_time


def mongo_name(value: Any) -> str | None:
    """Return an id as text; None where the value is none."""
    if isinstance(value, dict):
        value = value.get("$oid")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def mongo_time(value: Any) -> datetime | None:
    """Return a time; None where the value is none."""
    for key in ("$date", "$numberLong"):
        value = value.get(key) if isinstance(value, dict) else value
    return read_time(value)
