"""Your own Python function as a judge."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judges.base import Item, Judge, Verdict, plain_text, verdict_of_scores
from prospect.feedback.records import Text
from prospect.user_code import import_file, source_digest

_WORDS = {"first", "second", "tie", "unparsed"}


class FunctionJudge(Judge):
    """Ask a function `(prompt, first, second)`, which returns "first", "second", "tie", or a number.

    Above 0 the first is better, below 0 the second, 0 is a tie; None and NaN say nothing and count as unparsed.

    Args:
        function: prompt, first and second are strings; a conversation comes as a list of `{"role", "content"}`.
        name: for people.
        identity: what verdicts are kept by; by default the text of the function and the values that it closes over.
            What else it reads is not seen: give another identity when that changes.
    """

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


def call(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """Return what a user's function returns; what it raises is an error that names it."""
    try:
        return function(*arguments)
    except Exception as error:
        raise DataError(f"{name} failed: {type(error).__name__}: {error}. Mend the function, and run again.") from error


def as_argument(text: Text) -> str | list[dict[str, Any]]:
    """Return a prompt or completion as files hold it; a completion of one plain turn is its content."""
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
