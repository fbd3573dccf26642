"""A row of any file -> the prompt in it, whether somebody answered it or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.implicit_prompt import split_shared_prompt
from prospect.feedback.files.others.cells import PROMPTS, has_prompt, prompt_in
from prospect.feedback.files.rows import with_own_columns
from prospect.feedback.files.text import parse_text, parse_turns
from prospect.feedback.records import Text
from prospect.feedback.wording import names

_COLUMNS = (*PROMPTS, "messages", "conversations", "chosen and rejected", "text")


def read_prompt(row: Mapping[str, Any], where: str) -> Text:
    """Return the prompt of a row: text, or turns.

    It is in `prompt`, or in the one column that can only be it. Of a conversation it is what comes before the
    assistant's last turn, or all of it where somebody else spoke last; of a pair without a prompt, what both sides
    begin with; a lone `text` is to be gone on with.

    Refuses, with file and line, a row without a prompt, or with two columns that may be it.
    """
    row = with_own_columns(row, where)
    said = {column: cell for column, cell in row.items() if cell is not None}
    if "prompt" in said:
        return parse_text(said["prompt"], "prompt", where)
    if "messages" in said:
        turns = parse_turns(said["messages"], "messages", where)
        asked = turns[:-1] if turns and turns[-1].role == "assistant" else turns
        if not any(turn.role == "user" for turn in asked):
            raise DataError(
                f"{where}: messages has no turn of the user before the answer; expected one. Remove the row"
            )
        return asked
    if {"chosen", "rejected"} <= said.keys():
        sides = [parse_text(said[side], side, where) for side in ("chosen", "rejected")]
        return split_shared_prompt(sides[0], sides[1], where)[0]
    if "text" in said and said.keys().isdisjoint(PROMPTS):
        return parse_text(said["text"], "text", where)
    if has_prompt(set(said)):
        return parse_text(prompt_in(said), "prompt", where)
    found = [column for column in PROMPTS if column in said]
    if found:
        raise DataError(f"{where}: {names(found)} may each be the prompt; expected one. Name it prompt")
    raise DataError(
        f"{where}: there is no prompt, only {names(row)}; expected {names(_COLUMNS, 'or')}. "
        "Rename the one that holds it"
    )
