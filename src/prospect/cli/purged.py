"""`--purged`, as several actions take it."""

from __future__ import annotations

import argparse

from prospect.errors import UsageError
from prospect.feedback.frozen.pseudonym import rater_key
from prospect.feedback.frozen.tombstones import Graveyard, tombstones


def add_purged(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.add_argument(
        "--purged",
        metavar="FILE|FOLDER",
        help="no rows that `prospect data purge` has removed there, or whose rater it has",
    )


def read_purged(path: str | None) -> Graveyard | None:
    """Return what was removed there; None where nothing was named."""
    if path is None:
        return None
    stones = tombstones(path)
    if not stones:
        raise UsageError(f"--purged {path}: nothing was ever purged there; expected a file or folder with tombstones.")
    return Graveyard(stones, rater_key())
