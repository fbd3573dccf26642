"""Tokens that state the verdict on the completion after them, for conditional fine-tuning (csft).

They live in the tokenizer, as its special tokens `good_token` and `bad_token`, so that whoever loads the trained model
asks it after `<|good|>`: for plain prompts `encode_prompt` appends it, for conversations the chat template does.
"""

from __future__ import annotations

from typing import Any

CONTROL_TOKENS = {"good_token": "<|good|>", "bad_token": "<|bad|>"}

_TEMPLATE_END = "{% if add_generation_prompt %}{{ '<|good|>' }}{% endif %}"


def control_token_ids(tokenizer: Any) -> tuple[int, ...]:
    """Return the ids of the good and the bad token; empty for a tokenizer without them."""
    named = getattr(tokenizer, "special_tokens_map", {})
    if not CONTROL_TOKENS.keys() <= named.keys():
        return ()
    return tuple(tokenizer.convert_tokens_to_ids(str(named[name])) for name in CONTROL_TOKENS)


def ask_after_good(tokenizer: Any) -> Any:
    """Let each chat template, if there is one, end the prompt with the good token; give the tokenizer back."""
    written = tokenizer.chat_template
    if isinstance(written, dict):
        tokenizer.chat_template = {name: _asking(text) for name, text in written.items()}
    elif written:
        tokenizer.chat_template = _asking(written)
    return tokenizer


def _asking(template: str) -> str:
    return template if template.endswith(_TEMPLATE_END) else template + _TEMPLATE_END
