"""Hugging Face chat-ui: conversations whose messages carry a score of -1, 0 or 1, as Parquet or out of MongoDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.others.turns import decoded
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Sample
from prospect.feedback.importers.shapes.mongo import mongo_name, mongo_time
from prospect.feedback.importers.shapes.rated_turns import Conversation
from prospect.feedback.importers.shapes.reading import each_row


def _recognises(samples: Sequence[Sample]) -> bool:
    return all(any(map(_is_conversation, one.rows)) for one in samples)


def _is_conversation(row: Mapping[str, Any]) -> bool:
    turns = decoded(row.get("messages"))
    return (
        isinstance(turns, list)
        and bool(turns)
        and all(isinstance(turn, dict) and "from" in turn and "content" in turn for turn in turns)
    )


@importer(
    "chat-ui",
    title="Hugging Face chat-ui",
    recognises=_recognises,
    polarity={"1": True, "-1": False, "0": None},
    example={
        "conversations.jsonl": [
            {
                "_id": {"$oid": "1"},
                "sessionId": "s",
                "model": "small",
                "updatedAt": {"$date": "2026-01-02T03:04:05.000Z"},
                "messages": [
                    {"from": "user", "content": ASKED},
                    {"from": "assistant", "content": ANSWERED, "score": 1},
                ],
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    return each_row(paths, _items)


def _items(where: str, row: Mapping[str, Any]) -> Iterator[Item]:
    turns = decoded(row.get("messages"))
    if not isinstance(turns, list):
        yield Dropped(where=where, reason="row has no messages")
        return
    system = row.get("preprompt")
    yield from Conversation(
        where=where,
        turns=turns,
        rating="score",
        rater=mongo_name(row.get("userId")) or mongo_name(row.get("sessionId")),
        name=mongo_name(row.get("_id")) or mongo_name(row.get("id")),
        time=mongo_time(row.get("updated_at")) or mongo_time(row.get("updatedAt")),
        model=mongo_name(row.get("model")),
        system=system if isinstance(system, str) else None,
    ).votes()
