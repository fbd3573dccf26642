"""FeeL: conversations whose turns carry a rating of -1, 0 or 1; a conversation is logged again whenever it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.others.turns import decoded
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWER, USER, Dropped, Item, Options, Sample
from prospect.feedback.importers.shapes.mongo import mongo_name
from prospect.feedback.importers.shapes.rated_turns import Conversation
from prospect.feedback.importers.shapes.reading import each_row
from prospect.feedback.times import read_time


def _recognises(samples: Sequence[Sample]) -> bool:
    return all({"conversation", "conversation_id", "session_id"} <= one.columns for one in samples)


@importer(
    "feel",
    title="FeeL",
    recognises=_recognises,
    polarity={"1": True, "-1": False, "0": None},
    example={
        "feel.jsonl": [
            {
                "conversation_id": "c",
                "session_id": "s",
                "timestamp": "2026-01-02",
                "conversation": [USER, {**ANSWER, "rating": 1}],
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    return each_row(paths, _items)


def _items(where: str, row: Mapping[str, Any]) -> Iterator[Item]:
    turns = decoded(row.get("conversation"))
    if not isinstance(turns, list):
        yield Dropped(where=where, reason="row has no conversation")
        return
    yield from Conversation(
        where=where,
        turns=turns,
        rating="rating",
        rater=mongo_name(row.get("session_id")),
        name=mongo_name(row.get("conversation_id")),
        time=read_time(row.get("timestamp")),
    ).votes()
