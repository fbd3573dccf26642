"""Rows as public datasets and other trainers have them -> rows with our columns.

Only layouts whose columns say by themselves what is what are read: pairs that name their two sides, completions with
scores, conversations. A verdict under another name, or in words, is read by `prospect data import`, which says what it
took for what. Shapes are those of the documentation and code of OpenAI, LLaMA-Factory, ms-swift and Axolotl, and of the
columns of UltraFeedback, Argilla's and Intel's pairs on the hub.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from prospect.feedback.files.others.cells import (
    CONVERSATIONS,
    PROMPTS,
    Row,
    UnreadableRow,
    answer_in,
    conversation_in,
    has_prompt,
    is_alpaca,
    prompt_column,
    prompt_in,
    said,
    split_answer,
    tools_in,
    turns_in,
    with_system,
)
from prospect.feedback.files.others.turns import decoded

_MEDIA = ("images", "videos", "audios", "rejected_images", "image", "video", "audio")


class OtherLayout(NamedTuple):
    """A layout that is not ours.

    Attributes:
        title: what its rows are called.
        fits: whether a row has it, by the columns that are not null and by the row.
        read: makes our columns.
        consumed: its columns that are read and left out; all others stay.
    """

    title: str
    fits: Callable[[set[str], Row], bool]
    read: Callable[[Row], dict[str, Any]]
    consumed: tuple[str, ...]


def find_other_layout(row: Row) -> OtherLayout | None:
    """Return the layout of a row that is not one of ours; None where it is, or where no layout is known."""
    if not may_be_other_layout(row):
        return None
    columns = {column for column, cell in row.items() if cell is not None}
    return next((layout for layout in OTHER_LAYOUTS if layout.fits(columns, row)), None)


def may_be_other_layout(row: Row) -> bool:
    """Return whether a row has columns with which it may have another layout than ours; nearly none has."""
    return not _MARKS.isdisjoint(row) or ("messages" in row and "chosen" in row)


def own_columns(row: Row) -> Row:
    """Return the row with our columns; the row itself where it has no other layout.

    Raises:
        UnreadableRow: a part of it cannot be read.
    """
    layout = find_other_layout(row)
    if layout is None:
        return row
    if any(decoded(row.get(column)) for column in _MEDIA):
        raise UnreadableRow("row with pictures, sound or video")
    read = layout.read(row)
    if "tools" in row:
        read.setdefault("tools", tools_in(row["tools"]))
    dropped = {*layout.consumed, "system", "history", "tools"}
    return {**{column: cell for column, cell in row.items() if column not in dropped}, **read}


def _openai(row: Row) -> dict[str, Any]:
    given = decoded(row["input"])
    if not isinstance(given, dict):
        raise UnreadableRow("input holds no messages")
    sides = [
        answer_in(row.get(f"{side}_output") if row.get(f"{side}_output") is not None else row.get(f"{side}_completion"))
        for side in ("preferred", "non_preferred")
    ]
    tools = {"tools": tools_in(given["tools"])} if given.get("tools") else {}
    return {"prompt": turns_in(given.get("messages")), "chosen": sides[0], "rejected": sides[1], **tools}


def _is_openai(columns: set[str], row: Row) -> bool:
    return "input" in columns and bool(
        {"preferred_output", "non_preferred_output"} <= columns
        or {"preferred_completion", "non_preferred_completion"} <= columns
    )


def _swift_pair(row: Row) -> dict[str, Any]:
    if row.get("messages") is not None:
        prompt, chosen = split_answer(conversation_in(row))
    else:
        prompt, chosen = prompt_in(row), answer_in(row.get("response"))  # type: ignore[assignment]
    if row.get("rejected_response") is not None:
        return {"prompt": prompt, "chosen": chosen, "rejected": answer_in(row["rejected_response"])}
    rejected = turns_in(row["rejected_messages"])
    if len(rejected) > 1:  # the whole conversation, with the other answer
        before, rejected = split_answer(with_system(rejected, row))
        if before != prompt:
            raise UnreadableRow("the two sides of the pair have different prompts")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _is_swift_pair(columns: set[str], row: Row) -> bool:
    asked = "messages" in columns or {"query", "response"} <= columns
    return asked and not columns.isdisjoint(("rejected_response", "rejected_messages")) and "chosen" not in columns


def _pair_of_responses(row: Row) -> dict[str, Any]:
    return {
        "prompt": prompt_in(row),
        "chosen": answer_in(row["chosen_response"]),
        "rejected": answer_in(row["rejected_response"]),
    }


def _is_pair_of_responses(columns: set[str], row: Row) -> bool:
    return {"chosen_response", "rejected_response"} <= columns and has_prompt(columns)


def _pair_after_turns(row: Row) -> dict[str, Any]:
    prompt, chosen, rejected = conversation_in(row), answer_in(row["chosen"]), answer_in(row["rejected"])
    if prompt[-1]["role"] == "assistant":  # some repeat the better answer at the end
        answer = chosen if isinstance(chosen, str) else chosen[-1].get("content")
        if prompt[-1].get("content") != answer:
            raise UnreadableRow("conversation before a pair ends with the assistant")
        prompt = prompt[:-1]
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _is_pair_after_turns(columns: set[str], row: Row) -> bool:
    after = not columns.isdisjoint(CONVERSATIONS) and "prompt" not in columns
    return after and _are_answers_alone(columns, row)


def _pair(row: Row) -> dict[str, Any]:
    return {"prompt": prompt_in(row), "chosen": answer_in(row["chosen"]), "rejected": answer_in(row["rejected"])}


def _is_pair(columns: set[str], row: Row) -> bool:
    return "prompt" not in columns and has_prompt(columns) and _are_answers_alone(columns, row)


def _are_answers_alone(columns: set[str], row: Row) -> bool:
    """Whether chosen and rejected hold the answers, and not whole conversations, which hold their prompt themselves."""
    if not {"chosen", "rejected"} <= columns:
        return False
    sides = [said(row[side]) for side in ("chosen", "rejected")]
    return not all(isinstance(side, list) and len(side) > 1 for side in sides)


def _alpaca(row: Row) -> dict[str, Any]:
    output = row["output"]
    if isinstance(output, list) and len(output) == 2:  # how pairs were written until 2024: the better one first
        return {"prompt": prompt_in(row), "chosen": answer_in(output[0]), "rejected": answer_in(output[1])}
    return {"prompt": prompt_in(row), "completion": answer_in(output), **_tag(row)}


def _is_alpaca_row(columns: set[str], row: Row) -> bool:
    known = {"instruction", "output"} <= columns and columns.isdisjoint(("prompt", "completion", "chosen"))
    return known and (prompt_column(columns) == "instruction" or is_alpaca(columns))


def _query(row: Row) -> dict[str, Any]:
    return {"prompt": prompt_in(row), "completion": answer_in(row["response"])}


def _is_query(columns: set[str], row: Row) -> bool:
    return prompt_column(columns) == "query" and "response" in columns and columns.isdisjoint(("completion", "chosen"))


def _conversation(row: Row) -> dict[str, Any]:
    return {"messages": conversation_in(row), **_tag(row)}


def _is_conversation(columns: set[str], row: Row) -> bool:
    if columns.isdisjoint(CONVERSATIONS) or not columns.isdisjoint(("prompt", "chosen", "rejected")):
        return False
    if "messages" in columns:
        return not columns.isdisjoint(("kto_tag", "system"))
    if not columns.isdisjoint(("completion", "text")):
        return False
    return isinstance(said(row[next(column for column in CONVERSATIONS if column in columns)]), list)


def _tag(row: Row) -> dict[str, Any]:
    return {"label": row["kto_tag"]} if row.get("kto_tag") is not None else {}


def _own_with_system(row: Row) -> dict[str, Any]:
    prompt = row["prompt"]
    turns = turns_in(prompt) if isinstance(prompt, list) and prompt else [{"role": "user", "content": prompt}]
    return {"prompt": with_system(turns if prompt else [], row)}


def _is_own_with_system(columns: set[str], row: Row) -> bool:
    return isinstance(row.get("system"), str) and isinstance(row.get("prompt"), str | list)


def _rated_completions(row: Row) -> dict[str, Any]:
    completions = decoded(row["completions"])
    texts = [answer_in(completion.get("response")) for completion in completions]
    return {"prompt": prompt_in(row), "completions": texts, "scores": _scores(completions)}


def _is_rated_completions(columns: set[str], row: Row) -> bool:
    if "completions" not in columns or "scores" in columns or not has_prompt(columns):
        return False
    completions = decoded(row["completions"])
    return isinstance(completions, list) and all(isinstance(one, dict) and "response" in one for one in completions)


def _scores(completions: list[dict[str, Any]]) -> list[float]:
    """Return the scores of the first kind that every completion has; the mean over the aspects goes first.

    The overall score of UltraFeedback is known to be 10 for some of the worst completions (Argilla, 2023).
    """
    for kind in (lambda one: one.get("fine-grained_score"), _mean_rating, lambda one: one.get("overall_score")):
        scores = [number_of(kind(one)) for one in completions]
        if None not in scores:
            return [score for score in scores if score is not None]
    raise UnreadableRow("a completion has no score")


def _mean_rating(completion: dict[str, Any]) -> float | None:
    aspects = decoded(completion.get("annotations"))
    if not isinstance(aspects, dict) or not aspects:
        return None
    ratings = [number_of(aspect.get("Rating")) if isinstance(aspect, dict) else None for aspect in aspects.values()]
    known = [rating for rating in ratings if rating is not None]
    return sum(known) / len(known) if len(known) == len(ratings) else None


def number_of(value: Any) -> float | None:
    """Return a finite number, also one written as text; None where the value is none. True is a label, not 1."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


_OPENAI_COLUMNS = (
    "input",
    *("preferred_output", "non_preferred_output", "preferred_completion", "non_preferred_completion"),
)
# The first that fits is taken, so the ones with more evidence stand first.
OTHER_LAYOUTS = (
    OtherLayout("a preference of OpenAI", _is_openai, _openai, _OPENAI_COLUMNS),
    OtherLayout(
        "a pair of ms-swift",
        _is_swift_pair,
        _swift_pair,
        ("messages", "query", "response", "rejected_response", "rejected_messages"),
    ),
    OtherLayout(
        "a pair of responses",
        _is_pair_of_responses,
        _pair_of_responses,
        ("chosen_response", "rejected_response", *PROMPTS),
    ),
    OtherLayout("a conversation with two answers", _is_pair_after_turns, _pair_after_turns, CONVERSATIONS),
    OtherLayout("a question with two answers", _is_pair, _pair, PROMPTS),
    OtherLayout("a conversation", _is_conversation, _conversation, (*CONVERSATIONS, "kto_tag")),
    OtherLayout("an alpaca row", _is_alpaca_row, _alpaca, ("instruction", "input", "output", "kto_tag")),
    OtherLayout("a query with a response", _is_query, _query, ("query", "response")),
    OtherLayout("a row of rated completions", _is_rated_completions, _rated_completions, PROMPTS),
    OtherLayout("a prompt beside a system prompt", _is_own_with_system, _own_with_system, ()),
)
# A row with none of these columns has one of our layouts or none at all; nearly all rows end here.
_MARKS = frozenset(
    (
        *(column for column in (*PROMPTS, *CONVERSATIONS) if column not in ("prompt", "messages")),
        *("system", "kto_tag", "completions", "chosen_response", "rejected_response", "rejected_messages"),
    )
)
