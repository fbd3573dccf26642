"""Lengths in tokens without torch or transformers: tokenizer.json and the chat template of a model, read directly.

What training does with a row is in `prospect.data.render`; the counts here agree with it (before `max_length` cuts),
and a test holds the two against each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from prospect.errors import ModelError
from prospect.feedback.endings import common_ending, first_end
from prospect.feedback.records import Feedback, Message, Paired, Scored, Text
from prospect.model_source import find_file, find_model

Tools = Sequence[Mapping[str, Any]]
Turns = tuple[Message, ...]
_BATCH = 256  # rows tokenised at once: with its offsets a token takes some 100 bytes


class TokenCounter:
    """Counts tokens as training would see them.

    Args:
        model: a model as `find_model` takes it; one on the hub is looked up in the hub's cache first.
        tokenizer: a folder with its tokenizer, where the model itself has none that can be read here, as GGUF.

    Raises:
        ModelError: there is no such model, no tokenizer.json, or one of the tokenizer's files cannot be read.
    """

    def __init__(self, model: str | Path, tokenizer: Path | None = None) -> None:
        from tokenizers import Tokenizer

        self.model = str(model)
        self._place = tokenizer or find_model(model).tokenizer.place
        path = find_file(self._place, "tokenizer.json")
        if path is None:
            raise ModelError(
                f"{model}: no tokenizer.json, from which tokens are counted. Save the tokenizer there with "
                "tokenizer.save_pretrained(folder), give another model, or leave it out: lengths are then in words."
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ModelError(f"{path} cannot be read ({error}). Fetch or save the tokenizer again.") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._config = _read_config(self._place)
        self._named = _special_tokens(self._config)
        self._tokenizer.add_special_tokens(
            [token for token in self._named.values() if self._tokenizer.token_to_id(token) is None]
        )
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {i for i, token in added.items() if token.special}
        self._special |= {i for token in self._named.values() if (i := self._tokenizer.token_to_id(token)) is not None}
        self._controlled = {"good_token", "bad_token"} <= self._named.keys()

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations can be rendered; else their turns' contents are counted as they are."""
        return bool(self._templates)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Returns the number of tokens of each text, without special tokens."""
        counts: list[int] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            counts += [len(each.ids) for each in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        return counts

    def row_lengths(self, rows: Sequence[Feedback]) -> list[tuple[int, int]]:
        """Returns (prompt tokens, completion tokens) of each row, with start and end tokens.

        Of several completions the longest counts. Where training would refuse a conversation (see `refusal`) the
        contents of its turns are counted.
        """
        exchanges = [(i, row, completion) for i, row in enumerate(rows) for completion in _completions(row)]
        longest: list[tuple[int, int]] = [(0, -1)] * len(rows)
        for start in range(0, len(exchanges), _BATCH):
            batch = exchanges[start : start + _BATCH]
            texts = [self._render(row.prompt, completion, row.tools) for _, row, completion in batch]
            for special in (True, False):
                chosen = [(i, row, text) for (i, row, _), text in zip(batch, texts, strict=True) if text[2] is special]
                encodings = self._tokenizer.encode_batch(
                    [whole for _, _, (_, whole, _) in chosen], add_special_tokens=special
                )
                for (i, row, (head, _, _)), encoding in zip(chosen, encodings, strict=True):
                    pair = self._split(encoding, head, row.finished, special)
                    longest[i] = max(longest[i], pair, key=lambda lengths: lengths[1])
        return longest

    def prefix_mismatch(self, prompt: Text, completion: Text, tools: Tools | None = None) -> bool:
        """Returns whether the chat template renders the prompt alone otherwise than inside prompt + completion.

        Training refuses such rows. False for plain strings, and where nothing can be rendered (`refusal` says why).
        """
        try:
            head, whole = self._render_chat(prompt, completion, tools)
        except _RefusedError:
            return False
        return not whole.startswith(head)

    def refusal(self, prompt: Text, completion: Text, tools: Tools | None = None) -> str | None:
        """Returns why training would refuse this conversation, in one phrase; None for one that can be rendered."""
        if isinstance(prompt, str) and isinstance(completion, str):
            return None
        try:
            head, whole = self._render_chat(prompt, completion, tools)
        except _RefusedError as error:
            return str(error)
        return None if whole.startswith(head) else "the chat template's prompt is no prefix of prompt + completion"

    def _render(self, prompt: Text, completion: Text, tools: Tools | None) -> tuple[int, str, bool]:
        """Length of the prompt, prompt + completion as text, and whether the tokenizer adds special tokens to it."""
        if isinstance(prompt, str) and isinstance(completion, str):
            return len(prompt), prompt + completion, True
        try:
            head, whole = self._render_chat(prompt, completion, tools)
            if whole.startswith(head):
                return len(head), whole, False
        except _RefusedError:
            pass
        before, after = ("\n".join(turn.content for turn in _turns(text, "")) for text in (prompt, completion))
        return len(before), before + after, True

    def _render_chat(self, prompt: Text, completion: Text, tools: Tools | None) -> tuple[str, str]:
        if isinstance(prompt, str) and isinstance(completion, str):
            return prompt, prompt + completion
        before, after = _turns(prompt, "user"), _turns(completion, "assistant")
        if any(turn.role != "assistant" for turn in after):
            raise _RefusedError("the completion holds a turn that is not the assistant's")
        template = self._templates.get("tool_use") if tools else None
        template = template or self._templates.get("default")
        if template is None:
            raise _RefusedError("there is no chat template")
        try:
            head, whole = (
                template.render(
                    messages=[_plain(turn) for turn in turns],
                    tools=[json.loads(json.dumps(tool)) for tool in tools] if tools else None,
                    documents=None,
                    add_generation_prompt=asks,
                    **self._named,
                )
                for turns, asks in ((before, True), ((*before, *after), False))
            )
        except Exception as error:  # a template is foreign code and raises what it likes
            raise _RefusedError(f"the chat template refuses this conversation: {error}") from None
        return head.removesuffix(self._named["good_token"]) if self._controlled else head, whole

    def _split(self, encoding: Any, head: int, finished: bool, special: bool) -> tuple[int, int]:
        """Lengths of prompt and completion, a token across the boundary being the completion's; see render.py."""
        ids, offsets, mask = encoding.ids, encoding.offsets, encoding.special_tokens_mask
        size = len(ids)
        while special and size > 1 and mask[size - 1] and offsets[size - 1] == (0, 0):
            size -= 1
        cut = next((i for i in range(size) if offsets[i][1] > head), size)
        # An empty prompt gets a start token, and a tokenizer with control tokens one of these.
        return max(cut, 1) + self._controlled, self._terminated(ids[cut:size], finished)

    def _terminated(self, ids: list[int], finished: bool) -> int:
        """Tokens of a completion that ends with one end token, or with none where it is not finished."""
        end = first_end(ids, self._ends, self._decode)
        return len(ids) + finished if end is None else end + finished

    @cached_property
    def _ends(self) -> set[int]:
        """What ends a completion: the tokenizer's own end token, and those that its template puts after an answer."""
        unknown, start, own = (self._id_of(f"{name}_token") for name in ("unk", "bos", "eos"))
        printed = self._tokenizer.encode(self._after_answer(), add_special_tokens=False).ids
        found = {own, *(i for i in printed if i in self._special and i not in (unknown, start))}
        return {i for i in found if i is not None}

    def _id_of(self, name: str) -> int | None:
        token = self._named.get(name)
        return None if token is None else self._tokenizer.token_to_id(token)

    def _after_answer(self) -> str:
        """What the chat template prints after an answer, whatever the answer; empty where there is no template."""
        user = Message("user", "a")
        for opening in ((user,), (Message("system", "a"), user)):  # few templates insist on a system prompt
            try:
                one, other = (self._render_chat(opening, (Message("assistant", text),), None)[1] for text in ("b", "c"))
            except _RefusedError:
                continue
            return common_ending(one, other)
        return ""

    def _decode(self, token: int) -> str:
        return self._tokenizer.decode([token], skip_special_tokens=False)

    @cached_property
    def _templates(self) -> dict[str, Any]:
        """Chat templates by name; "default" is the one without tools."""
        texts: dict[str, str] = {}
        written = self._config.get("chat_template")
        if isinstance(written, str):
            texts["default"] = written
        elif isinstance(written, list):
            texts.update((each["name"], each["template"]) for each in written)
        for name, file in (
            ("default", "chat_template.jinja"),
            ("tool_use", "additional_chat_templates/tool_use.jinja"),
        ):
            path = find_file(self._place, file)
            if path is not None:
                texts[name] = path.read_text(encoding="utf-8")
        try:
            return {name: _environment().from_string(text) for name, text in texts.items() if text}
        except Exception as error:
            raise ModelError(f"{self.model}: the chat template cannot be read ({error}). Repair it.") from None


class _RefusedError(Exception):
    """A conversation cannot be rendered; the message is a phrase."""


def _completions(row: Feedback) -> tuple[Text, ...]:
    if isinstance(row, Paired):
        return row.chosen, row.rejected
    return row.completions if isinstance(row, Scored) else (row.completion,)  # type: ignore[attr-defined]


def _turns(text: Text, role: str) -> Turns:
    return (Message(role, text),) if isinstance(text, str) else text


def _plain(turn: Message) -> dict[str, Any]:
    """The turn as Transformers hands it to a template: no null fields, reasoning under each of its three names."""
    fields = {name: value for name, value in turn.as_dict().items() if value is not None}
    reasoning = next((fields[n] for n in ("reasoning_content", "thinking", "reasoning") if n in fields), None)
    return fields if reasoning is None else {"thinking": reasoning, **fields, "reasoning_content": reasoning}


# -- files of a tokenizer, as Transformers lays them out --


def _read_config(model: str | Path) -> dict[str, Any]:
    """tokenizer_config.json, with what the older special_tokens_map.json has beside it."""
    merged: dict[str, Any] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        path = find_file(model, file)
        if path is None:
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise ModelError(f"{path} cannot be read ({error}). Fetch or save the tokenizer again.") from None
        if isinstance(content, dict):
            merged.update({name: value for name, value in content.items() if value is not None})
    return merged


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Named special tokens (bos_token, eos_token, ...) as text."""
    tokens = dict(config)
    for name in ("extra_special_tokens", "model_specific_special_tokens"):
        if isinstance(config.get(name), dict):
            tokens.update(config[name])
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in tokens.items()}
    return {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}


def _environment() -> Any:
    """Jinja as Transformers sets it up for chat templates: a sandbox, for they are foreign code."""
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %}, which marks the assistant's tokens there, changes nothing in the text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **layout)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment
