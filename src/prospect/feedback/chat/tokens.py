"""Lengths in tokens without torch or transformers: tokenizer.json and the chat template of a model, read directly.

What training does with a row is in `prospect.data.render`, by the same renderer of conversations; the counts here agree
with it (before `max_length` cuts), and a test holds the two against each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from prospect.errors import ModelError
from prospect.feedback.chat.renderer import ChatRenderer, Tools
from prospect.feedback.chat.rendering import Rendering, UnrenderableError
from prospect.feedback.chat.sandbox import compile_template
from prospect.feedback.chat.templates import DEFAULT, WITH_TOOLS, ChatTemplates
from prospect.feedback.chat.turns import as_turns
from prospect.feedback.endings import first_end
from prospect.feedback.records import Feedback, Paired, Scored, Text
from prospect.model_source import find_file, find_model

_MORE = "additional_chat_templates"
_BATCH = 256  # rows tokenised at once: with its offsets a token takes some 100 bytes


class TokenCounter:
    """Counts tokens as training would see them.

    Args:
        model: a model as `find_model` takes it; one on the hub is looked up in the hub's cache first.
        tokenizer: a folder with its tokenizer, where the model itself has none that can be read here, as GGUF.
        rendering: how rows become text.

    Raises:
        ModelError: there is no such model, no tokenizer.json, or one of the tokenizer's files cannot be read.
        ConfigError: settings that the chat template does not read.
    """

    def __init__(self, model: str | Path, tokenizer: Path | None = None, rendering: Rendering | None = None) -> None:
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
        templates = ChatTemplates(self._read_templates(), self._named, self.model)
        self._renderer = ChatRenderer(templates, rendering)

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations can be rendered; else their turns' contents are counted as they are."""
        return bool(self._renderer.templates.texts)

    def is_plain(self, prompt: Text, completion: Text) -> bool:
        """Whether a row goes to the model without a chat template."""
        return not self._renderer.is_chat(prompt, completion)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens."""
        counts: list[int] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            counts += [len(each.ids) for each in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        return counts

    def row_lengths(self, rows: Sequence[Feedback]) -> list[tuple[int, int]]:
        """Return (prompt tokens, completion tokens) of each row, with start and end tokens.

        Of several completions the longest counts. Where training would refuse a conversation (see `refusal`) the
        contents of its turns are counted.
        """
        exchanges = [(i, row, completion) for i, row in enumerate(rows) for completion in _completions(row)]
        longest: list[tuple[int, int]] = [(0, -1)] * len(rows)
        for start in range(0, len(exchanges), _BATCH):
            batch = exchanges[start : start + _BATCH]
            texts = [self._render(row, completion) for _, row, completion in batch]
            for special in (True, False):
                chosen = [(i, row, text) for (i, row, _), text in zip(batch, texts, strict=True) if text[2] is special]
                encodings = self._tokenizer.encode_batch(
                    [whole for _, _, (_, whole, _) in chosen], add_special_tokens=special
                )
                for (i, row, (head, _, _)), encoding in zip(chosen, encodings, strict=True):
                    pair = self._split(encoding, head, row.finished, special)
                    longest[i] = max(longest[i], pair, key=lambda lengths: lengths[1])
        return longest

    def refusal(self, prompt: Text, completion: Text, tools: Tools = None, where: str = "row") -> str | None:
        """Return why training would refuse this conversation, in one phrase; None for one that can be rendered."""
        if self.is_plain(prompt, completion):
            return None
        try:
            self._renderer.exchange(prompt, completion, tools, where)
        except UnrenderableError as error:
            return error.reason
        except ModelError:
            return "there is no chat template"
        return None

    def _render(self, row: Feedback, completion: Text) -> tuple[int, str, bool]:
        """Length of the prompt, prompt + completion as text, and whether the tokenizer adds special tokens to it."""
        prompt = row.prompt
        if not self.is_plain(prompt, completion):
            try:
                text, head = self._renderer.exchange(prompt, completion, row.tools, row.where)
                return head, text, False
            except (UnrenderableError, ModelError):
                pass
        before, after = ("\n".join(turn.content for turn in as_turns(text, "")) for text in (prompt, completion))
        return len(before), before + after, True

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
        printed = self._tokenizer.encode(self._renderer.after_answer(), add_special_tokens=False).ids
        found = {own, *(i for i in printed if i in self._special and i not in (unknown, start))}
        return {i for i in found if i is not None}

    def _id_of(self, name: str) -> int | None:
        token = self._named.get(name)
        return None if token is None else self._tokenizer.token_to_id(token)

    def _decode(self, token: int) -> str:
        return self._tokenizer.decode([token], skip_special_tokens=False)

    def _read_templates(self) -> dict[str, str]:
        """Chat templates by name."""
        texts: dict[str, str] = {}
        written = self._config.get("chat_template")
        if isinstance(written, str):
            texts[DEFAULT] = written
        elif isinstance(written, list):
            texts.update((each["name"], each["template"]) for each in written)
        more = {path.stem: f"{_MORE}/{path.name}" for path in Path(self._place).glob(f"{_MORE}/*.jinja")}
        for name, file in {DEFAULT: "chat_template.jinja", WITH_TOOLS: f"{_MORE}/{WITH_TOOLS}.jinja", **more}.items():
            path = find_file(self._place, file)
            if path is not None:
                texts[name] = path.read_text(encoding="utf-8")
        texts = {name: text for name, text in texts.items() if text}
        try:
            for text in texts.values():
                compile_template(text)
        except Exception as error:
            raise ModelError(f"{self.model}: the chat template cannot be read ({error}). Repair it.") from None
        return texts


def _completions(row: Feedback) -> tuple[Text, ...]:
    if isinstance(row, Paired):
        return row.chosen, row.rejected
    return row.completions if isinstance(row, Scored) else (row.completion,)  # type: ignore[attr-defined]


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
