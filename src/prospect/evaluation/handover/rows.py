"""Three rows to try a model's folder on: of the run's feedback, of a file, or questions that anybody may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from prospect.config import Config
from prospect.errors import ProspectError
from prospect.feedback.files.sources import Source, iter_feedback, load_prompts
from prospect.feedback.records import Completion, Feedback, Message, Paired, Scored, Text, text_of

ROWS = 3
_ANSWER = "It is on its way."
_QUESTION = Message("user", "Where is my parcel?")
_TURNS: tuple[tuple[Message, ...], ...] = (
    (_QUESTION,),
    (_QUESTION, Message("assistant", _ANSWER), Message("user", "When will it be here?")),
    (Message("user", "Thank you!"),),
)


@dataclass(frozen=True)
class TriedRow:
    """A prompt, an answer to score after it, and the tools that the prompt names."""

    prompt: Text
    completion: Text
    tools: tuple[Mapping[str, Any], ...] | None = None


def find_rows(config: Config | None, data: Source | None, *, chats: bool) -> tuple[list[TriedRow], str]:
    """Return up to three rows, and where they come from.

    Args:
        config: of the run that made the model, if it is known.
        data: feedback that is asked for; it wins.
        chats: whether the model has a chat template, for rows of nobody's.

    Raises:
        DataError: what is asked for cannot be read.
    """
    if data is not None:
        return _of_feedback(data, config), str(data)
    if config is not None:
        try:
            if config.online is not None and config.online.prompts is not None:
                prompts = load_prompts(config.online.prompts)[:ROWS]
                return [TriedRow(prompt, _completion(prompt)) for prompt in prompts], str(config.online.prompts)
            return _of_feedback(config.data.train, config), str(config.data.train)
        except ProspectError:  # moved away since: the questions below will do
            pass
    return [_own(turns, chats) for turns in _TURNS], "questions of our own"


def _of_feedback(data: Source, config: Config | None) -> list[TriedRow]:
    label_map = config.data.label_map if config is not None else None
    records = islice(iter_feedback(data, label_map=label_map), ROWS)
    return [TriedRow(row.prompt, text_of(_answer_of(row), row.where), row.tools) for row in records]


def _answer_of(row: Feedback) -> Completion:
    if isinstance(row, Paired):
        return row.chosen
    if isinstance(row, Scored):
        return row.completions[row.best]
    answer: Completion = row.completion  # type: ignore[attr-defined]
    return answer


def _own(turns: tuple[Message, ...], chats: bool) -> TriedRow:
    prompt: Text = turns if chats else f"{turns[-1].content} "
    return TriedRow(prompt, _completion(prompt))


def _completion(prompt: Text) -> Text:
    return _ANSWER if isinstance(prompt, str) else (Message("assistant", _ANSWER),)
