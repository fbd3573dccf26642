r"""Conversations as one text in Anthropic's old style: "\n\nHuman: ... \n\nAssistant: ...".

Shapes: pairs of whole transcripts (chosen, rejected), as in HH-RLHF, whose shared turns are the prompt; and prompt,
completion and label where the prompt is a transcript, or one whole transcript (`text`) with a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.others.layouts import number_of
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Preference, Sample, Vote
from prospect.feedback.importers.shapes.joining import Cells, first, name_of
from prospect.feedback.importers.shapes.payloads import Turns
from prospect.feedback.importers.shapes.reading import each_row
from prospect.feedback.times import read_time

_ROLES = {"Human": "user", "Assistant": "assistant"}
# A speaker stands at the very beginning or after a blank line; within a paragraph "Human:" is only a word.
_SPEAKER = re.compile(r"(?:\A\s*|\r?\n[ \t]*\r?\n[ \t]*)(Human|Assistant):[ \t]?")
_WHOLE = ("text", "transcript", "conversation")


def _is_transcript(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    speakers = [mark[1] for mark in _SPEAKER.finditer(value)]
    return speakers[:1] == ["Human"] and "Assistant" in speakers


def _is_ours(row: Any) -> bool:
    if {"chosen", "rejected"} <= row.keys():
        return "prompt" not in row and _is_transcript(row["chosen"]) and _is_transcript(row["rejected"])
    return "label" in row and any(_is_transcript(row.get(column)) for column in ("prompt", *_WHOLE))


def _recognises(samples: Sequence[Sample]) -> bool:
    return bool(samples) and all(one.rows and all(map(_is_ours, one.rows)) for one in samples)


@importer(
    "transcripts",
    title="transcripts (Human:/Assistant:)",
    recognises=_recognises,
    polarity={"1": True, "0": False, "-1": False, "true": True, "false": False},
    example={
        "pairs.jsonl": [
            {
                "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {ANSWERED}",
                "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: No idea.",
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    return each_row(paths, lambda where, row: [_item(where, row)])


def _item(where: str, row: Cells) -> Item:
    if "chosen" in row or "rejected" in row:
        return _preference(where, row)
    text = first(row, *_WHOLE) if row.get("prompt") is None else _joined(row["prompt"], row.get("completion"))
    turns = turns_of_transcript(text) if isinstance(text, str) else None
    if turns is None:
        return Dropped(where=where, reason="text is no transcript")
    if turns[-1]["role"] != "assistant" or len(turns) < 2:
        return Dropped(where=where, reason="transcript does not end with the assistant")
    if row.get("label") is None:
        return Dropped(where=where, reason="no label")
    return Vote(
        where=where,
        prompt=turns[:-1],
        completion=turns[-1:],
        verdict=row["label"],
        rater=name_of(row.get("rater")),
        source_id=name_of(row.get("id")),
        time=read_time(row.get("time")),
        model=name_of(row.get("model")),
        reason=name_of(row.get("reason")),
        score=number_of(row.get("score")),
    )


def _preference(where: str, row: Cells) -> Item:
    before = row.get("prompt")
    sides = [_joined(before, row.get(side)) for side in ("chosen", "rejected")]
    chosen, rejected = (turns_of_transcript(side) if side is not None else None for side in sides)
    if chosen is None or rejected is None:
        return Dropped(where=where, reason="text is no transcript")
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        return Dropped(where=where, reason="transcript does not end with the assistant")
    shared = _shared(chosen, rejected)
    if not any(turn["role"] == "user" for turn in chosen[:shared]):
        return Dropped(where=where, reason="the two transcripts share no turn of the human")
    return Preference(
        where=where,
        prompt=chosen[:shared],
        chosen=chosen[shared:],
        rejected=rejected[shared:],
        rater=name_of(row.get("rater")),
        source_id=name_of(row.get("id")),
    )


def _shared(chosen: Turns, rejected: Turns) -> int:
    """How many leading turns are the prompt: the same ones, up to where the assistant speaks on both sides."""
    count = 0
    while count < min(len(chosen), len(rejected)) - 1 and chosen[count] == rejected[count]:
        count += 1
    while count and not chosen[count]["role"] == rejected[count]["role"] == "assistant":
        count -= 1
    return count


def turns_of_transcript(text: str) -> Turns | None:
    """Return the turns of a transcript as [{role, content}], without white space around them; None if it is none.

    What stands before the first speaker is the system prompt.
    """
    marks = list(_SPEAKER.finditer(text))
    if not marks:
        return None
    system = text[: marks[0].start()].strip()
    turns = [{"role": "system", "content": system}] if system else []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        turns.append({"role": _ROLES[mark[1]], "content": text[mark.end() : end].strip()})
    return turns


def _joined(prompt: Any, completion: Any) -> str | None:
    """Return a prompt that ends where the assistant speaks, and what was said then."""
    if not isinstance(completion, str):
        return None
    if prompt is None:
        return completion
    if not isinstance(prompt, str):
        return None
    speaks = prompt.rstrip().endswith("Assistant:") or _SPEAKER.match(completion) is not None
    return prompt + completion if speaks else f"{prompt.rstrip()}\n\nAssistant: {completion}"
