"""Judges that check each completion against what is known to be right: a target, a pattern, a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judges.base import Candidate, ScoringJudge, as_score, plain_text
from prospect.evaluation.contest.judges.function import asking_of_one, load_object
from prospect.evaluation.contest.judges.numbers import last_number
from prospect.evaluation.contest.judges.registry import judge

Check = Callable[[Candidate], float]

KINDS = "exact, numeric, regex:PATTERN or python:FILE.py:NAME"


@judge("verifier:exact", "verifier:numeric", "verifier:regex:PATTERN", "verifier:python:FILE.py:NAME")
class Verifier(ScoringJudge):
    """Scores a completion by a check: 1 right, 0 wrong, or any number.

    Args:
        check: `exact`, `numeric`, `regex:PATTERN` or `python:FILE.py:NAME`.

            - exact: the completion is the target, white space around it aside.
            - numeric: its last number equals the last number of the target, exactly.
            - regex: with a group in the pattern, what the group holds in the last match equals the target; without one,
              the pattern is found somewhere, and no target is needed.
            - python: `NAME(prompt, completion, target)`, or without the target, returns true, false or a number.

    Raises:
        UsageError: an unknown check, a pattern that is none, a function that cannot be loaded.
    """

    def __init__(self, check: str) -> None:
        self.name, self.sees_images = f"verifier:{check}", check.startswith("python:")
        self._check, self._identity = _find_check(check)

    @property
    def identity(self) -> str:
        """The check, with a hash of the file where it is a function."""
        return self._identity

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield a score for each row, in their order.

        Raises:
            DataError: a row has no target and the check needs one, or a function failed.
        """
        for number, row in enumerate(rows):
            yield number, self._check(row)


def _find_check(check: str) -> tuple[Check, str]:
    kind, _, rest = check.partition(":")
    identity = f"verifier\0{check}"
    if check == "exact":
        return _exact, identity
    if check == "numeric":
        return _numeric, identity
    if kind == "regex" and rest:
        return _regex(rest), identity
    if kind == "python" and rest:
        function, digest = load_object(rest)
        ask = asking_of_one(function, rest)
        return lambda row: as_score(ask(row), rest), f"{identity}\0{digest}"
    raise UsageError(f'verifier "{check}" is not known; expected {KINDS}.')


def _exact(row: Candidate) -> float:
    return float(plain_text(row.completion).strip() == _target(row).strip())


def _numeric(row: Candidate) -> float:
    target = last_number(_target(row))
    if target is None:
        raise DataError(f"target {row.target!r} holds no number; expected one for verifier:numeric.")
    return float(last_number(plain_text(row.completion)) == target)


def _regex(pattern: str) -> Check:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"verifier:regex:{pattern}: this is no regular expression: {error}.") from None

    def score(row: Candidate) -> float:
        text = plain_text(row.completion)
        if not compiled.groups:
            return float(compiled.search(text) is not None)
        found = [match.group(1) or "" for match in compiled.finditer(text)]
        return float(bool(found) and found[-1].strip() == _target(row).strip())

    return score


def _target(row: Candidate) -> str:
    if row.target is None:
        raise DataError(
            f"there is no target for the prompt {plain_text(row.prompt)[:60]!r}; expected the right answer, in the "
            "column target of the prompts."
        )
    return str(row.target)
