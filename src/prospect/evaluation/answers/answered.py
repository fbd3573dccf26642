"""Completions in a file, texts or images, found by their prompts."""

from __future__ import annotations

from collections.abc import Sequence

from prospect.feedback.records import Completion, Demonstration, Image, Message, Text, Unpaired
from prospect.feedback.split import matching_key, prompt_key


class Completions:
    """Completions by prompt.

    A prompt finds those of its own words. Where nobody answered these, it finds those of the one prompt that says the
    same in another form: plain text and a lone turn of the user, with other white space.

    Args:
        rows: prompts with completions.

    Attributes:
        are_images: whether they are images; None where there are none.
    """

    def __init__(self, rows: Sequence[Demonstration | Unpaired]):
        self.are_images = any(isinstance(row.completion, Image) for row in rows) if rows else None
        self._found: dict[str, list[Completion]] = {}
        self._alike: dict[bytes, set[str]] = {}
        for row in rows:
            key = prompt_key(row.prompt)
            self._found.setdefault(key, []).append(as_written(row.completion))
            self._alike.setdefault(matching_key(row.prompt), set()).add(key)

    def _key(self, prompt: Text) -> str | None:
        key = prompt_key(prompt)
        if key in self._found:
            return key
        alike = self._alike.get(matching_key(prompt), set())
        return next(iter(alike)) if len(alike) == 1 else None

    def __contains__(self, prompt: Text) -> bool:
        return self._key(prompt) is not None

    def __getitem__(self, prompt: Text) -> list[Completion]:
        key = self._key(prompt)
        if key is None:
            raise KeyError(prompt)
        return self._found[key]


def as_written(completion: Completion) -> Completion:
    """Return a text without the white space around it: plain prompts' begin with a space on one side only."""
    if isinstance(completion, Image):
        return completion
    if isinstance(completion, str):
        return completion.strip()
    return tuple(Message(turn.role, turn.content.strip(), turn.extra) for turn in completion)
