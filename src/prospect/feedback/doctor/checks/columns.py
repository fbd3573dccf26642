"""A record -> what is kept of it: numbers, hashes and traits, one tuple a row.

This runs in worker processes, millions of times: it is kept plain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import polars as pl

from prospect.errors import DataError
from prospect.feedback.doctor.checks.table import Completion, Row, frame
from prospect.feedback.images.looks import Look, look_at
from prospect.feedback.records import Demonstration, Feedback, Image, Paired, Scored, Text, Unpaired, images_of
from prospect.feedback.texts.characters import odd_characters, script_of
from prospect.feedback.texts.near_duplicates import NearDuplicates
from prospect.feedback.texts.personal_data import find_personal_data

# Written without spaces between words: there a sign counts as a word.
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_OPENING_WORDS = 8  # two different prompts hardly begin with the same eight words by chance
_SCRIPT_CHARACTERS = 2000  # enough to know the script of a text
_NEAR_CHARACTERS = 4000  # of a row, for near duplicates: copies of a text are alike at its beginning too
THUMBNAILS = 12  # of each verdict
_THUMBNAILS_HELD = 512  # new ones, before most of them are dropped
_LONGEST_NAME = 200  # characters of an id or a rater's name; nobody looks a longer one up


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a piece is measured.

    Attributes:
        label_map: label -> desirable; see `load_feedback`.
        sampled: the share of prompts whose rows are compared with one another and searched for personal data.
        prompts: the share of prompts that are compared with those of other files.
        with_tokens: the share whose records are kept for counting tokens.
    """

    label_map: Mapping[Any, bool] | None = None
    sampled: float = 1.0
    prompts: float = 0.0
    with_tokens: float = 0.0


@dataclass(kw_only=True)
class Part:
    """The rows of one kind in a piece.

    Attributes:
        rows: a frame of `Row`, lines counted from the piece's first.
        completions: a frame of `Completion`.
        near: the completions of sampled rows, to be compared, by the number of their row.
        near_prompts: the prompts of sampled rows, likewise.
        samples: sampled records with their row, where tokens are to be counted.
        looks: what is known of the images, where completions are images; a few keep their thumbnails.
    """

    rows: pl.DataFrame
    completions: pl.DataFrame
    near: NearDuplicates
    near_prompts: NearDuplicates
    samples: list[tuple[int, Feedback]]
    looks: list[Look]


class Columns:
    """The rows of one kind in one piece, as they are read.

    Args:
        file: number of the file.
        settings: how closely rows are looked at.
    """

    def __init__(self, file: int, settings: Settings):
        self._near, self._near_prompts = NearDuplicates(), NearDuplicates()
        self._samples: list[tuple[int, Feedback]] = []
        self._looks: list[Look] = []
        self._thinned = 0  # looks of which only a few keep their thumbnails
        self.of_images = False
        self._file = file
        self._settings = settings
        self._rows: list[Row] = []
        self._completions: list[Completion] = []
        self._prompts: set[int] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def part(self) -> Part:
        """Return the rows so far."""
        rows, completions = frame(Row, self._rows), frame(Completion, self._completions)
        return Part(
            rows=rows,
            completions=completions,
            near=self._near,
            near_prompts=self._near_prompts,
            samples=self._samples,
            looks=keep_thumbnails(self._looks),
        )

    def add(self, record: Feedback, line: int, *, implicit: bool) -> None:
        """Add a row.

        Raises:
            DataError: an image of it is broken, or the rows before have texts; the row is not added.
        """
        row = len(self._rows)
        of_images = bool(images_of(record))
        if self._rows and of_images != self.of_images:
            raise DataError(f": {other_medium(of_images)}")
        self.of_images = of_images
        if of_images:
            self._looks += _looks(record, row)
            if len(self._looks) - self._thinned > _THUMBNAILS_HELD:
                self._looks, self._thinned = keep_thumbnails(self._looks), len(self._looks)
        prompt_text, prompt_bytes, prompt = _text(record.prompt)
        if record.tools:  # with other tools it is another prompt
            prompt = _hash(json.dumps(record.tools, sort_keys=True, default=str).encode(errors="replace"), prompt)
        completions, verdicts, scores = _judged(record)
        texts, hashes = [], []
        for completion, verdict, score in zip(completions, verdicts, scores, strict=True):
            text, size, key = _completion(completion)
            self._completions.append(Completion(row, prompt, key, _words(text), size, verdict, score))
            texts.append(text)
            hashes.append(key)
        turns = len(record.prompt) if isinstance(record.prompt, tuple) else 1 if record.prompt else 0
        script = script_of(texts[0][:_SCRIPT_CHARACTERS])
        traits = _traits(record, prompt_text, texts, hashes, script)
        sampled = prompt / 2**64 < self._settings.sampled
        if sampled and not of_images:
            self._near.add(row, "\n".join(text[:_NEAR_CHARACTERS] for text in texts))
        if sampled:
            searched = (prompt_text, *texts, record.reason or "")
            kinds = {match.kind for text in searched for match in find_personal_data(text)}
            traits += [f"personal:{kind}" for kind in kinds]
        self._sample(record, row, prompt, prompt_text)
        self._rows.append(
            Row(
                file=self._file,
                line=line,
                id=_clean(record.id) or None,
                prompt=prompt,
                content=_content(record, prompt, hashes, verdicts, scores),
                opening=_opening(prompt_text) if implicit and isinstance(record, Paired) else None,
                prompt_bytes=prompt_bytes,
                time=record.time.timestamp() if record.time else None,
                weight=record.weight,
                rater=_clean(record.rater),
                model=_clean(record.model),
                source=_clean(record.source),
                turns=turns + (len(completions[0]) if isinstance(completions[0], tuple) else 1),
                script=script,
                traits=traits or None,
                sampled=sampled,
            )
        )

    def _sample(self, record: Feedback, row: int, prompt: int, prompt_text: str) -> None:
        """Keep whole prompts of a sample, chosen by their hash."""
        place = prompt / 2**64
        if place < self._settings.with_tokens:
            self._samples.append((row, record))
        if place < self._settings.prompts and prompt not in self._prompts:
            self._prompts.add(prompt)
            self._near_prompts.add(row, prompt_text[:_NEAR_CHARACTERS])


def _looks(record: Feedback, row: int) -> list[Look]:
    """Return what is known of the images of a row."""
    completions, verdicts, _ = _judged(record)
    looks = zip(completions, verdicts, strict=True)
    return [look_at(one, row, verdict, f": image ({one.path})") for one, verdict in looks if isinstance(one, Image)]


def other_medium(of_images: bool) -> str:
    """Return the refusal of images among texts, or texts among images."""
    found, expected = ("an image", "texts") if of_images else ("a text", "images")
    return (
        f"the completion is {found}, but the rows before have {expected}; expected texts or images in what is read "
        "together. Keep them in files of their own"
    )


def keep_thumbnails(looks: list[Look]) -> list[Look]:
    """Return the looks, of which a few of each verdict keep their thumbnails: those of the smallest hashes."""
    kept = {
        number
        for verdict in (1, 0, -1)
        for number in sorted(
            (number for number, look in enumerate(looks) if look.verdict == verdict and look.thumbnail),
            key=lambda number: looks[number].key,
        )[:THUMBNAILS]
    }
    return [look if n in kept or not look.thumbnail else look._replace(thumbnail=b"") for n, look in enumerate(looks)]


def _traits(record: Feedback, prompt: str, texts: list[str], hashes: list[int], script: str) -> list[str]:
    """Return what is odd about a row, each by its name."""
    asked = script_of(prompt[:_SCRIPT_CHARACTERS])
    holds = {
        "relative": record.relative,
        "unfinished": not record.finished,
        "empty_prompt": not prompt,
        "empty_completion": not all(texts) and not images_of(record),
        "blank_completion": all(texts) and not all(text.strip() for text in texts),
        "same_sides": len(set(hashes)) < len(hashes),
        "tied": isinstance(record, Scored) and len(set(record.scores)) == 1,
        "other_script": "none" not in (script, asked) and script != asked,
    }
    odd = odd_characters(prompt).union(*map(odd_characters, texts))
    return [name for name, here in holds.items() if here] + [f"odd:{name}" for name in odd]


def _judged(record: Feedback) -> tuple[tuple[Text | Image, ...], tuple[int | None, ...], tuple[float | None, ...]]:
    """Return the completions of a record, the verdict on each and its score."""
    if isinstance(record, Unpaired):
        return (record.completion,), (int(record.desirable),), (record.score,)
    if isinstance(record, Paired):
        return (record.chosen, record.rejected), (1, 0), (None, None)
    if isinstance(record, Scored):
        return record.completions, (None,) * len(record.completions), record.scores
    assert isinstance(record, Demonstration)
    return (record.completion,), (None,), (record.score,)


def _text(text: Text) -> tuple[str, int, int]:
    """Return the words of a text, its length in bytes of UTF-8, and a hash that it shares with no other text."""
    if isinstance(text, str):
        encoded = text.encode()
        return text, len(encoded), _hash(encoded)
    plain = "\n".join(turn.content for turn in text)
    turns = [[turn.role, turn.content, dict(turn.extra)] for turn in text]
    identity = json.dumps(turns, sort_keys=True, default=str).encode()
    return plain, len(plain.encode()), _hash(identity, 1)


def _completion(completion: Text | Image) -> tuple[str, int, int]:
    """Return the same of a completion; an image has no words and no length."""
    if isinstance(completion, Image):
        return "", 0, _hash(completion.sha256.encode(), 2)
    return _text(completion)


def _hash(value: bytes, salt: int = 0) -> int:
    return int.from_bytes(blake2b(value, digest_size=8, salt=salt.to_bytes(8, "little")).digest(), "little")


def _content(
    record: Feedback,
    prompt: int,
    hashes: list[int],
    verdicts: tuple[int | None, ...],
    scores: tuple[float | None, ...],
) -> int:
    said = (record.kind, prompt, hashes, verdicts, scores, record.rater, record.time, record.source_id, record.reason)
    return _hash(repr(said).encode(errors="replace"))


def _opening(prompt: str) -> int | None:
    words = prompt.split(None, _OPENING_WORDS)[:_OPENING_WORDS]
    return _hash(" ".join(words).encode()) if len(words) == _OPENING_WORDS else None


def _words(text: str) -> int:
    words = len(text.split())
    return words if text.isascii() else words + len(_SPACELESS.findall(text))


def _clean(name: str | None) -> str | None:
    """Return a printable name: half characters and control characters become question marks."""
    if name is None or not name.isprintable():
        name = name and "".join(c if c.isprintable() else "?" for c in name)
    return name and name[:_LONGEST_NAME]
