"""`prospect collect review`: how far the review has come, and what a policy is least sure of."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from prospect.cli.serving import add_reviewers, add_store
from prospect.errors import UsageError
from prospect.terminal import print_json, say

if TYPE_CHECKING:
    from prospect.collect.database import Database
    from prospect.collect.review_stats import ReviewStats
    from prospect.statistics.agreement import Agreement, RatersAgreement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser)
    add_reviewers(parser)
    parser.add_argument(
        "--margin",
        metavar="RUN",
        help="score answers that wait with this run, so that those it is least sure of can be reviewed first",
    )
    parser.add_argument("--reference", metavar="MODEL", help="of --margin (default: the run's own)")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="score so many answers at most (default: 1000)"
    )
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")


def run(options: argparse.Namespace) -> int:
    """Score if asked, and print the numbers."""
    from prospect.collect.migrating import opened
    from prospect.collect.review_stats import review_stats

    if options.limit < 1:
        raise UsageError(f"--limit {options.limit}: expected at least 1.")
    with opened(options.db) as database:
        if options.margin is not None:
            _score(database, options)
        stats = review_stats(database, options.tenant, options.reviewers)
    if options.json:
        print_json({"tenant": options.tenant, **stats.as_json()})
    else:
        say("\n".join(_lines(stats)), sys.stdout)
    return 0


def _score(database: Database, options: argparse.Namespace) -> None:
    from prospect.cli.train import quiet_libraries
    from prospect.collect.margins import score_waiting

    quiet_libraries()
    found = score_waiting(
        database, options.tenant, options.margin,
        reviewers=options.reviewers, limit=options.limit, reference=options.reference,
    )  # fmt: skip
    left_out = f"; {found.left_out} are no text that it can read" if found.left_out else ""
    say(f"{options.margin}: implied rewards of {found.scored} answers are kept{left_out}")


def _lines(stats: ReviewStats) -> list[str]:
    from prospect.collect.review_stats import MOST_COUNTED

    lines = ["wait for review"]
    for name, count in stats.waiting.items():
        lines.append(f"  {name:14}{count:,}{' or more' if count == MOST_COUNTED else ''}")
    lines += [
        f"reviewed        {stats.turns:,} answers by {stats.reviewers} people",
        f"  verdicts      {stats.good:,} good, {stats.bad:,} bad; {stats.passed_over:,} passed over",
        f"  reviewers     {_agreement(stats.among_reviewers)}",
        f"  with votes    {_agreement(stats.with_votes)}",
    ]
    return lines


def _agreement(found: Agreement | RatersAgreement | None) -> str:
    if found is None:
        return "none to compare"
    rate, kappa = found.rate, found.kappa
    beyond = "kappa none" if kappa is None else f"kappa {kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"
    return f"agree on {rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}) of {rate.n:,} answers; {beyond}"
