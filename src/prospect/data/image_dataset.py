"""From feedback records whose completions are images to rows, with a summary of what they look like."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prospect.config import DataSettings
from prospect.data.batch import flatten
from prospect.data.dataset import Answer, Dataset, answers
from prospect.data.image_rows import ImageRow, as_example
from prospect.errors import DataError
from prospect.feedback.images.pixels import bucket_of
from prospect.feedback.records import Feedback, Image, Kind
from prospect.feedback.split import prompt_key
from prospect.results.run import DataSummary

# What stands before the prompt of a loss that states the verdict there; the trained model is asked after the first.
# Source: the CSFT baseline of arXiv 2404.04465.
GOOD, BAD = "good image, ", "bad image, "


@dataclass(frozen=True)
class ImageEncoder:
    """How a record becomes rows.

    Attributes:
        resolution: side of a square image in pixels; others have about as many.
        step: pixels of which sides are multiples.
        knows: whether the model knows a prompt; one that knows classes knows theirs alone.
        say_verdict: whether the verdict is stated before the prompt.
    """

    resolution: int
    step: int
    knows: Callable[[str], bool]
    say_verdict: bool = False


class ImageDataset(Dataset):
    """Feedback on images as one loss wants it."""

    @property
    def digest(self) -> str:
        """Hash of every prompt, image, size, verdict, weight and score in order."""
        digest = hashlib.blake2b(digest_size=16)
        for row in flatten(self.examples):
            digest.update(row.key + f"{row.desirable} {row.weight!r} {row.score!r}".encode())
        return digest.hexdigest()

    def summary(self) -> DataSummary:
        """Return what provenance.json and the report say about the data."""
        rows: list[ImageRow] = flatten(self.examples)  # type: ignore[arg-type]
        sizes = Counter(row.size for row in rows)
        return self.summary_of(sizes={f"{width}x{height}": count for (width, height), count in sizes.most_common()})


def encode_images(
    records: Sequence[Feedback], kind: Kind, encoder: ImageEncoder, settings: DataSettings, source: str
) -> ImageDataset:
    """Make rows of every record.

    Raises:
        DataError: a completion that is no image, a prompt that the model cannot be given, or images of one example of
            two sizes.
    """
    examples = [as_example([_row(record, answer, encoder) for answer in answers(record)]) for record in records]
    for record, example in zip(records, examples, strict=True):
        sizes = {row.size for row in example}
        if len(sizes) > 1:
            named = " and ".join(f"{width}x{height}" for width, height in sorted(sizes))
            raise DataError(
                f"{record.where}: images of one example are brought to {named} pixels; expected one size, for they are "
                "compared at the same noise. Crop one to the other's aspect, or remove the row."
            )
    if not examples:
        raise DataError(f"{source}: no row is left to train on.")
    return ImageDataset(examples, kind, source, list(records), cut=0, dropped=0)  # type: ignore[arg-type]


def _row(record: Feedback, answer: Answer, encoder: ImageEncoder) -> ImageRow:
    if not isinstance(answer.completion, Image):
        raise DataError(
            f"{record.where}: the completion is text, and the model makes images. Name a language model, or a file "
            "whose rows have images."
        )
    if not isinstance(record.prompt, str):
        raise DataError(f"{record.where}: the prompt is a conversation; expected text, which an image is made from.")
    if not encoder.knows(record.prompt):
        raise DataError(
            f"{record.where}: the prompt is {record.prompt!r:.80}, and the model knows only prompts that id2label, or "
            "words, in its model_index.json make. Add it there, or remove the row."
        )
    said = (GOOD if answer.desirable else BAD) if encoder.say_verdict else ""
    return ImageRow(
        prompt=said + record.prompt,
        image=answer.completion,
        size=bucket_of(answer.completion, encoder.resolution, encoder.step),
        prompt_key=prompt_key(record.prompt),
        id=record.id,
        desirable=answer.desirable,
        weight=record.weight,
        score=answer.score,
    )
