"""Rows as public datasets and other trainers have them -> rows with our columns.

Only layouts whose columns say by themselves what is what are read: pairs that name their two sides, completions with
scores, conversations. A verdict under another name, or in words, is read by `prospect data import`, which says what it
took for what. Shapes are those of the documentation and code of OpenAI, LLaMA-Factory, ms-swift and Axolotl, and of the
columns of UltraFeedback, Argilla's and Intel's pairs on the hub.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from prospect.feedback.files.other_turns import decoded, own_turn

Row = Mapping[str, Any]
Turns = list[dict[str, Any]]
Cell = str | Turns

PROMPTS = ("prompt", "instruction", "question", "query", "input")
"""Columns that hold a prompt, where exactly one of them is there."""
CONVERSATIONS = ("conversations", "conversation", "messages")
NO_PROMPT = "prompt cannot be read"
NO_COMPLETION = "completion cannot be read"
_SPEECH = frozenset(("content", "value", "tool_calls"))
_MEDIA = ("images", "videos", "audios", "rejected_images", "image", "video", "audio")


class UnreadableRow(Exception):  # noqa: N818 - it is a reason; whoever reads the row says where it is
    """A part of a row cannot be read; the text says which, in words that are the same for all rows like it."""


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


# -- parts of a row --


def prompt_column(columns: set[str]) -> str | None:
    """Return the one column that holds the prompt; None where there is none, or more than one."""
    found = [column for column in PROMPTS if column in columns]
    return found[0] if len(found) == 1 else None


def turns_in(value: Any) -> Turns:
    """Return the turns of a conversation as [{role, content}], from a list or from its JSON."""
    value = decoded(value)
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise UnreadableRow("conversation cannot be read")
    try:
        turns = [own_turn(turn) for turn in value]
    except ValueError as error:
        raise UnreadableRow(str(error)) from None
    if not all(isinstance(turn.get("role"), str) for turn in turns):
        raise UnreadableRow("conversation cannot be read")
    return turns


def tools_in(value: Any) -> Turns | None:
    """Return tool schemas, from a list, from its JSON, or from a list of JSON; None where there are none."""
    if not value:
        return None
    tools = decoded(value)
    tools = [decoded(tool) for tool in tools] if isinstance(tools, list) else None
    if tools is None or not all(isinstance(tool, dict) for tool in tools):
        raise UnreadableRow("tools cannot be read")
    return tools or None


def _said(value: Any) -> Any:
    """Turn where a cell holds some, alone, in a list or as JSON; any other cell as it is, JSON of another kind too."""
    found = decoded(value)
    turns = [found] if isinstance(found, dict) else found
    return turns if isinstance(turns, list) and turns and all(map(_is_turn, turns)) else value


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and bool({"role", "from"} & value.keys()) and bool(_SPEECH & value.keys())


def _answer(value: Any) -> Cell:
    """Return an answer as text or as turns that end with the assistant."""
    said = _said(value)
    if isinstance(said, list) and said:
        turns = turns_in(said)
        if turns[-1]["role"] == "assistant":
            return turns
    if not isinstance(said, str):
        raise UnreadableRow(NO_COMPLETION)
    return said


def _history(value: Any) -> Turns:
    pairs = decoded(value) or []
    if not isinstance(pairs, list):
        raise UnreadableRow("history cannot be read")
    turns: Turns = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise UnreadableRow("history cannot be read")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def _with_system(turns: Turns, row: Row) -> Turns:
    """Return the turns, begun by the system prompt that stands in a column; one within the turns wins."""
    system = row.get("system")
    if not isinstance(system, str) or not system or (turns and turns[0].get("role") == "system"):
        return turns
    return [{"role": "system", "content": system}, *turns]


def prompt_in(row: Row) -> Cell:
    """Return the prompt of a row that has one, as turns where a system prompt or earlier turns belong to it.

    Instruction and input are one text, as their trainers join them.
    """
    parts = [_said(row[column]) for column in PROMPTS if row.get(column) not in (None, "")]
    if not parts:
        raise UnreadableRow(NO_PROMPT)
    if len(parts) == 1 and isinstance(parts[0], list):
        return _with_system(turns_in(parts[0]), row)
    if not all(isinstance(part, str) for part in parts):
        raise UnreadableRow(NO_PROMPT)
    text, history = "\n".join(parts), _history(row.get("history"))
    if not history and row.get("system") is None:
        return text
    return _with_system([*history, {"role": "user", "content": text}], row)


def _talk(row: Row) -> Turns:
    column = next(column for column in CONVERSATIONS if row.get(column) is not None)
    return _with_system(turns_in(row[column]), row)


def has_prompt(columns: set[str]) -> bool:
    """Return whether one column is the prompt, or instruction and input are together."""
    return prompt_column(columns) is not None or _is_alpaca(columns)


def _is_alpaca(columns: set[str]) -> bool:
    return columns.intersection(PROMPTS) == {"instruction", "input"}


def _split(turns: Turns) -> tuple[Turns, Turns]:
    if turns[-1]["role"] != "assistant":
        raise UnreadableRow("conversation does not end with the assistant")
    return turns[:-1], turns[-1:]


# -- layouts --


def _openai(row: Row) -> dict[str, Any]:
    given = decoded(row["input"])
    if not isinstance(given, dict):
        raise UnreadableRow("input holds no messages")
    sides = [
        _answer(row.get(f"{side}_output") if row.get(f"{side}_output") is not None else row.get(f"{side}_completion"))
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
        prompt, chosen = _split(_talk(row))
    else:
        prompt, chosen = prompt_in(row), _answer(row.get("response"))  # type: ignore[assignment]
    if row.get("rejected_response") is not None:
        return {"prompt": prompt, "chosen": chosen, "rejected": _answer(row["rejected_response"])}
    rejected = turns_in(row["rejected_messages"])
    if len(rejected) > 1:  # the whole conversation, with the other answer
        before, rejected = _split(_with_system(rejected, row))
        if before != prompt:
            raise UnreadableRow("the two sides of the pair have different prompts")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _is_swift_pair(columns: set[str], row: Row) -> bool:
    asked = "messages" in columns or {"query", "response"} <= columns
    return asked and not columns.isdisjoint(("rejected_response", "rejected_messages")) and "chosen" not in columns


def _pair_of_responses(row: Row) -> dict[str, Any]:
    return {
        "prompt": prompt_in(row),
        "chosen": _answer(row["chosen_response"]),
        "rejected": _answer(row["rejected_response"]),
    }


def _is_pair_of_responses(columns: set[str], row: Row) -> bool:
    return {"chosen_response", "rejected_response"} <= columns and has_prompt(columns)


def _pair_after_turns(row: Row) -> dict[str, Any]:
    prompt, chosen, rejected = _talk(row), _answer(row["chosen"]), _answer(row["rejected"])
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
    return {"prompt": prompt_in(row), "chosen": _answer(row["chosen"]), "rejected": _answer(row["rejected"])}


def _is_pair(columns: set[str], row: Row) -> bool:
    return "prompt" not in columns and has_prompt(columns) and _are_answers_alone(columns, row)


def _are_answers_alone(columns: set[str], row: Row) -> bool:
    """Whether chosen and rejected hold the answers, and not whole conversations, which hold their prompt themselves."""
    if not {"chosen", "rejected"} <= columns:
        return False
    sides = [_said(row[side]) for side in ("chosen", "rejected")]
    return not all(isinstance(side, list) and len(side) > 1 for side in sides)


def _alpaca(row: Row) -> dict[str, Any]:
    output = row["output"]
    if isinstance(output, list) and len(output) == 2:  # how pairs were written until 2024: the better one first
        return {"prompt": prompt_in(row), "chosen": _answer(output[0]), "rejected": _answer(output[1])}
    return {"prompt": prompt_in(row), "completion": _answer(output), **_tag(row)}


def _is_alpaca_row(columns: set[str], row: Row) -> bool:
    known = {"instruction", "output"} <= columns and columns.isdisjoint(("prompt", "completion", "chosen"))
    return known and (prompt_column(columns) == "instruction" or _is_alpaca(columns))


def _query(row: Row) -> dict[str, Any]:
    return {"prompt": prompt_in(row), "completion": _answer(row["response"])}


def _is_query(columns: set[str], row: Row) -> bool:
    return prompt_column(columns) == "query" and "response" in columns and columns.isdisjoint(("completion", "chosen"))


def _conversation(row: Row) -> dict[str, Any]:
    return {"messages": _talk(row), **_tag(row)}


def _is_conversation(columns: set[str], row: Row) -> bool:
    if columns.isdisjoint(CONVERSATIONS) or not columns.isdisjoint(("prompt", "chosen", "rejected")):
        return False
    if "messages" in columns:
        return not columns.isdisjoint(("kto_tag", "system"))
    if not columns.isdisjoint(("completion", "text")):
        return False
    return isinstance(_said(row[next(column for column in CONVERSATIONS if column in columns)]), list)


def _tag(row: Row) -> dict[str, Any]:
    return {"label": row["kto_tag"]} if row.get("kto_tag") is not None else {}


def _own_with_system(row: Row) -> dict[str, Any]:
    prompt = row["prompt"]
    said = turns_in(prompt) if isinstance(prompt, list) and prompt else [{"role": "user", "content": prompt}]
    return {"prompt": _with_system(said if prompt else [], row)}


def _is_own_with_system(columns: set[str], row: Row) -> bool:
    return isinstance(row.get("system"), str) and isinstance(row.get("prompt"), str | list)


def _rated_completions(row: Row) -> dict[str, Any]:
    completions = decoded(row["completions"])
    texts = [_answer(completion.get("response")) for completion in completions]
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
    """Return a finite number, also one written as text; None where the value is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
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
