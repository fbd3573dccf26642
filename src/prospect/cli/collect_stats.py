"""`prospect collect stats`: turns and votes by model, with intervals."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prospect.cli.serving import add_store, share
from prospect.terminal import print_json, printable, say

if TYPE_CHECKING:
    from prospect.collect.stats import ModelStats
    from prospect.statistics.rates import Rate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser)
    parser.add_argument("--days", type=float, metavar="N", help="only turns of the last N days")
    parser.add_argument(
        "--ask",
        type=share,
        default="5%",
        metavar="SHARE",
        help="the share of the turns that prospect serve --ask asked about (default: 5%%)",
    )
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")


def run(options: argparse.Namespace) -> int:
    """Print a line for each model."""
    from prospect.collect.migrating import opened
    from prospect.collect.stats import erased_turns, model_stats

    since = None if options.days is None else datetime.now(UTC) - timedelta(days=options.days)
    with opened(options.db) as database:
        models = model_stats(database, options.tenant, since=since, ask=options.ask)
        erased = erased_turns(database, options.tenant)
    if options.json:
        print_json({"tenant": options.tenant, "models": [one.as_json() for one in models], "erased": erased})
    else:
        say("\n".join(_lines(models, erased)), sys.stdout)
    return 0


def _lines(models: list[ModelStats], erased: dict[str, int]) -> list[str]:
    if not models:
        return ["no turns"]
    lines = []
    for one in models:
        name = one.model if one.arm is None else f"{one.model} ({one.arm})"
        lines += [
            printable(name),
            f"  turns shown   {one.turns:,}; text kept with consent of {one.consented:,}",
            f"  with a vote   {one.voted:,}: {_rate(one.coverage)}",
            f"  votes up      {one.up:,} of {one.up + one.down:,}: {_rate(one.up_share)}",
            f"    not asked   {_rate(one.unasked_up_share)}",
            f"    asked       {_rate(one.asked_up_share)}; {one.asked:,} turns, voted on {_rate(one.asked_coverage)}",
        ]
    return [*lines, *(f"text erased     {turns:,} turns, by {what}" for what, turns in erased.items())]


def _rate(rate: Rate | None) -> str:
    return "none" if rate is None else f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%})"
