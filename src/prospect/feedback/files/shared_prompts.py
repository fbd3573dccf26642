"""Prompts that were guessed from what the two sides of a pair share, and may hold the first words of the answer."""

from __future__ import annotations

import hashlib
import re

_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
_WORD_END = re.compile(r"(?<=\S)(?=\s)")


def without_answer(prompt: str) -> str:
    """Return a transcript up to its last "Assistant:", behind which an answer begins; other prompts as they are."""
    if _HUMAN not in prompt:
        return prompt
    end = prompt.rfind(_ASSISTANT)
    return prompt if end < 0 else prompt[: end + len(_ASSISTANT)]


class Openings:
    """Prompts, to be asked which of them another one goes on from; eight bytes are held of each."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def add(self, prompt: str) -> None:
        """Add a prompt; the empty one, from which everything goes on, says nothing."""
        if prompt:
            self._digests.add(_hash(prompt).digest())

    def shortest(self, prompt: str) -> str:
        """Return the shortest prompt that was added and whose words this one begins with; itself if there is none."""
        state, start = _hash(""), 0
        for match in _WORD_END.finditer(prompt):
            state.update(prompt[start : match.start()].encode())
            start = match.start()
            if state.digest() in self._digests:
                return prompt[:start]
        return prompt


def _hash(text: str) -> hashlib.blake2b:
    return hashlib.blake2b(text.encode(), digest_size=8)
