"""Your own Python function as a judge: one that compares two completions, or one that scores one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judges.base import (
    Candidate,
    Item,
    Judge,
    ScoringJudge,
    Verdict,
    as_score,
    plain_text,
    verdict_of_scores,
)
from prospect.feedback.images.opening import decode_image
from prospect.feedback.records import Completion, Image
from prospect.user_code import import_file, source_digest

_WORDS = {"first", "second", "tie", "unparsed"}


class FunctionJudge(Judge):
    """Ask a function `(prompt, first, second)`, which returns "first", "second", "tie", or a number.

    Above 0 the first is better, below 0 the second, 0 is a tie; None and NaN say nothing and count as unparsed.

    Args:
        function: prompt, first and second are strings; a conversation comes as a list of `{"role", "content"}`, an
            image as a picture of Pillow, RGB and upright.
        name: for people.
        identity: what verdicts are kept by; by default the text of the function and the values that it closes over.
            What else it reads is not seen: give another identity when that changes.
    """

    sees_images = True

    def __init__(self, function: Callable[[Any, Any, Any], Any], name: str = "", identity: str = "") -> None:
        self.name = name or f"python:{getattr(function, '__name__', type(function).__name__)}"
        self._function = function
        self._identity = identity or f"python\0{self.name}\0{source_of(function)}"

    @property
    def identity(self) -> str:
        """The name and the text of the function, or what was given."""
        return self._identity

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Call the function once for each item."""
        for number, item in enumerate(items):
            yield number, self._verdict(item)

    def _verdict(self, item: Item) -> Verdict:
        said = call(self._function, self.name, *(as_argument(text) for text in (item.prompt, item.first, item.second)))
        if said is None:
            return Verdict("unparsed", "the function returned None")
        if isinstance(said, str) and said in _WORDS:
            return Verdict(said)  # type: ignore[arg-type]
        if not isinstance(said, bool | str):
            try:
                return verdict_of_scores(float(said), 0.0)
            except (TypeError, ValueError):
                pass
        raise DataError(f'{self.name} returned {said!r}; expected "first", "second", "tie", or a number (0 is a tie).')


class ScoreFunctionJudge(ScoringJudge):
    """Ask a function `(prompt, completion)` or `(prompt, completion, target)`: true, false, or a number.

    None and NaN say nothing, and count as unread.

    Args:
        function: prompt and completion are strings; a conversation comes as a list of `{"role", "content"}`, an image
            as a picture of Pillow, RGB and upright.
        name: for people.
        identity: what scores are kept by.
    """

    sees_images = True

    def __init__(self, function: Callable[..., Any], name: str, identity: str) -> None:
        self.name = name
        self._ask, self._identity = asking_of_one(function, name), identity

    @property
    def identity(self) -> str:
        """What was given."""
        return self._identity

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Call the function once for each completion."""
        for number, row in enumerate(rows):
            said = self._ask(row)
            yield number, math.nan if said is None else as_score(said, self.name)


def function_judge(function: Callable[..., Any], name: str, identity: str) -> Judge:
    """Return the judge that a function's parameters make it: two, or a third called target, score one completion.

    Any other three compare two completions.

    Raises:
        UsageError: the parameters fit both, or neither.
    """
    names, least = _positional(function, name)
    named = set(names[:3])
    if least <= 2 <= len(names) and not named & {"first", "second"}:
        return ScoreFunctionJudge(function, name, identity)
    if least == 3 and names[2] == "target" and not named & {"first", "second"}:
        return ScoreFunctionJudge(function, name, identity)
    if least == 3 and not named & {"completion", "target"}:
        return FunctionJudge(function, name, identity)
    raise UsageError(
        f"{name}: its parameters are ({', '.join(names)}), so it cannot be told whether it scores one completion or "
        "compares two. Write (prompt, completion), (prompt, completion, target), or (prompt, first, second)."
    )


def asking_of_one(function: Callable[..., Any], name: str) -> Callable[[Candidate], Any]:
    """Return what calls a function with prompt, completion and, where it has a third parameter for it, the target."""
    names, least = _positional(function, name)
    wants_target = least == 3 or names[2:3] == ["target"]

    def ask(row: Candidate) -> Any:
        target = (row.target,) if wants_target else ()
        return call(function, name, as_argument(row.prompt), as_argument(row.completion), *target)

    return ask


def _positional(function: Callable[..., Any], name: str) -> tuple[list[str], int]:
    """Return the names of a function's positional parameters, and how many of them it must get."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise UsageError(
            f"{name}: it does not say which parameters it has. Call it in a function of your own."
        ) from None
    open_ended = [one.name for one in found if one.kind is one.VAR_POSITIONAL]
    keywords = [one.name for one in found if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    if open_ended or keywords:
        raise UsageError(
            f"{name}: it takes {', '.join([f'*{one}' for one in open_ended] + keywords)}; expected plain parameters: "
            "(prompt, completion), (prompt, completion, target), or (prompt, first, second)."
        )
    places = [one for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return [one.name for one in places], sum(one.default is one.empty for one in places)


def call(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """Return what a user's function returns; what it raises is an error that names it."""
    try:
        return function(*arguments)
    except Exception as error:
        raise DataError(f"{name} failed: {type(error).__name__}: {error}. Mend the function, and run again.") from error


def as_argument(text: Completion) -> Any:
    """Return a prompt or completion as files hold it, an image decoded; one plain turn of an answer is its content."""
    if isinstance(text, Image):
        return decode_image(text, str(text.path))
    if isinstance(text, str):
        return text
    if len(text) == 1 and text[0].role == "assistant":
        return plain_text(text)
    return [turn.as_dict() for turn in text]


def load_object(address: str) -> tuple[Any, str]:
    """Import `FILE.py:NAME` and return a function, class or judge, and a hash of the file.

    The file is the user's own code and runs as such.

    Raises:
        UsageError: there is no such file, it cannot be imported, or holds no such function or judge.
    """
    file, _, attribute = address.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not file or not path.is_file():
        raise UsageError(f"{address}: there is no file {file or address}; expected FILE.py:NAME.")
    found = getattr(import_file(path), attribute, None)
    if not callable(found) and not isinstance(found, Judge):
        raise UsageError(f'{address}: there is no function "{attribute}" in {file}.')
    return found, source_digest(path)


def source_of(function: Callable[..., Any]) -> str:
    """Return the text of a function with the values that it holds, or its `repr` where its text is not at hand."""
    try:
        held = inspect.getclosurevars(function).nonlocals, getattr(function, "__defaults__", None)
        return f"{inspect.getsource(function)}\0{held!r}"
    except (OSError, TypeError):
        return repr(function)
