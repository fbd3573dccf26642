"""Prompt and completion to token ids, rendered once. The only file that knows special tokens.

A conversation goes through the chat template, a plain string through the tokenizer as it is. Either way
prompt and completion are tokenised *together* and cut where the prompt's characters end: tokenised alone, a
completion may begin with other tokens than the model will ever see there (a lost or doubled space, for
instance).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prospect.data.control_tokens import control_token_ids
from prospect.errors import DataError, ModelError
from prospect.feedback.endings import common_ending, first_end
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
    """

    def __init__(self, tokenizer: Any, max_length: int, *, end_token: bool = True, say_verdict: bool = False) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.end_token = end_token
        self._control = control_token_ids(tokenizer)
        self._say_verdict = say_verdict
        self._ends = frozenset(end_token_ids(tokenizer))
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
        tools: Sequence[Mapping[str, Any]] | None = None,
        where: str = "row",
    ) -> Encoded:
        """Renders one prompt with one completion.

        Args:
            prompt: a string or the turns so far.
            completion: a string, or the assistant's turns after the prompt.
            finished: false where the log cut the completion short.
            desirable: the verdict, for the control token.
            tools: tool schemas for the chat template.
            where: the row's origin, for messages.

        Raises:
            DataError: the template's prompt is no prefix of prompt + completion; two start tokens; nothing to
                score.
            PromptTooLongError: no room for one token of completion within `max_length`.
            ModelError: a conversation, and the tokenizer has no chat template.
        """
        if isinstance(prompt, str) and isinstance(completion, str):
            head, ids = _plain_ids(self.tokenizer, prompt, completion)
        else:
            head, ids = self._chat_ids(prompt, completion, tools, where)
        if not head:
            head = [_start_token(self.tokenizer)]
        if self._control:
            head.append(self._control[0 if desirable or not self._say_verdict else 1])
        self._assert_one_start_token([*head, *ids], where)
        ids = self._terminate(ids, finished=finished and self.end_token)
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

    def _chat_ids(
        self, prompt: Text, completion: Text, tools: Sequence[Mapping[str, Any]] | None, where: str
    ) -> tuple[list[int], list[int]]:
        before, after = as_messages(prompt, "user"), as_messages(completion, "assistant")
        other = next((turn.role for turn in after if turn.role != "assistant"), None)
        if other is not None:
            raise DataError(
                f'{where}: the completion holds a turn of role "{other}", and all of a completion is scored: the model '
                f"would learn to speak as {other}. Move the turns before the last answer into the prompt."
            )
        opening = render_chat(self.tokenizer, before, tools, where, add_generation_prompt=True)
        if self._control:  # the template ends the prompt with it; which one it is, is for `encode` to say
            opening = opening.removesuffix(self.tokenizer.good_token)
        whole = render_chat(self.tokenizer, (*before, *after), tools, where, add_generation_prompt=False)
        if not whole.startswith(opening):
            same = next((i for i, (a, b) in enumerate(zip(opening, whole, strict=False)) if a != b), len(whole))
            raise DataError(
                f"{where}: the chat template renders the prompt alone otherwise than inside prompt + "
                f"completion (they part at character {same}: {opening[same : same + 30]!r} against "
                f"{whole[same : same + 30]!r}), so the model would be trained on a prompt it never sees. Use "
                "a template whose prompt is a prefix, or string prompts."
            )
        return _split(self.tokenizer, whole, len(opening), add_special_tokens=False)

    def _assert_one_start_token(self, ids: list[int], where: str) -> None:
        start = self.tokenizer.bos_token_id
        if start is not None and ids[:2] == [start, start]:
            raise DataError(
                f"{where}: the row begins with two start tokens ({self.tokenizer.bos_token!r}): the text "
                "holds one and the tokenizer adds one. Remove it from the text."
            )

    def _terminate(self, ids: list[int], *, finished: bool) -> list[int]:
        """Leaves exactly one end token after a finished completion and none after another.

        The text may hold one and the template add another: the first counts. What comes after it (a line break of the
        template, say) is never generated and so never scored. Every other token is text, an unknown one too.
        """
        end = first_end(ids, self._ends, lambda token: self.tokenizer.decode([token]))
        if end is not None:
            return ids[: end + finished]
        return [*ids, self.tokenizer.eos_token_id] if finished else ids


def encode_prompt(tokenizer: Any, prompt: Text, tools: Sequence[Mapping[str, Any]] | None = None) -> list[int]:
    """Gives the ids from which a completion is generated: what `Encoder.encode` puts before it."""
    if isinstance(prompt, str):
        ids = _plain_ids(tokenizer, prompt, "")[0]
    else:
        text = render_chat(tokenizer, prompt, tools, "prompt", add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = ids or [_start_token(tokenizer)]
    good = control_token_ids(tokenizer)[:1]
    return ids if not good or ids[-1] == good[0] else [*ids, good[0]]


def end_token_ids(tokenizer: Any) -> list[int]:
    """Every token that ends a completion: the tokenizer's own, and those that its chat template puts after an answer.

    No token ends one for being special: an unknown token is text, and padding and start tokens end nothing, unless they
    are the end token, or the template ends its turns with the padding token.
    """
    printed = tokenizer(_after_answer(tokenizer), add_special_tokens=False)["input_ids"]
    structure = special_token_ids(tokenizer) - {tokenizer.unk_token_id, tokenizer.bos_token_id}
    ends = {tokenizer.eos_token_id, *(i for i in printed if i in structure)}
    return sorted(i for i in ends if i is not None)


def _after_answer(tokenizer: Any) -> str:
    """What the chat template prints after an answer, whatever the answer; empty where there is no template."""
    if not tokenizer.chat_template:
        return ""
    user = Message("user", "a")
    for opening in ((user,), (Message("system", "a"), user)):  # few templates insist on a system prompt
        try:
            one, other = (_render_answer(tokenizer, (*opening, Message("assistant", text))) for text in ("b", "c"))
        except DataError:
            continue
        return common_ending(one, other)
    return ""


def _render_answer(tokenizer: Any, messages: Sequence[Message]) -> str:
    return render_chat(tokenizer, messages, None, "template", add_generation_prompt=False)


def special_token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that carry structure and not text."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def as_messages(text: Text, role: str) -> tuple[Message, ...]:
    """A plain string beside a conversation is one turn of it."""
    return (Message(role, text),) if isinstance(text, str) else text


def render_chat(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    where: str,
    *,
    add_generation_prompt: bool,
) -> str:
    """Renders turns through the tokenizer's chat template.

    Raises:
        ModelError: there is no template.
        DataError: the template refuses these turns.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            f"{where}: this is a conversation, and the tokenizer of {tokenizer.name_or_path} has no chat "
            "template. Use an instruction-tuned model's tokenizer, set its chat_template, or give prompt and "
            "completion as strings."
        )
    try:
        # A batch of one: Transformers looks into the first turn to tell the two apart, and there may be none.
        return tokenizer.apply_chat_template(
            [[message.as_dict() for message in messages]],
            tools=list(tools) if tools else None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )[0]
    except Exception as error:  # a template is foreign code and raises what it likes
        raise DataError(f"{where}: the chat template refuses this conversation: {error}") from None


def _plain_ids(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    return _split(tokenizer, prompt + completion, len(prompt), add_special_tokens=True)


def _split(tokenizer: Any, text: str, boundary: int, *, add_special_tokens: bool) -> tuple[list[int], list[int]]:
    """Tokenises `text` and cuts it where character `boundary` begins.

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
    # An end token that the tokenizer adds is taken off here: whether there is one is for _terminate to say.
    while add_special_tokens and ids and special[-1] and offsets[-1] == (0, 0) and len(ids) > 1:
        ids, offsets, special = ids[:-1], offsets[:-1], special[:-1]
    cut = next((i for i, (_, end) in enumerate(offsets) if end > boundary), len(ids))
    return list(ids[:cut]), list(ids[cut:])


def _start_token(tokenizer: Any) -> int:
    """What an empty prompt consists of: something must come before the first token that is scored."""
    for candidate in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return candidate
    raise ModelError(
        f"the tokenizer of {tokenizer.name_or_path} has no start or end token to begin an empty prompt with."
    )
