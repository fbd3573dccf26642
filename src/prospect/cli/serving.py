"""What the commands of the extra `serve` share: its libraries, the store, the tenant."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from prospect.errors import UsageError
from prospect.feedback.files.store.selection import MAIN, USUAL_REVIEWERS

USUAL_STORE = "store.sqlite"

_LIBRARIES = (
    "sqlalchemy",
    "alembic",
    "fastapi",
    "starlette",
    "uvicorn",
    "aiohttp",
    "prometheus_client",
    "opentelemetry",
)


@contextlib.contextmanager
def needs_serve(command: str) -> Iterator[None]:
    """Turn a library that is not installed into one sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        raise UsageError(
            f"{command} needs {error.name}, which is not installed: pip install 'prospect-align[serve]'"
        ) from None


def share(text: str) -> float:
    """Read a share such as 5%, for argparse."""
    try:
        found = float(text.removesuffix("%")) / 100
    except ValueError:
        found = -1.0
    if not text.endswith("%") or not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a share from 0% to 100%, such as 5%")
    return found


def add_store(parser: argparse.ArgumentParser, *, tenant: bool = True) -> None:
    """Declare which store is meant, and whose turns."""
    parser.add_argument(
        "--db",
        default=USUAL_STORE,
        metavar="STORE",
        help=f"a file (SQLite), or postgresql://user@host/name; PGPASSWORD has the password (default: {USUAL_STORE})",
    )
    if tenant:
        parser.add_argument("--tenant", default=MAIN, metavar="NAME", help=f"whose turns (default: {MAIN})")


def add_reviewers(parser: argparse.ArgumentParser) -> None:
    """Declare how many verdicts of reviewers an answer gets."""
    parser.add_argument(
        "--reviewers",
        type=_a_few,
        default=USUAL_REVIEWERS,
        metavar="N",
        help=f"how many people review an answer (default: {USUAL_REVIEWERS})",
    )


def _a_few(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return int(text)
