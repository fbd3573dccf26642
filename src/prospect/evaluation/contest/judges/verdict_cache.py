"""Verdicts that were given once are not asked for again: a file that a killed run goes on from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.evaluation.answers.keyed_file import KeyedFile
from prospect.evaluation.contest.judges.base import MIRRORED, Candidate, Item, Verdict, text_key

_KEPT = ("choice", "note", "prompt_tokens", "completion_tokens")
_TOLD = ("credit", "scores")  # by some judges


class VerdictCache(KeyedFile[Verdict]):
    """Verdicts by content: of judge, rubric, prompt, first and second completion.

    A line of the file is one verdict with its key; it holds no prompt and no completion, though the note of a verdict
    that could not be read holds the beginning of the judge's reply.

    Args:
        path: a .jsonl file, made where there is none; None keeps verdicts in memory.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__(path, _read, _write)
        if self.unread > 1 and not len(self):
            raise DataError(f"{self.path}: there are no verdicts in this file; name another, or remove it.")


def _write(verdict: Verdict) -> dict[str, Any]:
    told = {name: value for name in _TOLD if (value := getattr(verdict, name)) is not None}
    return {name: getattr(verdict, name) for name in _KEPT} | told


def _read(row: dict[str, Any]) -> Verdict:
    if row["choice"] not in MIRRORED:
        raise ValueError
    credit, scores = (row.get(name) for name in _TOLD)
    tokens = int(row["prompt_tokens"]), int(row["completion_tokens"])
    return Verdict(
        row["choice"],
        str(row["note"]),
        *tokens,
        credit=None if credit is None else float(credit),
        scores=None if scores is None else (float(scores[0]), float(scores[1])),
    )


def question_key(identity: str, item: Item | Candidate) -> str:
    """Return a key that questions share exactly if judge, prompt, completions, their order and target agree.

    Args:
        identity: of the judge.
        item: what it is asked about.
    """
    target = json.dumps(item.target, sort_keys=True, default=str)
    parts = (identity, text_key(*item.texts), target)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode(errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
