"""Verdicts that were given once are not asked for again: a file that a killed run goes on from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO

from prospect.errors import DataError
from prospect.evaluation.contest.judges.base import MIRRORED, Item, Verdict, text_key
from prospect.file_kinds import regular_file


class VerdictCache:
    """Verdicts by content: of judge, rubric, prompt, first and second completion.

    A line of the file is one verdict with its key; it holds no prompt and no completion, though the note of a verdict
    that could not be read holds the beginning of what the judge said. Every verdict is written as soon as it is known.
    A line that a killed run left half written is dropped, and asked for again.

    Args:
        path: a .jsonl file, made where there is none; None keeps verdicts in memory.

    Attributes:
        unread: lines of the file that were no verdicts.

    Raises:
        DataError: the file cannot be read or written, or holds something else.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.unread = 0
        self._verdicts: dict[str, Verdict] = {}
        self._file: BinaryIO | None = None
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def __enter__(self) -> VerdictCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._verdicts)

    def get(self, key: str) -> Verdict | None:
        """Return the verdict of a question, None where it has not been asked."""
        return self._verdicts.get(key)

    def put(self, key: str, verdict: Verdict, judge: str) -> None:
        """Keep a verdict, on disk at once; one that is not final is not kept."""
        if not verdict.final:
            return
        self._verdicts[key] = verdict
        if self.path is None:
            return
        row = {"key": key, "choice": verdict.choice, "note": verdict.note, "judge": judge}
        tokens = {"prompt_tokens": verdict.prompt_tokens, "completion_tokens": verdict.completion_tokens}
        if self._file is None:
            self._file = self._open(self.path)
        try:
            self._file.write(json.dumps({**row, **tokens}).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}. Check the disk.") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, path: Path) -> None:
        try:
            lines = regular_file(path).read_bytes().split(b"\n")
        except OSError as error:
            raise DataError(f"{path}: the kept verdicts cannot be read ({error}).") from None
        for line in filter(None, lines):
            try:
                row = json.loads(line)
                counts = int(row["prompt_tokens"]), int(row["completion_tokens"])
                verdict = Verdict(row["choice"], str(row["note"]), *counts)
                if verdict.choice not in MIRRORED or not isinstance(row["key"], str):
                    raise ValueError
                self._verdicts[row["key"]] = verdict
            except (ValueError, KeyError, TypeError):
                self.unread += 1
        if self.unread and not self._verdicts and self.unread > 1:
            raise DataError(f"{path}: there are no verdicts in this file; name another, or remove it.")

    def _open(self, path: Path) -> BinaryIO:
        """Open the file for appending, after a whole line."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
            if file.tell():
                with path.open("rb") as before:
                    before.seek(-1, os.SEEK_END)
                    if before.read(1) != b"\n":
                        file.write(b"\n")
            return file
        except OSError as error:
            raise DataError(f"{path}: verdicts cannot be kept there ({error}).") from None


def question_key(identity: str, item: Item) -> str:
    """Return a key that questions share exactly if judge, prompt, completions, their order and target agree.

    Args:
        identity: of the judge.
        item: what it is asked about.
    """
    target = json.dumps(item.target, sort_keys=True, default=str)
    parts = (identity, text_key(item.prompt, item.first, item.second), target)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode(errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
