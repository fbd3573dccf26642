"""Judges by the names that the command line knows them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from glob import glob
from typing import Any

from prospect.errors import UsageError
from prospect.evaluation.contest.judges.base import Judge
from prospect.evaluation.contest.judges.prompt import DEFAULT_RUBRIC

KINDS = {
    "verifier": "verifier:exact, verifier:numeric, verifier:regex:PATTERN or verifier:python:FILE.py:NAME",
    "reward": "reward:MODEL",
    "lm": "lm:MODEL",
    "endpoint": "endpoint:URL#MODEL",
    "human": "human:VOTES.json",
    "python": "python:FILE.py:NAME",
}
_LIST = "; ".join(KINDS.values())


def judge_named(
    name: str,
    *,
    rubric: str | None = None,
    endpoint_settings: Mapping[str, Any] | None = None,
) -> Judge:
    """Return the judge of a name. Models are loaded when it is first asked.

    Args:
        name: one of `KINDS`; the part after `human:` may be a glob.
        rubric: the question, for the kinds that can be asked one (lm, endpoint); None asks the usual one.
        endpoint_settings: fields of `Endpoint`, for an endpoint: api_key_env, timeout, retries, concurrency, request.

    Raises:
        UsageError: an unknown kind, a part of the name is missing, or a setting for another kind.
    """
    kind, _, rest = name.partition(":")
    if kind not in KINDS or not rest:
        raise UsageError(f'judge "{name}": expected {_LIST}.')
    if rubric is not None and kind not in ("lm", "endpoint"):
        raise UsageError(
            f"judge {name}: a rubric is read by judges of kind lm and endpoint; this one has no use for it."
        )
    if endpoint_settings and kind != "endpoint":
        raise UsageError(f"judge {name}: settings of an endpoint are given, and it is none.")
    if kind == "endpoint":
        from prospect.endpoint.client import Endpoint
        from prospect.evaluation.contest.judges.endpoint import EndpointJudge

        return EndpointJudge(Endpoint.parse(rest, **(endpoint_settings or {})), rubric or DEFAULT_RUBRIC)
    if kind == "lm":
        from prospect.evaluation.contest.judges.local_lm import LocalLMJudge

        return LocalLMJudge(rest, rubric or DEFAULT_RUBRIC)
    return _WITHOUT_SETTINGS[kind](rest)


def _reward(model: str) -> Judge:
    from prospect.evaluation.contest.judges.reward_model import RewardModelJudge

    return RewardModelJudge(model)


def _verifier(check: str) -> Judge:
    from prospect.evaluation.contest.judges.verifier import Verifier

    return Verifier(check)


def _human(votes: str) -> Judge:
    from prospect.evaluation.contest.judges.human import HumanJudge

    return HumanJudge(sorted(glob(votes)) or votes)  # noqa: PTH207  the pattern may be absolute


def _python(address: str) -> Judge:
    from prospect.evaluation.contest.judges.function import FunctionJudge, load_function

    function, digest = load_function(address)
    return FunctionJudge(function, f"python:{address}", f"python\0{address}\0{digest}")


_WITHOUT_SETTINGS: dict[str, Callable[[str], Judge]] = {
    "verifier": _verifier,
    "reward": _reward,
    "human": _human,
    "python": _python,
}
