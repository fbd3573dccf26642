"""Lengths of rows in tokens, for the data doctor: by the encoder that training uses, and of every row."""

from __future__ import annotations

from typing import Any, NamedTuple

from prospect.data.render import Encoder
from prospect.feedback.chat.rendering import Rendering, UnrenderableError
from prospect.feedback.chat.turns import as_turns
from prospect.feedback.records import Demonstration, Text, Unpaired, text_of

_NO_LIMIT = 1 << 60


class Counted(NamedTuple):
    """A row of one completion in tokens.

    Attributes:
        prompt: its tokens, with the start token.
        completion: its tokens, with the end token.
        refusal: why training would refuse the conversation, in one phrase; None where it can be rendered.
    """

    prompt: int
    completion: int
    refusal: str | None


class TokenCounter:
    """Counts tokens as training would see them, before it cuts rows at `max_length`.

    Args:
        tokenizer: a Transformers tokenizer.
        rendering: how rows become text.

    Raises:
        ModelError: the tokenizer has no end token.
        ConfigError: settings that the chat template does not read.
    """

    def __init__(self, tokenizer: Any, rendering: Rendering | None = None) -> None:
        self._encoder = Encoder(tokenizer, _NO_LIMIT, rendering=rendering)
        self.has_chat_template = bool(self._encoder.renderer.templates.texts)

    def is_plain(self, prompt: Text, completion: Text) -> bool:
        """Return whether a row goes to the model without a chat template."""
        return not self._encoder.renderer.is_chat(prompt, completion)

    def count(self, row: Unpaired | Demonstration) -> Counted:
        """Return the lengths of a row; of a conversation that training refuses, those of the contents of its turns."""
        encoder, refusal, ids = self._encoder, None, None
        completion = text_of(row.completion, row.where)
        if not self.has_chat_template and not self.is_plain(row.prompt, completion):
            refusal = "there is no chat template"
        else:
            try:
                ids = encoder.split(row.prompt, completion, tools=row.tools, where=row.where)
            except UnrenderableError as error:
                refusal = error.reason
        head, rest = ids or encoder.split_plain(*(_contents(text) for text in (row.prompt, completion)))
        return Counted(len(head), len(encoder.terminate(rest, finished=row.finished)), refusal)


def _contents(text: Text) -> str:
    return "\n".join(turn.content for turn in as_turns(text, ""))
