"""Prompt and completion to token ids, rendered once. The only file that knows special tokens.

A conversation goes through the chat template (`prospect.feedback.chat.renderer`), a plain string through the tokenizer
as it is. Either way prompt and completion are tokenised *together* and cut where the prompt's characters end: tokenised
alone, a completion may begin with other tokens than the model will ever see there (a lost or doubled space, for
instance).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prospect.data.control_tokens import control_token_ids
from prospect.errors import DataError, ModelError
from prospect.feedback.chat.renderer import ChatRenderer, Tools
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.chat.templates import DEFAULT, ChatTemplates
from prospect.feedback.endings import first_end
from prospect.feedback.records import Message, Text


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one prompt and one completion of it.

    Attributes:
        prompt_ids: at least one token, beginning with the start token where tokenizer or template put one.
        completion_ids: what is scored; ends with an end token unless cut or unfinished.
        cut: whether `max_length` took tokens away.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    cut: bool


class PromptTooLongError(DataError):
    """The prompt alone fills `max_length`; a caller may choose to drop such rows."""


class Encoder:
    """Renders and tokenises rows for one tokenizer.

    Args:
        tokenizer: a Transformers tokenizer.
        max_length: prompt and completion together, in tokens.
        end_token: whether finished completions end with the end token.
        say_verdict: whether the prompt of an undesirable completion ends with the bad control token; else a tokenizer
            that has control tokens always gets the good one, as generation does.
        rendering: how rows become text.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        *,
        end_token: bool = True,
        say_verdict: bool = False,
        rendering: Rendering | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.renderer = make_renderer(tokenizer, rendering)
        self.max_length = max_length
        self.end_token = end_token
        self._control = control_token_ids(tokenizer)
        self._say_verdict = say_verdict
        self._ends = frozenset(end_token_ids(tokenizer, self.renderer))
        if tokenizer.eos_token_id is None:
            raise ModelError(
                f"the tokenizer of {tokenizer.name_or_path} has no end token (eos_token), so a model could "
                "never learn to stop. Set eos_token in its tokenizer_config.json."
            )

    def encode(
        self,
        prompt: Text,
        completion: Text,
        *,
        finished: bool = True,
        desirable: bool = True,
        tools: Tools = None,
        where: str = "row",
    ) -> Encoded:
        """Render one prompt with one completion.

        Args:
            prompt: a string or the turns so far.
            completion: a string, or the assistant's turns after the prompt.
            finished: false where the log cut the completion short.
            desirable: the verdict, for the control token.
            tools: tool schemas for the chat template.
            where: the row's origin, for messages.

        Raises:
            UnrenderableError: the chat template cannot render the row.
            DataError: two start tokens; nothing to score.
            PromptTooLongError: no room for one token of completion within `max_length`.
            ModelError: a conversation, and the tokenizer has no chat template.
        """
        head, ids = self.split(prompt, completion, desirable=desirable, tools=tools, where=where)
        self._assert_one_start_token([*head, *ids], where)
        ids = self.terminate(ids, finished=finished and self.end_token)
        if len(head) >= self.max_length:
            raise PromptTooLongError(
                f"{where}: the prompt alone has {len(head)} tokens and max_length is {self.max_length}, "
                "which leaves no room for a completion. Raise data.max_length, shorten the prompt, or set "
                "data.overlong_prompts: drop."
            )
        if not ids:
            raise DataError(
                f"{where}: the completion is empty and gets no end token, so there is nothing to score. "
                "Remove the row, or let it end (data.end_token: true, finished: true)."
            )
        room = self.max_length - len(head)
        return Encoded(head, ids[:room], cut=len(ids) > room)

    def split(
        self, prompt: Text, completion: Text, *, desirable: bool = True, tools: Tools = None, where: str = "row"
    ) -> tuple[list[int], list[int]]:
        """Return the ids of the prompt and of the completion, which is not terminated yet; arguments as in `encode`."""
        if self.renderer.is_chat(prompt, completion):
            text, cut = self.renderer.exchange(prompt, completion, tools, where)
            return self._split(text, cut, desirable, add_special_tokens=False)
        assert isinstance(prompt, str) and isinstance(completion, str)
        return self.split_plain(prompt, completion, desirable=desirable)

    def split_plain(self, prompt: str, completion: str, *, desirable: bool = True) -> tuple[list[int], list[int]]:
        """Return the ids of a prompt and a completion that go to the model without a chat template; see `split`."""
        return self._split(prompt + completion, len(prompt), desirable, add_special_tokens=True)

    def _split(self, text: str, cut: int, desirable: bool, *, add_special_tokens: bool) -> tuple[list[int], list[int]]:
        head, ids = _split(self.tokenizer, text, cut, add_special_tokens=add_special_tokens)
        head = head or [_start_token(self.tokenizer)]
        if self._control:
            head.append(self._control[0 if desirable or not self._say_verdict else 1])
        return head, ids

    def _assert_one_start_token(self, ids: list[int], where: str) -> None:
        start = self.tokenizer.bos_token_id
        if start is not None and ids[:2] == [start, start]:
            raise DataError(
                f"{where}: the row begins with two start tokens ({self.tokenizer.bos_token!r}): the text "
                "holds one and the tokenizer adds one. Remove it from the text."
            )

    def terminate(self, ids: list[int], *, finished: bool) -> list[int]:
        """Leave exactly one end token after a finished completion and none after another.

        The text may hold one and the template add another: the first counts. What comes after it (a line break of the
        template, say) is never generated and so never scored. Every other token is text, an unknown one too.
        """
        end = first_end(ids, self._ends, lambda token: self.tokenizer.decode([token]))
        if end is not None:
            return ids[: end + finished]
        return [*ids, self.tokenizer.eos_token_id] if finished else ids


def encode_prompt(
    tokenizer: Any,
    prompt: Text,
    tools: Sequence[Mapping[str, Any]] | None = None,
    renderer: ChatRenderer | None = None,
    *,
    where: str = "prompt",
) -> list[int]:
    """Return the ids from which a completion is generated: what `Encoder.encode` puts before it.

    Args:
        tokenizer: a Transformers tokenizer.
        prompt: a string or the turns so far.
        tools: tool schemas for the chat template.
        renderer: of the tokenizer; None for one with the default settings.
        where: the prompt's origin, for messages.
    """
    renderer = renderer or make_renderer(tokenizer)
    if renderer.is_chat(prompt):
        ids = tokenizer(renderer.prompt(prompt, tools, where), add_special_tokens=False)["input_ids"]
    else:
        assert isinstance(prompt, str)
        ids = _plain_ids(tokenizer, prompt, "")[0]
    ids = ids or [_start_token(tokenizer)]
    good = control_token_ids(tokenizer)[:1]
    return ids if not good else [*ids, good[0]]


def make_renderer(tokenizer: Any, rendering: Rendering | None = None) -> ChatRenderer:
    """Return what renders conversations for a tokenizer.

    Raises:
        ConfigError: settings that the chat template does not read.
    """
    return ChatRenderer(templates_of(tokenizer), rendering)


def templates_of(tokenizer: Any) -> ChatTemplates:
    """Return the chat templates of a tokenizer."""
    written = tokenizer.chat_template
    texts = dict(written) if isinstance(written, dict) else {DEFAULT: written} if written else {}
    named = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return ChatTemplates(texts, named, str(tokenizer.name_or_path))


def end_token_ids(tokenizer: Any, renderer: ChatRenderer | None = None) -> list[int]:
    """Every token that ends a completion: the tokenizer's own, and those that its chat template puts after an answer.

    No token ends one for being special: an unknown token is text, and padding and start tokens end nothing, unless they
    are the end token, or the template ends its turns with the padding token.
    """
    after = (renderer or make_renderer(tokenizer)).after_answer()
    printed = tokenizer(after, add_special_tokens=False)["input_ids"]
    structure = special_token_ids(tokenizer) - {tokenizer.unk_token_id, tokenizer.bos_token_id}
    ends = {tokenizer.eos_token_id, *(i for i in printed if i in structure)}
    return sorted(i for i in ends if i is not None)


def special_token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that carry structure and not text."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def render_chat(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    where: str,
    *,
    add_generation_prompt: bool,
) -> str:
    """Return turns as the tokenizer's chat template writes them; see `ChatRenderer.render` for what is refused."""
    return make_renderer(tokenizer).render(tuple(messages), tools, where, asks=add_generation_prompt)


def _plain_ids(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    return _split(tokenizer, prompt + completion, len(prompt), add_special_tokens=True)


def _split(tokenizer: Any, text: str, boundary: int, *, add_special_tokens: bool) -> tuple[list[int], list[int]]:
    """Tokenise `text` and cut it where character `boundary` begins.

    A token that straddles the boundary holds characters of the completion, so it is scored with it.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path} is a slow one and cannot say which characters a "
            "token holds. Convert it with AutoTokenizer.from_pretrained(...).save_pretrained(...), which "
            "writes tokenizer.json."
        )
    encoding = tokenizer(
        text,
        add_special_tokens=add_special_tokens,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    ids, offsets, special = encoding["input_ids"], encoding["offset_mapping"], encoding["special_tokens_mask"]
    # An end token that the tokenizer adds is taken off here: whether there is one is for `Encoder.terminate` to say.
    while add_special_tokens and ids and special[-1] and offsets[-1] == (0, 0) and len(ids) > 1:
        ids, offsets, special = ids[:-1], offsets[:-1], special[:-1]
    cut = next((i for i, (_, end) in enumerate(offsets) if end > boundary), len(ids))
    return list(ids[:cut]), list(ids[cut:])


def _start_token(tokenizer: Any) -> int:
    """Return what an empty prompt consists of: something must come before the first token that is scored."""
    for candidate in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return candidate
    raise ModelError(
        f"the tokenizer of {tokenizer.name_or_path} has no start or end token to begin an empty prompt with."
    )
