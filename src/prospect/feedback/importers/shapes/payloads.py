"""What a traced call was given and what it gave back, as tracing tools store it: JSON of any framework.

Only what can be read without a guess is read. An input of several texts ({"question": ..., "context": ...}) was put
together by a template that the trace does not show, so it is no prompt; the user may say which key is.
"""

from __future__ import annotations

from typing import Any

from prospect.feedback.files.others.turns import decoded, messages_of, text_of
from prospect.feedback.importers.shapes.base import Cell
from prospect.feedback.importers.shapes.reading import dig

Turns = list[dict[str, Any]]

_LAYERS = 8  # of objects around a text; no tool has more
_TURNS = ("messages", "input_messages", "output_messages")
_HISTORY = ("chat_history", "history")
_SYSTEM = ("system", "instructions", "system_prompt")
_PROMPTS = ("input", "question", "query", "prompt", "user_input", "user_message", "message", "content", "text")
_ANSWERS = (
    "output",
    "answer",
    "response",
    "completion",
    "content",
    "text",
    "result",
    "reply",
    "message",
    "output_text",
    "generated_text",
)
# Texts that stand beside a prompt in many traces and are never part of it.
_PARAMETERS = {
    *("model", "model_name", "role", "type", "name", "id", "user", "user_id", "session_id", "thread_id"),
    *("conversation_id", "run_id", "trace_id", "language", "locale", "timestamp", "tool_choice", "stop", "_type"),
}


def prompt_of(value: Any, layers: int = _LAYERS) -> Cell | None:
    """Return the prompt that the input of a call holds: text, or turns; None where it is not plain what that is."""
    value = decoded(value)
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        return turns_of(value)
    if not isinstance(value, dict) or not layers:
        return None
    if isinstance(value.get("role"), str) and "content" in value:
        return turns_of([value])
    before = _system(value)
    under = next((key for key in _TURNS if value.get(key)), None)
    if under is None:
        return _prompt_under_a_key(value, before, layers)
    turns = turns_of(value[under])
    return before + turns if turns and turns[0]["role"] != "system" else turns


def completion_of(value: Any, prompt: Cell | None = None) -> Cell | None:
    """Return the answer that the output of a call holds: text, or turns that begin and end with the assistant.

    Args:
        value: the output. Turns of the prompt that it repeats are taken off. Text that is JSON is what the model wrote,
            unless it is plainly a message.
        prompt: the prompt, if it is known.
    """
    value = _unwrapped(_opened(value))
    if isinstance(value, str):
        return value or None
    turns = turns_of(value if isinstance(value, list) else [value])
    if turns is None:
        return (text_of(value) or None) if isinstance(value, list) else None
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if before and turns[: len(before)] == before:
        turns = turns[len(before) :]
    return turns if turns and turns[0]["role"] == turns[-1]["role"] == "assistant" else None


def plain_text_of(value: Any) -> str | None:
    """Return an answer that is one text, as a correction must be; None for anything else."""
    answer = completion_of(value)
    if isinstance(answer, list):
        answer = answer[0]["content"] if len(answer) == 1 else None
    return answer or None


def turns_of(value: Any) -> Turns | None:
    """Return turns as [{role, content}], also those that LangChain wrote; None where one cannot be read."""
    value = decoded(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):  # a batch of one
        value = value[0]
    if not isinstance(value, list):
        return None
    return messages_of([_without_wrapping(turn) for turn in value if not _is_reasoning(turn)])


def _prompt_under_a_key(value: dict[str, Any], before: Turns, layers: int) -> Cell | None:
    key = next((key for key in _PROMPTS if value.get(key)), None)
    if key is None:
        texts = [name for name in value if isinstance(value[name], str) and value[name] and name not in _PARAMETERS]
        key = texts[0] if len(texts) == 1 and not before else None
    if key is None or _other_texts(value, key):
        return None
    prompt = prompt_of(value[key], layers - 1)
    history = next((turns for name in _HISTORY if (turns := turns_of(value.get(name)))), [])
    if prompt is None or (any(value.get(name) for name in _HISTORY) and not history):
        return None
    if not before and not history:
        return prompt
    return before + history + ([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)


def _system(value: dict[str, Any]) -> Turns:
    texts = [text for key in _SYSTEM if (text := text_of(value.get(key)))]
    return [{"role": "system", "content": texts[0]}] if texts else []


def _other_texts(value: dict[str, Any], key: str) -> bool:
    """Whether other texts stand beside the prompt, so that the prompt alone is not what the model was given."""
    known = {key, *_SYSTEM, *_HISTORY, *_PARAMETERS}
    return any(isinstance(text, str) and text for name, text in value.items() if name not in known)


def _unwrapped(value: Any) -> Any:
    """Return the answer within the layers of providers and frameworks: choices, generations, output, ..."""
    for _ in range(_LAYERS):
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        elif isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and _is_choice(value[0]):
            value = value[0].get("message") or value[0].get("text")
        elif isinstance(value, list) and any(isinstance(item, dict) and _is_choice(item) for item in value):
            return None  # several answers, and nothing says which was judged
        elif isinstance(value, dict) and not _is_turn(value):
            inner = _inside(value)
            if inner is None:
                return None
            value = _opened(inner)
        else:
            return value
    return None


def _opened(value: Any) -> Any:
    """Return the JSON of a message or of a provider's answer opened; any other text as it is."""
    found = decoded(value)
    if isinstance(found, dict):
        plain = _is_turn(found) or any(isinstance(found.get(key), list) for key in ("choices", "generations", *_TURNS))
        return found if plain or not isinstance(value, str) else value
    if isinstance(found, list) and isinstance(value, str):
        return found if found and all(isinstance(turn, dict) and _is_turn(turn) for turn in found) else value
    return found


def _inside(value: dict[str, Any]) -> Any:
    for key in ("choices", "generations", *_TURNS):
        if isinstance(decoded(value.get(key)), list) and value[key]:
            return value[key]
    return next((value[key] for key in _ANSWERS if value.get(key)), None)


def _is_turn(value: dict[str, Any]) -> bool:
    return (
        "lc" in value
        or (isinstance(value.get("role"), str) and ("content" in value or "tool_calls" in value))
        or (value.get("type") in ("ai", "human", "AIMessageChunk") and "content" in value)
    )


def _is_reasoning(turn: Any) -> bool:
    """Return an entry beside the messages that holds what the model thought, which is no part of its answer."""
    return isinstance(turn, dict) and turn.get("type") == "reasoning" and "role" not in turn


def _is_choice(value: dict[str, Any]) -> bool:
    return "role" not in value and ("message" in value or "generation_info" in value or "finish_reason" in value)


def _without_wrapping(turn: Any) -> Any:
    """Return a turn without LangChain's serialisation ({"lc": 1, "id": [..., "HumanMessage"], "kwargs": {...}})."""
    if not isinstance(turn, dict):
        return turn
    if isinstance(turn.get("kwargs"), dict) and isinstance(turn.get("id"), list) and turn["id"]:
        turn = {**turn["kwargs"], "role": str(turn["id"][-1])}
    elif turn.get("role") is None and isinstance(turn.get("data"), dict) and "type" in turn:
        turn = {**turn["data"], "role": turn["type"]}
    calls = dig(turn, "additional_kwargs.tool_calls")  # as the provider wrote them, which chat templates expect
    if calls:
        turn = {**turn, "tool_calls": calls}
    role = turn.get("role") or turn.get("type")
    return {**turn, "role": role.removesuffix("Chunk")} if isinstance(role, str) else turn
