"""The prompts of a file, each once, with the right answers where a column has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.prompts import read_prompt
from prospect.feedback.files.rows import RowParser, with_own_columns
from prospect.feedback.files.sources import Source, find_places, raw_rows
from prospect.feedback.records import Text
from prospect.feedback.split import prompt_key


@dataclass(frozen=True)
class Question:
    """A prompt to be answered.

    Attributes:
        prompt: its text.
        key: of the prompt.
        target: the right answer, if any.
    """

    prompt: Text
    key: str
    target: Any = None


# A row with one of these is feedback, and read as such: its prompt may then become a conversation with its answer.
_ANSWERED = {"completion", "completions", "chosen"}


def read_questions(
    data: Source, *, target: str = "target", label_map: Mapping[Any, bool] | None = None
) -> list[Question]:
    """Return the different prompts of a file in order; the first target of a prompt counts.

    Args:
        data: feedback of any kind, or rows with a prompt, as `read_prompt` finds it.
        target: the column that holds the right answers; it may be absent.
        label_map: label -> desirable.

    Raises:
        DataError: a row without a prompt; two right answers to one prompt.
    """
    found: dict[str, Question] = {}
    for place in find_places(data):
        parser = RowParser(label_map, place=place)
        for where, name, row in raw_rows(place):
            answered = _ANSWERED & with_own_columns(row, where).keys()
            prompt = parser.parse(row, where, name).prompt if answered else read_prompt(row, where)
            key, answer = prompt_key(prompt), row.get(target)
            known = found.get(key)
            if known is not None and known.target != answer and None not in (known.target, answer):
                raise DataError(
                    f"{where}: {target} is {answer!r}, and an earlier row of the prompt has {known.target!r}. Keep one."
                )
            if known is None or known.target is None:
                found[key] = Question(prompt, key, answer)
    if not found:
        raise DataError(f"{data}: there are no rows; expected at least one with a prompt")
    return list(found.values())
