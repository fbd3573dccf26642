"""A record -> the row that another trainer reads; what its layout cannot hold is said, not bent.

The layouts are those of TRL 1.16, and of the documentation and code of LLaMA-Factory (data/README.md, converter.py),
ms-swift (Custom-dataset.md), Axolotl (docs/rlhf.qmd, prompt_strategies) and HALOs (train/data.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from prospect.feedback.records import Completion, Demonstration, Feedback, Image, Kind, Message, Paired, Unpaired
from prospect.feedback.split import prompt_key

Row = dict[str, Any]
Turns = tuple[Message, ...]


class Unfit(Exception):  # noqa: N818 - nothing went wrong yet: who asked decides
    """A layout cannot hold this row; the message is the reason, the same for all rows like it."""


class Survey(NamedTuple):
    """What is known of all rows before the first is written, for every row of a file must have the same columns.

    Attributes:
        kind: of all rows.
        conversations: whether any prompt or completion is a list of turns.
        tools: whether any row has tool schemas.
        system: whether any prompt begins with a system turn.
    """

    kind: Kind
    conversations: bool
    tools: bool
    system: bool


class TrainerLayout(NamedTuple):
    """How one trainer wants its rows.

    Attributes:
        name: as on the command line.
        title: as people write it.
        kinds: the feedback that it has a layout for.
        suffix: of the file.
        row: makes the row, or raises `Unfit`.
        holds: optional columns that the layout keeps.
        chat: whether plain text becomes turns.
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    suffix: str
    row: Callable[[Feedback, Survey], Row]
    holds: tuple[str, ...] = ()
    chat: bool = True


def _trl(row: Feedback, survey: Survey) -> Row:
    def cell(text: Completion, role: str) -> Any:
        turns = as_turns(text, role)
        return [turn.as_dict() for turn in turns] if survey.conversations else text

    columns: Row = {"prompt": cell(row.prompt, "user")}
    if isinstance(row, Paired):
        columns |= {"chosen": cell(row.chosen, "assistant"), "rejected": cell(row.rejected, "assistant")}
    else:
        columns["completion"] = cell(_completion(row), "assistant")
    return {**columns, **_label(row, "label"), **_tools(row, survey)}


def _llama_factory(row: Feedback, survey: Survey) -> Row:
    prompt = as_turns(row.prompt, "user")
    talk = prompt[1:] if prompt[:1] and prompt[0].role == "system" else prompt
    if len(talk) % 2 != 1 or any(t.role not in _LLAMA_FACTORY_SIDES[i % 2] for i, t in enumerate(talk)):
        raise Unfit("turns of the prompt that do not alternate from the user to the user")
    turns = [_from_value(turn) for turn in prompt]
    if isinstance(row, Paired):
        chosen, rejected = (_from_value(_only_turn(text)) for text in (row.chosen, row.rejected))
        return {"conversations": turns, "chosen": chosen, "rejected": rejected, **_tools(row, survey)}
    answer = _only_turn(_completion(row))
    if isinstance(row, Unpaired) and not answer.content:
        # It tells good from bad by which of two answers is not empty: an empty good one would count as bad.
        raise Unfit("an empty completion")
    return {"conversations": [*turns, _from_value(answer)], **_label(row, "kto_tag"), **_tools(row, survey)}


def _ms_swift(row: Feedback, survey: Survey) -> Row:
    prompt = as_turns(row.prompt, "user")
    if not prompt or prompt[-1].role not in ("user", "tool"):
        raise Unfit("a prompt that does not end with the user")
    answer = _only_turn(row.chosen if isinstance(row, Paired) else _completion(row))
    columns: Row = {"messages": [_role_content(turn) for turn in (*prompt, answer)]}
    if isinstance(row, Paired):
        columns["rejected_response"] = _only_turn(row.rejected).content
    return {**columns, **_label(row, "label"), **_tools(row, survey)}


def _axolotl(row: Feedback, survey: Survey) -> Row:
    prompt = as_turns(row.prompt, "user")
    if isinstance(row, Paired):
        if not any(turn.content for turn in prompt):
            raise Unfit("an empty prompt")
        answers = {side: _role_content(_only_turn(getattr(row, side))) for side in ("chosen", "rejected")}
        if not all(answer["content"] for answer in answers.values()):
            raise Unfit("an empty completion")
        return {"messages": [_role_content(turn) for turn in prompt], **answers}
    system = prompt[0].content if prompt[:1] and prompt[0].role == "system" else ""
    talk = prompt[1:] if prompt[:1] and prompt[0].role == "system" else prompt
    if len(talk) > 1 or any(turn.role != "user" for turn in talk):
        raise Unfit("a conversation of more than a system prompt, one turn of the user and one answer")
    answer = _only_turn(_completion(row))
    if not talk or not talk[0].content or not answer.content:
        raise Unfit("an empty completion" if talk and talk[0].content else "an empty prompt")
    _role_content(talk[0])  # refuses what it refuses elsewhere
    columns: Row = {"system": system} if survey.system else {}
    return {**columns, "prompt": talk[0].content, "completion": answer.content, **_label(row, "label")}


def _halos(row: Feedback, survey: Survey) -> Row:
    prompt = as_turns(row.prompt, "user")
    shared: Row = {"prompt_id": prompt_key(prompt), "prompt": [_role_content(turn) for turn in prompt]}
    if isinstance(row, Paired):
        chosen, rejected = _only_turn(row.chosen), _only_turn(row.rejected)
        if chosen.content == rejected.content:
            raise Unfit("a pair of equal completions")  # it keeps one of two answers with the same text
        return {
            **shared,
            "output_A": [_role_content(chosen)],
            "output_B": [_role_content(rejected)],
            "reward_A": 1.0,
            "reward_B": 0.0,
            "label": 1,
            "type": "pairwise_feedback",
        }
    assert isinstance(row, Unpaired)
    return {
        **shared,
        "output": [_role_content(turn) for turn in as_turns(row.completion, "assistant")],
        "label": int(row.desirable),
        "reward": float(row.desirable) if row.score is None else row.score,
        "type": "binary_feedback",
    }


_LLAMA_FACTORY_SIDES = (("user", "tool"), ("assistant",))
_LLAMA_FACTORY_ROLES = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
_ROLES = ("system", "user", "assistant", "tool")
_ALL: tuple[Kind, ...] = ("unpaired", "paired", "demonstration")
_VERDICTS: tuple[Kind, ...] = ("unpaired", "paired")

LAYOUTS = {
    layout.name: layout
    for layout in (
        TrainerLayout("trl", "TRL", _ALL, ".jsonl", _trl, ("tools",), chat=False),
        TrainerLayout("llama-factory", "LLaMA-Factory", _ALL, ".jsonl", _llama_factory, ("tools",)),
        TrainerLayout("ms-swift", "ms-swift", _ALL, ".jsonl", _ms_swift, ("tools",)),
        TrainerLayout("axolotl", "Axolotl", _VERDICTS, ".jsonl", _axolotl),
        TrainerLayout("halos", "HALOs", _VERDICTS, ".json", _halos, ("score",)),
    )
}


def as_turns(text: Completion, role: str) -> Turns:
    """Return the turns of a text; plain text is one turn, an empty prompt is none."""
    if isinstance(text, Image):
        raise Unfit("an image")
    if isinstance(text, tuple):
        return text
    return (Message(role, text),) if text or role == "assistant" else ()


def _completion(row: Feedback) -> Completion:
    assert isinstance(row, Unpaired | Demonstration)
    return row.completion


def _only_turn(completion: Completion) -> Message:
    """Return the completion as one turn; of several, other trainers take the last alone for what was judged."""
    turns = as_turns(completion, "assistant")
    if len(turns) != 1:
        raise Unfit("a completion of several turns")
    _role_content(turns[0])
    return turns[0]


def _role_content(turn: Message) -> dict[str, str]:
    if turn.extra.get("tool_calls"):
        raise Unfit("a turn that calls tools")
    if turn.role not in _ROLES:
        raise Unfit(f"a turn of the {turn.role}")
    return {"role": turn.role, "content": turn.content}


def _from_value(turn: Message) -> dict[str, str]:
    return {"from": _LLAMA_FACTORY_ROLES[_role_content(turn)["role"]], "value": turn.content}


def _label(row: Feedback, column: str) -> Row:
    return {column: row.desirable} if isinstance(row, Unpaired) else {}


def _tools(row: Feedback, survey: Survey) -> Row:
    """Tool schemas as JSON text, which all who read them take: as objects, tables would fill them up with nulls."""
    if not survey.tools:
        return {}
    tools = None if row.tools is None else json.dumps([dict(tool) for tool in row.tools], ensure_ascii=False)
    return {"tools": tools}
