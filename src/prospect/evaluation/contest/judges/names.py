"""Judges by the names that the command line knows them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.errors import UsageError
from prospect.evaluation.contest.judges.base import Judge
from prospect.evaluation.contest.judges.function import function_judge, load_object
from prospect.evaluation.contest.judges.registry import all_judges, forms, kinds_with
from prospect.user_code import is_own

OWN = "FILE.py:NAME"
_PREFIX = "python"  # may stand before it, as in verifier:python:FILE.py:NAME


def judge_named(
    name: str,
    *,
    rubric: str | None = None,
    endpoint_settings: Mapping[str, Any] | None = None,
) -> Judge:
    """Return the judge of a name. Models are loaded when it is first asked.

    Args:
        name: KIND:REST of a registered kind, or FILE.py:NAME, which may begin with python:, for a function or judge of
            your own.
        rubric: the question, for the kinds that can be asked one (lm, endpoint); None asks the usual one.
        endpoint_settings: fields of `Endpoint`, for an endpoint: api_key_env, timeout, retries, concurrency, request.

    Raises:
        UsageError: an unknown kind, a part of the name is missing, or a setting for another kind.
    """
    kind, _, rest = name.partition(":")
    kinds = all_judges()
    own = rest if kind == _PREFIX else name
    settings = {
        key: value for key, value in (("rubric", rubric), ("endpoint_settings", endpoint_settings)) if value is not None
    }
    if kind not in kinds and is_own(own):
        _check_settings(name, "", settings)
        return _own(own)
    if kind not in kinds or not rest:
        raise UsageError(f'judge "{name}": expected {"; ".join(forms())}; or {OWN} of your own.')
    _check_settings(name, kind, settings)
    return kinds[kind].named(rest, **settings)


def _check_settings(name: str, kind: str, settings: Mapping[str, Any]) -> None:
    for setting in settings:
        able = kinds_with(setting)
        if kind not in able:
            raise UsageError(
                f"judge {name}: {setting} is for judges of kind {' and '.join(able)}; this one has no use for it."
            )


def _own(address: str) -> Judge:
    found, digest = load_object(address)
    made = found() if isinstance(found, type) and issubclass(found, Judge) else found
    if isinstance(made, Judge):
        return made
    return function_judge(made, address, f"python\0{address}\0{digest}")
