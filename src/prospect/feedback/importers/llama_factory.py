"""Rows written for LLaMA-Factory (alpaca, sharegpt and openai layouts) and for ms-swift.

Both also train on {"messages": [...], "label": true}, which is a layout of our own too, so such files are theirs only
when named so. Demonstrations, without a verdict, are not feedback and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.importers.base import Dropped, Importer, Item, Options, Preference, Sample, Vote
from prospect.feedback.importers.joining import NO_COMPLETION, NO_PROMPT, Cells, first, name_of
from prospect.feedback.importers.payloads import Turns, turns_of
from prospect.feedback.importers.reading import decoded, each_row
from prospect.feedback.json_text import parse_json

_MEDIA = ("images", "videos", "audios", "rejected_images")
_CONTENT = {"value", "content"}
_NO_VERDICT = "demonstration without a verdict"
_NOT_THE_ASSISTANT = "conversation does not end with the assistant"
_TOOLS = "tools cannot be read"
_VERDICTS: dict[str, bool | None] = {"true": True, "false": False, "1": True, "0": False}


class _UnreadableError(Exception):
    """A part of a row cannot be read; its text is the reason."""


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


def _reader(read: Callable[[str, Cells], Item]) -> Callable[[Sequence[Path], Options], Iterator[Item]]:
    def items(where: str, row: Cells) -> Iterator[Item]:
        try:
            if any(decoded(row.get(column)) for column in _MEDIA):
                raise _UnreadableError("row with pictures, sound or video")
            yield read(where, row)
        except _UnreadableError as problem:
            yield Dropped(where=where, reason=str(problem))

    return lambda paths, options: each_row(paths, items)


def _llama_factory(where: str, row: Cells) -> Item:
    if row.get("conversations") is None and row.get("messages") is None:
        return _alpaca(where, row)
    turns = _with_system(_turns(first(row, "conversations", "messages")), row)
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return _preference(where, row, turns, _answer(row.get("chosen")), _answer(row.get("rejected")))
    return _vote(where, row, turns, first(row, "kto_tag", "label"))


def _alpaca(where: str, row: Cells) -> Item:
    asked = [text for key in ("instruction", "input") if isinstance(text := row.get(key), str) and text]
    if not asked:
        raise _UnreadableError(NO_PROMPT)
    prompt = _with_system([*_history(row.get("history")), {"role": "user", "content": "\n".join(asked)}], row)
    output = row.get("output")
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return _preference(where, row, prompt, _answer(row.get("chosen")), _answer(row.get("rejected")))
    if isinstance(output, list) and len(output) == 2:  # how pairs were written until 2024: the better one first
        return _preference(where, row, prompt, _answer(output[0]), _answer(output[1]))
    return _vote(where, row, [*prompt, *_answer(output)], first(row, "kto_tag", "label"))


def _swift(where: str, row: Cells) -> Item:
    if row.get("messages") is not None:
        turns = _turns(row["messages"])
    elif isinstance(row.get("query"), str) and row.get("response") is not None:
        asked = {"role": "user", "content": row["query"]}
        turns = [*_history(row.get("history")), asked, *_answer(row["response"])]
    else:
        raise _UnreadableError(NO_PROMPT)
    turns = _with_system(turns, row)
    rejected = first(row, "rejected_response", "rejected_messages")
    if rejected is None:
        return _vote(where, row, turns, first(row, "label"))
    prompt, chosen = _split(turns)
    if row.get("rejected_response") and isinstance(rejected, str):
        return _preference(where, row, prompt, chosen, [{"role": "assistant", "content": rejected}])
    other = _turns(rejected)
    if len(other) > 1:  # the whole conversation, with the other answer
        before, other = _split(_with_system(other, row))
        if before != prompt:
            raise _UnreadableError("the two sides of the pair have different prompts")
    return _preference(where, row, prompt, chosen, other)


def _vote(where: str, row: Cells, turns: Turns, verdict: Any) -> Item:
    if verdict is None:
        raise _UnreadableError(_NO_VERDICT)
    prompt, completion = _split(turns)
    return Vote(
        where=where,
        prompt=prompt,
        completion=completion,
        verdict=verdict,
        source_id=name_of(row.get("id")),
        tools=_tools(row.get("tools")),
    )


def _preference(where: str, row: Cells, prompt: Turns, chosen: Turns, rejected: Turns) -> Item:
    if not prompt:
        raise _UnreadableError(NO_PROMPT)
    return Preference(
        where=where,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        source_id=name_of(row.get("id")),
        tools=_tools(row.get("tools")),
    )


def _split(turns: Turns) -> tuple[Turns, Turns]:
    if turns[-1]["role"] != "assistant":
        raise _UnreadableError(_NOT_THE_ASSISTANT)
    return turns[:-1], turns[-1:]


def _turns(value: Any) -> Turns:
    value = decoded(value)
    calls = [_call(turn) for turn in value] if isinstance(value, list) else None
    turns = turns_of(calls)
    if not turns:
        raise _UnreadableError("conversation cannot be read")
    return turns


def _call(turn: Any) -> Any:
    """A turn; one that calls a tool, whose value is JSON here, as chat templates expect it."""
    role = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
    if role == "tool_response":
        return {"role": "tool", "content": turn.get("value", turn.get("content"))}
    if role not in ("function_call", "tool_call"):
        return turn
    calls = decoded(turn.get("value", turn.get("content")))
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise _UnreadableError("tool call cannot be read")
    functions = [{"type": "function", "function": call} for call in calls]
    return {"role": "assistant", "content": "", "tool_calls": functions}


def _answer(value: Any) -> Turns:
    """An answer as the assistant's turn: from text, or from a single turn, which in CSV is JSON."""
    found = decoded(value)
    is_turn = isinstance(found, dict) and bool(_CONTENT & found.keys())
    if isinstance(value, str) and not is_turn:
        return [{"role": "assistant", "content": value}]
    turns = _turns([found]) if is_turn else []
    if not turns or turns[0]["role"] != "assistant":
        raise _UnreadableError(NO_COMPLETION)
    return turns


def _history(value: Any) -> Turns:
    pairs = decoded(value) or []
    if not isinstance(pairs, list):
        raise _UnreadableError("history cannot be read")
    turns: Turns = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise _UnreadableError("history cannot be read")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def _with_system(turns: Turns, row: Cells) -> Turns:
    """The turns, begun by the system prompt that stands in a column; one within the turns wins, as it does there."""
    system = row.get("system")
    if not isinstance(system, str) or not system or turns[0]["role"] == "system":
        return turns
    return [{"role": "system", "content": system}, *turns]


def _tools(value: Any) -> list[dict[str, Any]] | None:
    if not value:
        return None
    try:
        tools = parse_json(value) if isinstance(value, str) else value
    except ValueError:
        raise _UnreadableError(_TOOLS) from None
    tools = [decoded(tool) for tool in tools] if isinstance(tools, list) else None
    if tools is None or not all(isinstance(tool, dict) for tool in tools):
        raise _UnreadableError(_TOOLS)
    return tools or None


IMPORTERS = (
    Importer(
        name="llama-factory",
        title="LLaMA-Factory",
        recognises=_recogniser(_is_llama_factory),
        read=_reader(_llama_factory),
        polarity=_VERDICTS,
    ),
    Importer(
        name="ms-swift",
        title="ms-swift",
        recognises=_recogniser(_is_swift),
        read=_reader(_swift),
        polarity=_VERDICTS,
    ),
)
