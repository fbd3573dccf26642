"""FastChat (LMSYS): the log of its web server, of which the lines with a thumb are votes. Raters are IP addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.mongo import mongo_name
from prospect.feedback.importers.shapes.reading import dig, each_row
from prospect.feedback.times import read_time

_BATTLES = ("leftvote", "rightvote", "tievote", "bothbad_vote")


def _recognises(samples: Sequence[Sample]) -> bool:
    return all({"tstamp", "type"} <= one.columns and not one.columns.isdisjoint(("state", "states")) for one in samples)


@importer(
    "fastchat",
    title="FastChat",
    recognises=_recognises,
    polarity={"upvote": True, "downvote": False},
    example={
        "conv.jsonl": [
            {
                "tstamp": 1767323045.5,
                "type": "upvote",
                "ip": "192.0.2.7",
                "model": "small",
                "state": {"conv_id": "c", "roles": ["USER", "BOT"], "messages": [["USER", ASKED], ["BOT", ANSWERED]]},
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    return each_row(paths, lambda where, row: [_item(where, row)])


def _item(where: str, row: Mapping[str, Any]) -> Item:
    kind = row.get("type")
    if kind == "chat" or kind is None:
        return Dropped(where=where, reason="line of the log without a vote")
    if kind == "flag":
        return Dropped(where=where, reason="flag, which is neither up nor down")
    if kind in _BATTLES:
        return Dropped(where=where, reason="vote between two models")
    turns = _turns(row)
    problem = None
    if turns is None:
        problem = "conversation cannot be read as text"
    elif not turns or turns[-1]["role"] != "assistant":
        problem = "conversation does not end with the assistant"
    elif all(turn["role"] == "system" for turn in turns[:-1]):
        problem = "prompt is missing"
    usable = turns if turns and not problem else [{"role": "assistant", "content": ""}]
    conversation = mongo_name(dig(row, "state.conv_id"))
    name = f"{conversation}/{len(turns)}" if conversation and turns else None
    return Vote(
        where=where,
        prompt=usable[:-1],
        completion=usable[-1]["content"],
        verdict=kind,
        rater=mongo_name(row.get("ip")),
        completion_id=name,
        source_id=name,
        time=read_time(row.get("tstamp")),
        model=mongo_name(row.get("model")) or mongo_name(dig(row, "state.model_name")),
        unusable=problem,
    )


def _turns(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the state's messages, [name, text] each; the first `offset` are examples given to the model."""
    said, system = dig(row, "state.messages"), dig(row, "state.system_message")
    names = dig(row, "state.roles")
    user = names[0] if isinstance(names, list) and len(names) == 2 else "user"
    if not isinstance(said, list):
        return None
    turns = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
    for turn in said:
        if not isinstance(turn, list) or len(turn) != 2 or not isinstance(turn[1], str):
            return None
        turns.append({"role": "user" if turn[0] in (user, "user", "USER") else "assistant", "content": turn[1]})
    return turns
