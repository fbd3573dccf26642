"""`prospect collect retention`: after how many days a server erases the texts of a tenant."""

from __future__ import annotations

import argparse

from prospect.cli.serving import add_store
from prospect.terminal import print_json, say

_OFF = "off"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser)
    parser.add_argument(
        "--days",
        type=_days,
        metavar="N|off",
        help="servers erase texts that are older, once a day; off keeps them (default: only say what holds)",
    )
    parser.add_argument("--json", action="store_true", help="the result on stdout")


def run(options: argparse.Namespace) -> int:
    """Set it, and say what holds."""
    from prospect.collect.migrating import opened
    from prospect.collect.retention import retention_days, set_retention

    with opened(options.db) as database:
        if options.days is not None:
            set_retention(database, options.tenant, None if options.days == _OFF else options.days)
        days = retention_days(database, options.tenant)
    if options.json:
        print_json({"tenant": options.tenant, "days": days})
    kept = "stay until somebody erases them" if days is None else f"are erased after {days:g} days, by a running server"
    say(f"texts of tenant {options.tenant} {kept}")
    return 0


def _days(text: str) -> float | str:
    return _OFF if text == _OFF else float(text)
