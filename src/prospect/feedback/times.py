"""When something was said: the time stamps of a dozen tools, as one type."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

_MILLISECONDS = 1e11  # epoch seconds stay below this until the year 5138; larger numbers count finer
_MICROSECONDS = 1e14
_NANOSECONDS = 1e17


def read_time(value: Any) -> datetime | None:
    """Return a time with its zone; None where the value is no time, or is none in UTC between the years 1 and 9999.

    Args:
        value: a date or time, ISO 8601 text (UTC where it names no zone), or seconds, milli-, micro- or nanoseconds
            since 1970, as a number or as text.
    """
    time = _time_of(value)
    if time is not None and not 1 < time.year < 9999:
        try:
            time.astimezone(UTC)
        except (OverflowError, ValueError):
            return None
    return time


def _time_of(value: Any) -> datetime | None:
    if isinstance(value, str):
        text = value.strip()
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return _of_epoch(text)
        # Eight digits are a date to fromisoformat and may be anything to others; ten or more are an epoch.
        if text.isdigit() and len(text) > 8:
            return _of_epoch(text)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    if isinstance(value, datetime):
        # Of the type itself: those made of it by other libraries cannot be written.
        return datetime.combine(value.date(), value.time(), value.tzinfo or UTC)
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time(), UTC)
    return None if isinstance(value, bool) else _of_epoch(value)


def write_time(time: datetime) -> str:
    """Return the time in UTC as ISO 8601 text, without zeros that say nothing."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _of_epoch(value: Any) -> datetime | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(seconds):
        return None
    for limit, factor in ((_NANOSECONDS, 1e-9), (_MICROSECONDS, 1e-6), (_MILLISECONDS, 1e-3)):
        if abs(seconds) >= limit:
            seconds *= factor
            break
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
