"""`prospect promote`: a run becomes the model that answers, in steps that can be taken back."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prospect.cli.serving import add_store, needs_serve, share
from prospect.errors import UsageError
from prospect.results.registry import Check
from prospect.terminal import print_json, say

if TYPE_CHECKING:
    from prospect.collect.registry import Models, Registry
    from prospect.results.canary import ArmCounts, CanaryResult

_WAIVABLE = ("contest", "thumbs", "benchmarks", "alarms", "canary")
_SHARES = (0.05, 0.2, 0.5)  # that a plan is made for, beside the one that is asked for
_USUAL_UP, _USUAL_VOTES = 0.8, 0.02  # of a plan without votes to go by


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run to promote; without one the history is shown")
    parser.add_argument("--registry", required=True, metavar="DIR", help="the folder of models.json")
    step = parser.add_mutually_exclusive_group()
    step.add_argument(
        "--canary",
        type=_share,
        metavar="SHARE",
        help="let it answer a share of the conversations, such as 5%%; with another one its votes count anew",
    )
    step.add_argument("--full", action="store_true", help="let it answer all conversations")
    step.add_argument("--rollback", action="store_true", help="end the canary, or go back to the model before")
    step.add_argument("--check", action="store_true", help="look at the canary, and roll it back if it is worse")
    parser.add_argument("--plan", action="store_true", help="only say how many turns and votes a canary needs")
    parser.add_argument("--as", dest="name", metavar="NAME", help="what the server calls it (default: the run's name)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the history")
    parser.add_argument(
        "--margin",
        type=float,
        default=5.0,
        metavar="POINTS",
        help="how many points it may be worse by (default 5); a canary keeps its own",
    )
    parser.add_argument(
        "--waive",
        nargs="+",
        default=[],
        choices=_WAIVABLE,
        metavar="CHECK",
        help=f"go on although this does not pass, for a --reason: {', '.join(_WAIVABLE)}",
    )
    add_store(parser, tenant=False)
    parser.add_argument("--json", action="store_true", help="the result on stdout")


def run(options: argparse.Namespace) -> int:
    """Take a step, or show where things are."""
    _check(options)
    with needs_serve("prospect promote"):
        from prospect.collect.migrating import opened
        from prospect.collect.promotion import Promotion
        from prospect.collect.registry import Move, Registry
        from prospect.collect.trial import look
    registry = Registry(Path(options.registry).expanduser())
    checks: list[Check] = []
    canary = None
    if options.plan:
        return _plan(options, registry)
    if options.rollback:
        registry.roll_back(Move(options.reason or "rolled back"), _name(options) if options.run else None)
    elif options.check:
        with opened(options.db) as database:
            canary = look(database, registry.read())
        if canary.verdict == "worse":
            registry.end_canary(canary.canary.model, Move(f"worse: {'; '.join(canary.reasons)}", "prospect"))
    elif options.run is not None:
        step = Promotion(registry, options.run, _name(options), options.margin / 100, options.reason, options.waive)
        if options.canary is not None:
            checks = step.start_canary(options.canary)
        elif not options.full:
            checks = step.propose()
        elif registry.read().canary is None:
            checks = step.make_current(None)
        else:
            with opened(options.db) as database:
                checks = step.make_current(database)
    models = registry.read()
    for text in _lines(models, checks, canary, history=options.run is None and not options.check):
        say(text)
    if options.json:
        print_json(_as_json(models, checks, canary))
    return 0


def _check(options: argparse.Namespace) -> None:
    if not 0 < options.margin < 100:
        raise UsageError(f"--margin {options.margin:g}: expected points between 0 and 100.")
    if options.waive and not options.reason:
        raise UsageError("--waive: say why with --reason TEXT, which stays in the history.")
    if options.plan and (options.full or options.rollback or options.check):
        raise UsageError("--plan is about a canary and changes nothing. Leave the other step out.")
    if options.run is None and (options.canary is not None or options.full) and not options.plan:
        raise UsageError("which model? Name its run: prospect promote RUN --registry DIR.")


def _share(text: str) -> float:
    found = share(text)
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a share of the conversations between 0% and 100%")
    return found


def _name(options: argparse.Namespace) -> str:
    return options.name or Path(options.run).name


def _plan(options: argparse.Namespace, registry: Registry) -> int:
    """Say how many turns and votes a canary needs, for some shares."""
    from prospect.collect.trial import Rules
    from prospect.statistics.sequential import plan_canary

    rules = Rules(margin=options.margin / 100)
    up_share, vote_rate, source = _votes_so_far(options, registry, rules.fewest)
    shares = dict.fromkeys(share for share in (options.canary, *_SHARES) if share is not None)
    how = {"up_share": up_share, "vote_rate": vote_rate, "margin": rules.margin, "level": rules.level_of_each}
    plans = [plan_canary(share, **how) for share in shares]
    say(f"{vote_rate:.1%} of turns get a vote, and {up_share:.1%} of the votes are up ({source})")
    for plan in plans:
        say(f"--canary {100 * plan.share:g}%: {plan}")
    if options.json:
        print_json({"source": source, "plans": [plan._asdict() for plan in plans]})
    return 0


def _votes_so_far(options: argparse.Namespace, registry: Registry, fewest: int) -> tuple[float, float, str]:
    """Return the share of votes up, the share of turns with a vote, and where both are from."""
    from prospect.collect.arms import count_model
    from prospect.collect.migrating import opened

    current = registry.read().current
    if current is not None and ("://" in options.db or Path(options.db).expanduser().exists()):
        with opened(options.db) as database:
            found = count_model(database, current.model)
        if found.up and found.down and found.votes >= fewest:
            return found.up / found.votes, found.voted / found.turns, f"{found.votes:,} votes on {current.model}"
    return _USUAL_UP, _USUAL_VOTES, "assumed, for want of votes on a current model"


def _lines(models: Models, checks: list[Check], canary: CanaryResult | None, *, history: bool) -> Iterator[str]:
    """Yield what was done, and how things are now."""
    from prospect.collect.promotion import line

    yield from map(line, checks)
    if canary is not None:
        yield f"{canary.verdict}: {'; '.join(canary.reasons)}"
        yield from map(_arm, (canary.current, canary.canary))
    for entry in models.history if history else ():
        share = "" if entry.share is None else f" for {entry.share:.0%}"
        yield f"{entry.at[:16]}  {entry.model} {entry.state}{share}, by {entry.who}: {entry.reason}"
        yield from (f"    {line(check)}" for check in entry.checks)
    for state, one in (("current", models.current), ("canary", models.canary)):
        share = "" if one is None or one.share is None else f" for {one.share:.0%} of the conversations"
        yield f"{state:8} {'none' if one is None else f'{one.model}{share} ({one.source})'}"


def _arm(arm: ArmCounts) -> str:
    return (
        f"  {arm.model}: {arm.turns:,} turns in {arm.conversations:,} conversations, {arm.up:,} votes up and "
        f"{arm.down:,} down, {arm.errors:,} errors"
    )


def _as_json(models: Models, checks: list[Check], canary: CanaryResult | None) -> dict[str, object]:
    return {
        "current": models.current.as_dict() if models.current else None,
        "canary": models.canary.as_dict() if models.canary else None,
        "checks": [check.as_dict() for check in checks],
        "looked": canary.as_dict() if canary else None,
        "history": [entry.as_dict() for entry in models.history],
    }
