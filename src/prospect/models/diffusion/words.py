"""Prompts of a few words from a short list, for models without a text encoder.

A word is a one-hot vector; what it means is in the weights of the denoiser's attention. Letters: L words of a prompt at
most, V words of the list.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prospect.errors import DataError


def knows_words(prompt: str, words: Sequence[str], length: int) -> bool:
    """Whether a prompt has at most `length` words, all of them in the list."""
    asked = prompt.split()
    return len(asked) <= length and set(asked) <= set(words)


def encode_words(prompt: str, words: Sequence[str], length: int) -> torch.Tensor:
    """Return what a denoiser attends to: float32 (L, V), zeros where the prompt has fewer than L words.

    Args:
        prompt: words with spaces between them.
        words: the list.
        length: L.

    Raises:
        DataError: a word that is not in the list, or more than `length` words.
    """
    encoded, asked = torch.zeros(length, len(words)), prompt.split()
    if len(asked) > length:
        raise DataError(f'prompt "{prompt}" has {len(asked)} words; the model takes at most {length}.')
    for place, word in enumerate(asked):
        if word not in words:
            raise DataError(f'prompt "{prompt}": the model does not know "{word}". It knows {", ".join(words)}.')
        encoded[place, words.index(word)] = 1
    return encoded
