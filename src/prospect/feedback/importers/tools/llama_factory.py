"""Rows written for LLaMA-Factory (alpaca, sharegpt and openai layouts) and for ms-swift.

Both also train on {"messages": [...], "label": true}, which is a layout of our own too, so such files are theirs only
when named so. Demonstrations, without a verdict, are not feedback and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.others.cells import Turns, UnreadableRow, tools_in, turns_in
from prospect.feedback.files.others.layouts import own_columns
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import (
    ANSWER,
    ANSWERED,
    ASKED,
    USER,
    Dropped,
    Item,
    Options,
    Preference,
    Sample,
    Vote,
)
from prospect.feedback.importers.shapes.joining import NO_COMPLETION, NO_PROMPT, Cells, name_of
from prospect.feedback.importers.shapes.reading import each_row

_VERDICTS: dict[str, bool | None] = {"true": True, "false": False, "1": True, "0": False}


def _is_llama_factory(row: Cells) -> bool:
    keys = row.keys()
    if not {"messages", "rejected_response", "rejected_messages", "prompt"}.isdisjoint(keys):
        return "messages" in keys and ("kto_tag" in keys or isinstance(row.get("chosen"), dict))
    return not {"conversations", "instruction"}.isdisjoint(keys) and (
        "kto_tag" in keys or {"chosen", "rejected"} <= keys
    )


def _is_swift(row: Cells) -> bool:
    asked = "messages" in row or {"query", "response"} <= row.keys()
    return asked and not {"rejected_response", "rejected_messages"}.isdisjoint(row)


def _recogniser(fits: Callable[[Cells], bool]) -> Callable[[Sequence[Sample]], bool]:
    return lambda samples: (
        bool(samples) and all(one.rows and all(fits(dict(row)) for row in one.rows) for one in samples)
    )


def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    return each_row(paths, _items)


def _items(where: str, row: Cells) -> Iterator[Item]:
    try:
        yield _item(where, own_columns(row))
    except UnreadableRow as problem:
        yield Dropped(where=where, reason=str(problem))


def _item(where: str, row: Any) -> Item:
    name, tools = name_of(row.get("id")), tools_in(row.get("tools"))
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return Preference(
            where=where,
            prompt=_turns(row.get("prompt"), "user", NO_PROMPT),
            chosen=_turns(row.get("chosen"), "assistant", NO_COMPLETION),
            rejected=_turns(row.get("rejected"), "assistant", NO_COMPLETION),
            source_id=name,
            tools=tools,
        )
    if row.get("messages") is not None:
        turns = turns_in(row["messages"])
        prompt, completion = turns[:-1], turns[-1:]
    else:
        prompt = _turns(row.get("prompt"), "user", NO_PROMPT)
        completion = _turns(row.get("completion"), "assistant", NO_COMPLETION)
    if row.get("label") is None:
        raise UnreadableRow("demonstration without a verdict")
    if completion[-1]["role"] != "assistant":
        raise UnreadableRow("conversation does not end with the assistant")
    return Vote(where=where, prompt=prompt, completion=completion, verdict=row["label"], source_id=name, tools=tools)


def _turns(cell: Any, role: str, missing: str) -> Turns:
    """Return turns: these trainers put all text through a chat template."""
    if isinstance(cell, str):
        return [{"role": role, "content": cell}]
    if not cell:
        raise UnreadableRow(missing)
    return turns_in(cell)


llama_factory = importer(
    "llama-factory",
    title="LLaMA-Factory",
    recognises=_recogniser(_is_llama_factory),
    polarity=_VERDICTS,
    example={"kto.json": [{"instruction": ASKED, "output": ANSWERED, "kto_tag": True}]},
)(_read)
ms_swift = importer(
    "ms-swift",
    title="ms-swift",
    recognises=_recogniser(_is_swift),
    polarity=_VERDICTS,
    example={"dpo.jsonl": [{"messages": [USER, ANSWER], "rejected_response": "No idea."}]},
)(_read)
