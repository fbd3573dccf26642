"""The judge of a command: which one, what it is asked, with which key."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from prospect.cli.generate import service_from
from prospect.errors import UsageError

if TYPE_CHECKING:
    from prospect.evaluation.contest.judges.base import Judge

NO_KEY = "none"


def add_judge(parser: argparse.ArgumentParser, *, sides: bool = True) -> None:
    """Declare the judge.

    Args:
        parser: of the command.
        sides: whether other models answer in the same command, with settings of their own.
    """
    group = parser.add_argument_group("the judge")
    group.add_argument(
        "--judge",
        metavar="J",
        help="such as verifier:numeric, reward:MODEL, lm:MODEL, endpoint:URL#NAME, human:VOTES.json, scores:FILE, of "
        "images clip:MODEL; or your own FILE.py:NAME",
    )
    group.add_argument("--rubric", metavar="TEXT", help="the question that the judge is asked")
    group.add_argument("--price", metavar="READ,WRITTEN", help="what a million of the judge's tokens cost")
    if not sides:
        parser.set_defaults(model=None, against=None, chat=False, judge_api_key_env=None, judge_request=[])
        return
    group.add_argument(
        "--judge-api-key-env",
        metavar="NAME",
        help="the environment variable that holds the key of a judge on another host than MODEL; none for no key",
    )
    group.add_argument(
        "--judge-request",
        action="append",
        metavar="NAME=VALUE",
        default=[],
        help="a further field of each request to the judge, in place of those of --request",
    )


def check_judge_options(options: argparse.Namespace) -> None:
    """Refuse settings of a server where the judge is none."""
    from prospect.evaluation.answers.subject import ENDPOINT

    for name in ("judge_api_key_env", "judge_request"):
        if getattr(options, name) and not (options.judge or "").startswith(ENDPOINT):
            raise UsageError(f"--{name.replace('_', '-')} is for --judge endpoint:URL#NAME. Leave it out.")


def judge_from(options: argparse.Namespace) -> Judge:
    """Return the judge that is asked for."""
    from prospect.evaluation.answers.subject import ENDPOINT
    from prospect.evaluation.contest.judges.names import judge_named

    key, settings = _key(options), None
    if options.judge.startswith(ENDPOINT):
        service = service_from(options)
        settings = {name: getattr(service, name) for name in ("concurrency", "retries", "timeout")}
        settings |= {"api_key_env": key, "request": _request(options)}
    return judge_named(options.judge, rubric=options.rubric, endpoint_settings=settings)


def _request(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of requests to the judge: its own, or those of the sides."""
    from prospect.endpoint.request_fields import parse_request

    if options.judge_request and options.request and not _endpoint_sides(options):
        raise UsageError("--request: the judge has --judge-request, and no other endpoint is asked. Leave it out.")
    return parse_request(options.judge_request or options.request)


def _endpoint_sides(options: argparse.Namespace) -> list[str]:
    from prospect.evaluation.answers.subject import ENDPOINT

    return [name for name in (options.model, options.against) if name and name.startswith(ENDPOINT)]


def _key(options: argparse.Namespace) -> str | None:
    """Return the variable that holds the judge's key: its own, or that of sides on its host, or of no sides."""
    from prospect.endpoint.client import origin_of
    from prospect.evaluation.answers.subject import ENDPOINT

    key, own = options.api_key_env, options.judge_api_key_env
    sides = _endpoint_sides(options)
    if own:
        if key and not sides:
            raise UsageError(f"--api-key-env {key}: the judge has its own key, and no other endpoint is asked.")
        return None if own == NO_KEY else own
    if not key or not options.judge.startswith(ENDPOINT):
        return None
    judge = origin_of(options.judge.removeprefix(ENDPOINT))
    others = {origin_of(side.removeprefix(ENDPOINT)) for side in sides} - {judge}
    if others:
        raise UsageError(
            f"--api-key-env {key}: the judge is at {judge}, {' and '.join(sorted(others))} is asked too, and a key "
            f"goes to one host only. Name the judge's key with --judge-api-key-env NAME, or {NO_KEY} for none."
        )
    return str(key)
