"""AnythingLLM: the chats of all workspaces as CSV or JSON, each with its rating: GOOD, BAD, or -- where nobody rated.

The other two exports, JSON lines and Alpaca, have no rating, nor have the chats of embedded widgets; they are refused
with the reason. Earlier turns of a chat are not in any export, so the prompt is the last message of the user alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.others.turns import decoded
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.joining import NO_COMPLETION, NO_PROMPT, Cells, name_of
from prospect.feedback.importers.shapes.reading import each_row, sample
from prospect.feedback.times import read_time

_CHAT = {"prompt", "response", "sent_at", "workspace"}
_NOBODY = ("API", "unknown user")


def _recognises(samples: Sequence[Sample]) -> bool:
    """Also chats without a rating: what is missing there is better said by name."""
    return bool(samples) and all(one.columns >= _CHAT for one in samples)


@importer(
    "anythingllm",
    title="AnythingLLM",
    recognises=_recognises,
    polarity={"good": True, "bad": False},
    example={
        "chats.csv": [
            {
                "id": 3,
                "prompt": ASKED,
                "response": ANSWERED,
                "sent_at": "2026-01-02T03:04:05.000Z",
                "workspace": "shop",
                "username": "anna",
                "rating": "GOOD",
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    for path in paths:
        _check(sample(path))
    yield from each_row(paths, _items)


def _check(found: Sample) -> None:
    """Refuse the exports that have no ratings."""
    if not found.rows or "rating" in found.columns:
        return
    if found.columns == {"messages"}:
        what = "the JSON lines export (one conversation for each workspace)"
    elif {"instruction", "input", "output"} <= found.columns:
        what = "the Alpaca export"
    elif found.columns >= _CHAT:
        what = "an export of embedded chats"
    else:
        raise DataError(
            f"{found.path}: has no column rating; expected chats of AnythingLLM (id, prompt, response, sent_at, "
            "workspace, username, rating). Export the workspace chats as JSON"
        )
    raise DataError(
        f"{found.path}: is {what}, in which AnythingLLM leaves out the ratings, so no row has a verdict. Export the "
        "workspace chats again as JSON or CSV"
    )


def _items(where: str, row: Cells) -> Iterator[Item]:
    prompt, response = _text(row.get("prompt")), _text(row.get("response"))
    rating = row.get("rating")
    reason = None
    if rating is None or rating in ("--", ""):
        reason = "no rating"
    elif decoded(row.get("attachments")):
        reason = "chat with attachments, which are no text"
    elif response is None:
        reason = NO_COMPLETION
    elif prompt is None:
        reason = NO_PROMPT
    if reason is not None or prompt is None or response is None:
        yield Dropped(where=where, reason=reason or NO_PROMPT)
        return
    user, name = name_of(row.get("username")), name_of(row.get("id"))
    yield Vote(
        where=where,
        prompt=[{"role": "user", "content": prompt}],
        completion=response,
        verdict=rating,
        rater=None if user in _NOBODY else user,
        completion_id=name,
        source_id=name,
        time=read_time(row.get("sent_at")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
