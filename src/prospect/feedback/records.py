"""What people said, as records: a message, and the four kinds of feedback.

No torch and no transformers here: this half of the product starts in a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from prospect.errors import DataError

Kind = Literal["unpaired", "paired", "demonstration", "scored"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `extra` keeps further fields of the turn (`name`, `tool_calls`, ...) for the chat template, unchanged.
    """

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the message as chat templates expect it."""
        return {"role": self.role, "content": self.content, **self.extra}


Text = str | tuple[Message, ...]
"""A prompt or a completion: a plain string, or the turns of a conversation."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as a completion; its pixels stay in the file until they are asked for.

    Two images are equal if their files are, whatever they are called.

    Attributes:
        path: the file; of an image inside another file, a name for messages.
        sha256: of the file's bytes, 64 hexadecimal digits.
        width: pixels, as the image is looked at: the rotation that a camera noted is applied.
        height: likewise.
        format: of the file: png, jpeg, ...
        data: the file's bytes, of an image inside another file (Parquet, a hub dataset); None where `path` is a file.
    """

    path: Path = field(compare=False)
    sha256: str
    width: int
    height: int
    format: str
    data: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What the image is called by its content alone, and in a frozen dataset: `images/SHA256.png`."""
        return f"images/{self.sha256}.{self.format}"


Completion = Text | Image
"""What answers a prompt."""


def text_of(completion: Completion, where: str) -> Text:
    """Return a completion that must be text; refuse an image."""
    if isinstance(completion, Image):
        raise DataError(
            f"{where}: the completion is an image; expected text, for this reads words alone. "
            "Use a file whose rows have text completions"
        )
    return completion


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What every record has, whatever its kind.

    Attributes:
        prompt: the text before the completion; it may be empty.
        id: unique within its source.
        where: `file:line` of the record, for messages.
        weight: factor on this record's loss, at least 0.
        score: a number somebody gave the completion, if any.
        rater: who gave the feedback, if known.
        tools: tool schemas for the chat template, if any.
        finished: false where the completion was cut short (by a token limit, say). Such a completion is
            never given an end token, for that would teach the model to stop in mid-sentence.
        source: the tool or file that the feedback came from.
        source_id: what the verdict is called there.
        time: when the verdict was given, with its time zone.
        model: who wrote the completion.
        reason: why the rater judged so, in the rater's words or tags.
        relative: true where the verdict compares with a sibling (arena votes) and is none on the completion alone.
    """

    kind: ClassVar[Kind]

    prompt: Text
    id: str
    where: str
    weight: float = 1.0
    score: float | None = None
    rater: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    finished: bool = True
    source: str | None = None
    source_id: str | None = None
    time: datetime | None = None
    model: str | None = None
    reason: str | None = None
    relative: bool = False

    def shared_fields(self) -> dict[str, Any]:
        """Return the fields that a record keeps whatever it is turned into."""
        return {name: getattr(self, name) for name in _SHARED}


Record = TypeVar("Record", bound=Feedback)

PROVENANCE = ("source", "source_id", "time", "model", "reason", "relative")
"""Where a verdict came from; no method needs it, so what cannot be read there is dropped, never an error."""
_SHARED = ("prompt", "where", "weight", "rater", "tools", "finished", *PROVENANCE)


@dataclass(frozen=True, kw_only=True)
class Unpaired(Feedback):
    """A completion and one verdict on it: thumbs up (`desirable`) or down."""

    kind: ClassVar[Kind] = "unpaired"

    completion: Completion
    desirable: bool


@dataclass(frozen=True, kw_only=True)
class Paired(Feedback):
    """Two completions of one prompt, of which `chosen` was preferred to `rejected`."""

    kind: ClassVar[Kind] = "paired"

    chosen: Completion
    rejected: Completion


@dataclass(frozen=True, kw_only=True)
class Demonstration(Feedback):
    """A completion to imitate, without a verdict."""

    kind: ClassVar[Kind] = "demonstration"

    completion: Completion


@dataclass(frozen=True, kw_only=True)
class Scored(Feedback):
    """K >= 2 completions of one prompt, each with a number that says how good it is.

    Attributes:
        completions: K of them, in the order of the source.
        scores: K finite numbers, the higher the better, on a scale of the user's own.
    """

    kind: ClassVar[Kind] = "scored"

    completions: tuple[Completion, ...]
    scores: tuple[float, ...]

    @property
    def best(self) -> int:
        """The place of the highest score, the first of several."""
        return self.scores.index(max(self.scores))

    @property
    def worst(self) -> int:
        """The place of the lowest score, the first of several."""
        return self.scores.index(min(self.scores))


def images_of(row: Feedback) -> tuple[Image, ...]:
    """Return the images of a row, in its order; none where its completions are texts."""
    if isinstance(row, Paired):
        completions: tuple[Completion, ...] = (row.chosen, row.rejected)
    elif isinstance(row, Scored):
        completions = row.completions
    else:
        completions = (row.completion,) if isinstance(row, Unpaired | Demonstration) else ()
    return tuple(completion for completion in completions if isinstance(completion, Image))


def record(kind: type[Record], fields: dict[str, Any]) -> Record:
    """Return the record with these fields, as its constructor would, at a quarter of the price.

    A frozen dataclass sets its twenty fields one by one. A field that is not given is found on the class, where
    dataclasses keep their defaults. The fields must be right: names and the required ones are not checked. The
    record keeps the dictionary itself.
    """
    made = object.__new__(kind)
    object.__setattr__(made, "__dict__", fields)
    return made
