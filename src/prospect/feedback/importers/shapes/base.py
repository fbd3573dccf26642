"""What every importer is, and what it yields: one item for every verdict of an export, usable or not.

An importer knows the shape of one tool's export and nothing else. What is common to all (labels to verdicts, the
latest vote, pseudonyms, counting, writing) is done once, in `prospect.feedback.importers.pipeline`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

Cell = str | list[dict[str, Any]]
"""A prompt or a completion as a file would hold it: text, or a list of {role, content}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A row of the export that cannot become feedback, with the reason, in few words that are the same for all like it.

    Such as: "no rating", "snapshot is null", "machine score", "draft response".
    """

    where: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """One verdict on one completion, as the export says it.

    Attributes:
        where: `file:line` or `file:row N`, for messages.
        prompt: what came before the completion, in the order it was said.
        completion: what was judged: text, or the assistant's turns.
        verdict: the label as the export has it (1, "thumbsDown", "GOOD", ...); None is a vote taken back.
        rater: who judged, as the export names them; the pipeline makes a pseudonym of it.
        completion_id: names the completion within the export, so that of several votes of one rater on it the latest
            wins; None where the export cannot say, and then nothing is superseded.
        source_id: the verdict's own name in the export.
        time: when it was given (`prospect.feedback.times.read_time` reads the stamps).
        model: who wrote the completion.
        reason: tags and comments of the rater, joined as text.
        relative: the verdict follows from a comparison with a sibling (arena).
        score: a number given with the verdict, if any.
        correction: the answer that the rater wrote in place of the completion; becomes a desirable row only when asked.
        tools: tool schemas, if any.
        finished: false where the completion was cut short.
        weight: a factor that the export gives the row, if any, as it stands there.
        unusable: why prompt or completion cannot be rebuilt, in the words of a `Dropped.reason`; both are then "". Such
            a vote is dropped like a `Dropped`, but an earlier vote of the rater on the completion goes with it.

    An answer written in place of a completion that nobody voted on is a vote with `correction` and the verdict None; it
    takes no vote back.
    """

    where: str
    prompt: Cell
    completion: Cell
    verdict: Any
    rater: str | None = None
    completion_id: str | None = None
    source_id: str | None = None
    time: datetime | None = None
    model: str | None = None
    reason: str | None = None
    relative: bool = False
    score: float | None = None
    correction: str | None = None
    tools: list[dict[str, Any]] | None = None
    finished: bool = True
    weight: Any = None
    unusable: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """Two completions of one prompt of which one was preferred; fields as in `Vote`.

    `relative` is true where nobody was asked which is better.
    """

    where: str
    prompt: Cell
    chosen: Cell
    rejected: Cell
    rater: str | None = None
    source_id: str | None = None
    time: datetime | None = None
    model: str | None = None
    reason: str | None = None
    relative: bool = False
    weight: Any = None
    tools: list[dict[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Several completions of one prompt, each with a number, the higher the better; other fields as in `Vote`."""

    where: str
    prompt: Cell
    completions: list[Cell]
    scores: list[float]
    rater: str | None = None
    source_id: str | None = None
    time: datetime | None = None
    model: str | None = None
    reason: str | None = None
    weight: Any = None
    tools: list[dict[str, Any]] | None = None


Item = Vote | Preference | Ranking | Dropped

# The question and the answer of the examples.
ASKED, ANSWERED = "Where is my parcel?", "On its way."
USER, ANSWER = {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the user says about an export beyond its files.

    Attributes:
        columns: our field -> the export's column or key, dotted for nested ones: {"completion": "reply.text"}.
        label_key: which of several scores, questions or annotations holds the verdict.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    label_key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The beginning of one file, for recognising it: cheap to make and never wrong about more than it shows.

    Attributes:
        path: the file.
        rows: up to 20 rows (objects); of a JSON object that wraps its rows ({"items": [...]}) the wrapped ones.
        columns: the union of the rows' keys.
    """

    path: Path
    rows: Sequence[Mapping[str, Any]]
    columns: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Importer:
    """One export format.

    Attributes:
        name: as on the command line: `open-webui`.
        title: as people write it: `Open WebUI`.
        recognises: whether the files, together, look like this tool's export. It must not claim what another tool
            writes; generic rows belong to `generic`, which is asked last.
        read: yields one item for every row of the export. A shape that is broken in one row is `Dropped` with its
            reason; a file that is not this format at all is a DataError.
        polarity: verdict, as lower-case text -> True, False, or None for neutral. A verdict that is not here is an
            error with row and value, unless the user's label map has it.
        options: names of the `Options` fields that it understands; others are refused.
        example: file name -> what a small export holds: rows, another JSON value, or text. Every verdict in it counts.
    """

    name: str
    title: str
    recognises: Callable[[Sequence[Sample]], bool]
    read: Callable[[Sequence[Path], Options], Iterator[Item]]
    polarity: Mapping[str, bool | None]
    options: frozenset[str] = frozenset()
    example: Mapping[str, Any] = field(default_factory=dict)
