"""Dify: likes and dislikes, with the messages they are on.

Shapes: the feedback export of the console (JSON, CSV), messages with their feedback as the API gives them, and the
tables message_feedbacks and messages. The feedback export cuts answers after 500 characters; where the messages are
given too, answer and earlier turns come from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.others.turns import decoded
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.joining import NO_COMPLETION, NO_PROMPT, Cells, first, name_of
from prospect.feedback.importers.shapes.reading import WRAPPERS, Row, rows
from prospect.feedback.times import read_time
from prospect.feedback.wording import names

_UNDER = ("feedback_data", *WRAPPERS)
_CUT = 503  # characters of an answer that the export cut: 500 and three dots
_NO_PARENT = "00000000-0000-0000-0000-000000000000"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NO_MESSAGE = "no message for this feedback"


@dataclass(slots=True)
class _Message:
    """A question and its answer, in a conversation."""

    query: str | None
    answer: str | None
    conversation: str | None
    parent: str | None
    time: datetime | None
    model: str | None
    user: str | None


@dataclass
class _Texts:
    """The messages of the conversations in which something was judged."""

    given: bool = False
    messages: dict[str, _Message] = field(default_factory=dict)
    conversations: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, message: _Message) -> None:
        self.messages[name] = message
        self.conversations.setdefault(message.conversation or name, []).append(name)

    def before(self, name: str) -> list[_Message] | None:
        """Return the messages before one in its conversation, oldest first; None where one is not in the export."""
        message = self.messages[name]
        if message.parent is None:  # an older Dify, without branches: what was asked earlier comes first
            return self._by_time(message.conversation or name, name)
        found: list[_Message] = []
        seen = {name}
        while message.parent is not None and message.parent != _NO_PARENT:
            if message.parent in seen or message.parent not in self.messages:
                return None
            seen.add(message.parent)
            message = self.messages[message.parent]
            found.append(message)
        return found[::-1]

    def _by_time(self, conversation: str, name: str) -> list[_Message]:
        order = list(dict.fromkeys(self.conversations[conversation]))
        if all(self.messages[other].time for other in order):
            order.sort(key=lambda other: self.messages[other].time or _LONG_AGO)
        return [self.messages[other] for other in order[: order.index(name)]]


def _kind_of(row: Cells) -> str | None:
    keys = row.keys()
    if "message_id" in keys and ("feedback_rating_raw" in keys or {"conversation_id", "rating"} <= keys):
        return "feedback"
    return "message" if {"id", "conversation_id", "query", "answer"} <= keys else None


def _recognises(samples: Sequence[Sample]) -> bool:
    judged = False
    for sample in samples:
        wrapped = {"export_info", "feedback_data"} <= sample.columns
        kinds = {"feedback"} if wrapped else {_kind_of(dict(row)) for row in sample.rows}
        if not kinds or None in kinds:
            return False
        judged = judged or "feedback" in kinds or not {"feedback", "feedbacks"}.isdisjoint(sample.columns)
    return judged


@importer(
    "dify",
    title="Dify",
    recognises=_recognises,
    polarity={"like": True, "dislike": False, "👍": True, "👎": False},
    example={
        "feedback.json": {
            "export_info": {"app_id": "a"},
            "feedback_data": [
                {
                    "feedback_id": "f1",
                    "conversation_id": "c",
                    "message_id": "m2",
                    "user_query": ASKED,
                    "ai_response": ANSWERED,
                    "feedback_rating": "👍",
                    "feedback_rating_raw": "like",
                    "feedback_comment": "",
                    "feedback_source": "user",
                    "feedback_date": "2026-01-02 03:04:05",
                    "from_account_name": "",
                    "from_end_user_id": "anna",
                }
            ],
        }
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    kinds, wanted = _survey(paths)
    texts = _texts(paths, wanted)
    for path in paths:
        for row in rows(path, _UNDER):
            if isinstance(row, Dropped):
                yield row
                continue
            kind = _kind_of(row.cells)
            if kind is None:
                yield Dropped(where=row.where, reason="row is neither a feedback nor a message")
            elif kind == "feedback":
                yield _of_feedback(row, texts)
            elif "feedback" not in kinds:  # else the messages are there for their texts
                yield from _of_message(row, texts)


def _survey(paths: Sequence[Path]) -> tuple[set[str | None], set[str]]:
    """Return the kinds of rows there are, and the conversations in which something was judged."""
    kinds: set[str | None] = set()
    wanted: set[str] = set()
    for path in paths:
        for row in rows(path, _UNDER):
            kind = _kind_of(row.cells) if isinstance(row, Row) else None
            kinds.add(kind)
            if isinstance(row, Row) and (kind == "feedback" or (kind == "message" and _feedbacks(row.cells))):
                wanted.add(name_of(row.cells.get("conversation_id")) or "")
    if kinds <= {None}:
        raise DataError(
            f"{names(str(path) for path in paths)}: there is neither feedback nor a message of Dify in it; expected a "
            "feedback export (message_id, feedback_rating_raw, ...) or messages (id, conversation_id, query, answer, "
            "feedback). Name the right file"
        )
    return kinds, wanted


def _texts(paths: Sequence[Path], wanted: set[str]) -> _Texts:
    texts = _Texts()
    for path in paths:
        for row in rows(path, _UNDER):
            if isinstance(row, Row) and _kind_of(row.cells) == "message":
                texts.given = True
                name, conversation = name_of(row.cells["id"]), name_of(row.cells["conversation_id"])
                if name is not None and (conversation or "") in wanted:
                    texts.add(name, _message(row.cells, conversation))
    return texts


def _message(row: Cells, conversation: str | None) -> _Message:
    return _Message(
        query=_text(row["query"]),
        answer=_text(row["answer"]),
        conversation=conversation,
        parent=name_of(row.get("parent_message_id")),
        time=read_time(row.get("created_at")),
        model=name_of(first(row, "model_id", "model_name")),
        user=name_of(first(row, "from_end_user_id", "from_account_id")),
    )


def _of_feedback(row: Row, texts: _Texts) -> Item:
    name = name_of(row.cells["message_id"])
    if not texts.given:  # the console's export alone: a question and an answer, and nothing of what came before
        cut = len(_text(first(row.cells, "ai_response")) or "") == _CUT and str(row.cells["ai_response"]).endswith(
            "..."
        )
        if cut:
            return Dropped(where=row.where, reason="answer cut after 500 characters by the export")
        query, answer = (_text(row.cells.get(key)) for key in ("user_query", "ai_response"))
        message = _Message(query, answer, None, None, None, None, None)
        return _vote(row.where, row.cells, name, message, [], _NO_MESSAGE)
    if name is None or name not in texts.messages:
        return Dropped(where=row.where, reason=_NO_MESSAGE)
    return _vote(row.where, row.cells, name, texts.messages[name], texts.before(name), NO_COMPLETION)


def _of_message(row: Row, texts: _Texts) -> Iterator[Item]:
    feedbacks, name = _feedbacks(row.cells), name_of(row.cells["id"])
    if not feedbacks or name is None:
        yield Dropped(where=row.where, reason="message without an id" if feedbacks else "no rating")
        return
    for feedback in feedbacks:
        yield _vote(row.where, feedback, name, texts.messages[name], texts.before(name), NO_COMPLETION)


def _feedbacks(row: Cells) -> list[Cells]:
    found = decoded(first(row, "feedbacks", "feedback"))
    found = found if isinstance(found, list) else [found]
    return [feedback for feedback in found if isinstance(feedback, dict) and feedback.get("rating")]


def _vote(
    where: str, feedback: Cells, name: str | None, message: _Message, before: list[_Message] | None, no_answer: str
) -> Item:
    if message.answer is None:
        return Dropped(where=where, reason=no_answer)
    if message.query is None:
        return Dropped(where=where, reason=NO_PROMPT)
    if before is None:
        return Dropped(where=where, reason="an earlier message of the conversation is missing")
    by_admin = first(feedback, "feedback_source", "from_source") == "admin"
    rater = name_of(first(feedback, "from_end_user_id", "from_account_id", "from_account_name"))
    if rater is None and not by_admin:  # the one who asked
        rater = message.user
    return Vote(
        where=where,
        prompt=[*(turn for earlier in before for turn in _turns(earlier)), {"role": "user", "content": message.query}],
        completion=message.answer,
        verdict=first(feedback, "feedback_rating_raw", "rating"),
        rater=rater,
        completion_id=name if rater or not by_admin else None,
        source_id=name_of(first(feedback, "feedback_id", "id")),
        time=read_time(first(feedback, "feedback_date", "updated_at", "created_at")),
        model=message.model,
        reason=name_of(first(feedback, "feedback_comment", "content")),
    )


def _turns(message: _Message) -> list[Cells]:
    said = (("user", message.query), ("assistant", message.answer))
    return [{"role": role, "content": text} for role, text in said if text]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
