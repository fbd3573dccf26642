"""Rows by prompt: what belongs together, and held-out rows, so that no prompt is on both sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, TypeVar

from prospect.errors import DataError
from prospect.feedback.records import Completion, Feedback, Image, Message, Text

Row = TypeVar("Row", bound=Feedback)

KEY_SIZE = 16  # bytes of a prompt's key: no two of a billion prompts share one


def prompt_key(text: Text) -> str:
    """Return a key that two prompts share exactly if they are the same text or the same turns.

    The same on every machine and in every process. A string and a conversation never share a key.
    """
    return prompt_digest(text).hex()


def prompt_digest(text: Text) -> bytes:
    """Return the 16 bytes of which `prompt_key` is the text."""
    if isinstance(text, str):
        canonical = encode_basestring_ascii(text)  # what json.dumps makes of a string, without its set-up
    else:
        identity = [[m.role, m.content, dict(m.extra)] for m in text]
        canonical = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.blake2b(canonical.encode(), digest_size=16).digest()


def completion_digest(completion: Completion) -> bytes:
    """Return 16 bytes that completions share exactly if they are the same text, turns or image."""
    if isinstance(completion, Image):  # no text's canonical form begins so
        return hashlib.blake2b(f"image {completion.sha256}".encode(), digest_size=16).digest()
    return prompt_digest(completion)


def matching_key(text: Text) -> bytes:
    """Return a key that prompts share which say the same: plain text and a lone turn of the user, whatever white space.

    For finding the completions of a prompt in a file that somebody else wrote; rows are split and grouped by
    `prompt_key`, which tells all of them apart.
    """
    turns = (Message("user", text),) if isinstance(text, str) else text
    return prompt_digest(tuple(Message(turn.role, " ".join(turn.content.split()), turn.extra) for turn in turns))


def group_key(row: Feedback) -> bytes:
    """Return 16 bytes that rows of one prompt share; other tools make another prompt."""
    digest = prompt_digest(row.prompt)
    if row.tools is None:
        return digest
    tools = json.dumps(row.tools, sort_keys=True, default=str)
    return hashlib.blake2b(digest + tools.encode(), digest_size=16).digest()


class Groups(NamedTuple):
    """Which of N rows have the same key.

    Attributes:
        order: (N,) row numbers, group after group; within a group in the order of the rows.
        starts: (G + 1,) where in `order` each group begins, and N; the groups are in order of first appearance.
    """

    order: Any
    starts: Any


def group_keys(keys: bytearray) -> Groups:
    """Return the groups of rows whose keys, of KEY_SIZE bytes each, are the same."""
    import numpy as np

    halves = np.frombuffer(bytes(keys), dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: the first row of a group comes first
    ordered = halves[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]  # of each row the first row of its group
    order = np.argsort(first, kind="stable")
    return Groups(order, np.append(np.flatnonzero(np.diff(first[order], prepend=-1)), len(order)))


def split_by_prompt(rows: Sequence[Row], held_out: float | int, *, seed: int) -> tuple[list[Row], list[Row]]:
    """Return the rows to train on and the rows held out, each in the order they came in.

    Which prompts are held out depends on their text and the seed, not on the order or number of their rows.

    Args:
        rows: records of any kind.
        held_out: a float is the share of prompts (at least one, unless it is 0), an int their number.
        seed: another seed holds out other prompts.

    Refuses to hold out every prompt, or a share that is not in [0, 1).
    """
    keys = [prompt_key(row.prompt) for row in rows]
    count = number_held_out(held_out, len(set(keys)))
    chosen = set(sorted(set(keys), key=lambda key: prompt_rank(key, seed))[:count])
    train = [row for row, key in zip(rows, keys, strict=True) if key not in chosen]
    return train, [row for row, key in zip(rows, keys, strict=True) if key in chosen]


def number_held_out(held_out: float | int, prompts: int) -> int:
    """Return how many prompts a share or a number is; refuse to hold out all of them."""
    if isinstance(held_out, float):
        if not 0 <= held_out < 1:
            raise DataError(f"held-out share is {held_out}; expected a share of the prompts in [0, 1)")
        count = max(1, round(held_out * prompts)) if held_out > 0 else 0
    else:
        count = held_out
    if not 0 <= count < max(prompts, 1):
        raise DataError(
            f"{count} prompts are to be held out, but there are {prompts} different ones; expected to keep "
            "at least one to train on. Hold out fewer, or bring a separate file for evaluation"
        )
    return count


def prompt_rank(key: str, seed: int) -> bytes:
    """Return the place of a prompt's key in the order in which prompts are held out."""
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()
