"""From feedback records to examples in tokens, with a summary of what they look like."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from prospect import progress
from prospect.config import DataSettings
from prospect.data.batch import Example, Row, flatten, row_from_ids
from prospect.data.loader import padded
from prospect.data.render import Encoder, PromptTooLongError
from prospect.errors import ConfigError, DataError
from prospect.feedback.chat.rendering import UnrenderableError
from prospect.feedback.convert.kinds import as_kind
from prospect.feedback.files.rows import Ignored
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.verdict_columns import describe_ignored
from prospect.feedback.records import Completion, Demonstration, Feedback, Kind, Paired, Scored, Text, Unpaired, text_of
from prospect.feedback.split import prompt_key, split_by_prompt
from prospect.results.run import DataSummary, LeftOut, LengthHistogram, Lengths

HISTOGRAM_BINS = 24  # enough to see a shape, few enough to read
PLACES_SHOWN = 5  # of rows that were left out: enough to look at


class Answer(NamedTuple):
    """One completion of a record with its verdict."""

    completion: Completion
    desirable: bool
    score: float = 0.0


class Side(NamedTuple):
    """One completion of a record that is text, with its verdict."""

    text: Text
    desirable: bool
    score: float = 0.0


@dataclass(frozen=True)
class Dataset:
    """Feedback as one loss wants it, in tokens.

    Attributes:
        examples: in the order of the source.
        kind: which feedback an example is.
        source: where it was read.
        records: the feedback, example by example.
        cut: completions that max_length cut.
        dropped: rows left out because their prompt alone was too long.
        ignored: messages about columns that look like a verdict and were not read.
        unrenderable: rows left out because the chat template cannot render them: reason -> their places.
        plain: rows that go to the model as plain text, without a chat template.
    """

    examples: list[Example]
    kind: Kind
    source: str
    records: list[Feedback]
    cut: int
    dropped: int
    ignored: tuple[str, ...] = ()
    unrenderable: Mapping[str, list[str]] = field(default_factory=dict)
    plain: int = 0

    @property
    def digest(self) -> str:
        """Hash of every token, verdict, weight, score and sampled log-prob in order: the same data, the same hash.

        Scores count only where feedback is scored; no other loss looks at them.
        """
        digest = hashlib.blake2b(digest_size=16)
        for row in flatten(self.examples):
            digest.update(row.key)
            digest.update(f"{row.desirable} {row.weight!r}".encode())
            if self.kind == "scored":
                digest.update(f" {row.score!r}".encode())
            if row.sampled_logps is not None:
                digest.update(row.sampled_logps.tobytes())
        return digest.hexdigest()

    def class_counts(self) -> tuple[int, int]:
        """Desirable and undesirable rows; where feedback is scored, the best of each prompt and the others."""
        desirable = sum(row.desirable for row in flatten(self.examples))
        return desirable, sum(map(len, self.examples)) - desirable

    def summary_of(self, **more: Any) -> DataSummary:
        """Return the summary: what data of every medium say, and `more` of this one."""
        desirable, undesirable = self.class_counts()
        return DataSummary(
            source=self.source,
            sha256=self.digest,
            kind=self.kind,
            rows=len(self.examples),
            prompts=len({row.prompt_key for row in flatten(self.examples)}),
            desirable=desirable,
            undesirable=undesirable if self.kind != "demonstration" else None,
            ignored=list(self.ignored),
            **more,
        )

    def summary(self) -> DataSummary:
        """Return what provenance.json and the report say about the data; lengths are in tokens."""
        rows = flatten(self.examples)
        lengths = {
            name: np.array([len(row.completion_ids) for row in rows if row.desirable is label])
            for name, label in (("desirable", True), ("undesirable", False))
        }
        lengths = {name: values for name, values in lengths.items() if len(values)}
        return self.summary_of(
            prompt_tokens=describe_lengths(np.array([len(row.prompt_ids) for row in rows])),
            completion_tokens={name: describe_lengths(values) for name, values in lengths.items()},
            completion_histogram=_histogram(lengths),
            tokens=int(sum(row.length for row in rows)),
            cut=self.cut,
            empty_completions=sum(_is_empty(record) for record in self.records),
            dropped=self.dropped,
            unrenderable={
                reason: LeftOut(rows=len(places), first=places[:PLACES_SHOWN])
                for reason, places in self.unrenderable.items()
            },
            plain=self.plain,
        )


Encode = Callable[[Sequence[Feedback], Kind, Any, DataSettings, str], Dataset]
"""Makes a dataset of records: their kind, an encoder, the recipe's data section, and where they were read."""


def load_datasets(
    settings: DataSettings, kind: Kind, encoder: Any, seed: int, method: str, encode: Encode | None = None
) -> tuple[Dataset, Dataset | None]:
    """Read, convert, split and encode the feedback of a recipe.

    Args:
        settings: the recipe's data section.
        kind: what the loss learns from.
        encoder: of the policy's tokenizer, or what `encode` takes.
        seed: of the split.
        method: who needs it, for messages.
        encode: makes examples of records; `encode_records` by default, which is for texts.

    Returns:
        Training and held-out data; the second is None where nothing is held out.

    Raises:
        DataError: whatever is wrong with the files or a row of them.
    """
    ignored: Counter[Ignored] = Counter()
    records = load_feedback(settings.train, label_map=settings.label_map, ignored=ignored)
    train_source = _name(settings.train)
    split_off: Sequence[Feedback] = []
    if isinstance(settings.eval, (int, float)):
        records, split_off = split_by_prompt(records, _share(settings.eval), seed=seed)
    encode = encode or encode_records
    train = encode(as_kind(records, kind, method=method), kind, encoder, settings, train_source)
    train = replace(train, ignored=tuple(describe_ignored(*key, rows) for key, rows in ignored.items()))
    if not isinstance(settings.eval, (int, float)):
        return train, load_held_out(settings, kind, encoder, method, encode)
    if not split_off:
        return train, None
    try:
        converted = as_kind(split_off, kind, method=method)
    except DataError:
        return train, None  # a small split by chance without what the loss needs is no reason to stop
    return train, encode(converted, kind, encoder, settings, f"{train_source} (held out by prompt)")


def load_held_out(
    settings: DataSettings, kind: Kind, encoder: Any, method: str, encode: Encode | None = None
) -> Dataset | None:
    """Read the files that a recipe names for evaluation; arguments and refusals are those of `load_datasets`."""
    if settings.eval is None or isinstance(settings.eval, (int, float)):
        return None
    records = load_feedback(settings.eval, label_map=settings.label_map)
    if not records:
        return None
    encode = encode or encode_records
    return encode(as_kind(records, kind, method=method), kind, encoder, settings, _name(settings.eval))


def encode_records(
    records: Sequence[Feedback], kind: Kind, encoder: Encoder, settings: DataSettings, source: str
) -> Dataset:
    """Render every record; see `Encoder.encode` for what is refused."""
    examples: list[Example] = []
    kept: list[Feedback] = []
    cut = dropped = 0
    unrenderable: dict[str, list[str]] = {}
    for record in progress.counted(records, "rows encoded", len(records)):
        try:
            encoded = [encode_side(record, side, encoder) for side in sides(record)]
        except PromptTooLongError:
            if settings.overlong_prompts == "error":
                raise
            dropped += 1
            continue
        except UnrenderableError as error:
            if encoder.renderer.settings.unrenderable == "refuse":
                raise
            unrenderable.setdefault(error.reason, []).append(record.where)
            continue
        examples.append(tuple(row for row, _ in encoded))
        kept.append(record)
        cut += sum(was_cut for _, was_cut in encoded)
    if not examples:
        raise DataError(f"{source}: no row is left to train on; {_why_none(dropped, unrenderable)}.")
    plain = sum(not encoder.renderer.is_chat(record.prompt, sides(record)[0].text) for record in kept)
    return Dataset(examples, kind, source, kept, cut, dropped, unrenderable=unrenderable, plain=plain)


def _why_none(dropped: int, unrenderable: Mapping[str, Sequence[str]]) -> str:
    counts = {"had prompts longer than data.max_length allows": dropped}
    counts |= {f"could not be rendered ({reason})": len(places) for reason, places in unrenderable.items()}
    return ", ".join(f"{count} {why}" for why, count in counts.items() if count) or "there was none"


def sides(record: Feedback) -> list[Side]:
    """Return the completions of a record of texts with their verdicts; see `answers`."""
    return [Side(text_of(one.completion, record.where), one.desirable, one.score) for one in answers(record)]


def answers(record: Feedback) -> list[Answer]:
    """Return the completions of a record with their verdicts: one, a pair's two (chosen first), or K scored ones.

    Of scored completions, desirable are those with the highest score: more than one where it was given twice.
    """
    match record:
        case Paired():
            return [Answer(record.chosen, True), Answer(record.rejected, False)]
        case Unpaired():
            return [Answer(record.completion, record.desirable)]
        case Demonstration():
            return [Answer(record.completion, True)]
        case Scored(completions=completions, scores=scores):
            top = max(scores)
            return [Answer(one, score == top, score) for one, score in zip(completions, scores, strict=True)]
    raise TypeError(f"not a feedback record: {record!r}")


def encode_side(record: Feedback, side: Side, encoder: Encoder) -> tuple[Row, bool]:
    """Encode one completion of a record, and return whether it was truncated."""
    encoded = encoder.encode(
        record.prompt,
        side.text,
        finished=record.finished,
        desirable=side.desirable,
        tools=record.tools,
        where=record.where,
    )
    row = row_from_ids(
        encoded.prompt_ids,
        encoded.completion_ids,
        prompt_key=prompt_key(record.prompt),
        id=record.id,
        desirable=side.desirable,
        weight=record.weight,
        score=side.score,
    )
    return row, encoded.cut


def require_both_classes(dataset: Dataset, allow_one_class: bool) -> None:
    """Refuse thumbs of one kind alone: a loss on thumbs has nothing to compare them with.

    Raises:
        DataError: with what to do instead.
    """
    desirable, undesirable = dataset.class_counts()
    if allow_one_class or dataset.kind != "unpaired" or (desirable and undesirable):
        return
    found, missing, advice = (
        ("desirable", "undesirable", "train on them with `prospect train sft`, ")
        if desirable
        else ("undesirable", "desirable", "")
    )
    raise DataError(
        f"{dataset.source}: all {len(dataset.examples)} rows are {found} and none is {missing}; such a loss "
        f"learns from both. Collect {missing} feedback, {advice}or set data.allow_one_class: true if you "
        "mean it."
    )


def require_sampled_logps(rows: Sequence[Row], method: str) -> None:
    """Refuse rows of which nobody knows how probable each token was when it was sampled.

    Args:
        rows: of the feedback.
        method: who needs it, for messages.

    Raises:
        DataError: naming the first such row.
    """
    without = [row for row in rows if row.sampled_logps is None]
    if without:
        raise DataError(
            f"row {without[0].id}: {method} needs the log-prob that each token had when it was sampled "
            f"(sampled_logps), and {len(without)} of {len(rows)} rows have none. Feedback files hold text alone: train "
            "on rows of sampled token ids from Python (prospect.data.batch.row_from_ids), or choose another loss."
        )


def longest_example(dataset: Dataset) -> tuple[int, Example]:
    """Return the example that takes most tokens at once, padding included, and how many."""
    sizes = [padded([example]) for example in dataset.examples]
    size = max(sizes)
    return size, dataset.examples[sizes.index(size)]


def require_fitting_rows(dataset: Dataset, max_tokens: int) -> None:
    """Refuse, before the first step, an example that does not fit the token budget of a micro-batch.

    Raises:
        ConfigError: naming the longest row and the budget it needs.
    """
    size, example = longest_example(dataset)
    if size > max_tokens:
        raise ConfigError(
            f"{dataset.source}: row {example[0].id} needs {size} tokens at once and "
            f"train.max_tokens_per_micro_batch is {max_tokens}. Raise it to {size} or more, or lower "
            "data.max_length."
        )


def _share(value: int | float) -> int | float:
    if 0 < value < 1:
        return float(value)
    if 1 <= value < float("inf") and value == int(value):
        return int(value)
    raise ConfigError(
        f"data.eval is {value}; expected a share between 0 and 1, a whole number of prompts, a path, or null."
    )


def _name(source: Any) -> str:
    return source if isinstance(source, str) else ", ".join(map(str, source))


def _is_empty(record: Feedback) -> bool:
    def empty(text: Text) -> bool:
        return not text if isinstance(text, str) else not any(message.content for message in text)

    return any(empty(side.text) for side in sides(record))


def describe_lengths(values: np.ndarray) -> Lengths:
    """Return mean, median, 90th percentile and maximum of lengths."""
    p50, p90 = np.percentile(values, [50, 90])
    return Lengths(mean=round(float(values.mean()), 2), p50=float(p50), p90=float(p90), max=int(values.max()))


def _histogram(lengths: Mapping[str, np.ndarray]) -> LengthHistogram:
    top = max(int(values.max()) for values in lengths.values())
    edges = np.unique(np.linspace(0, top + 1, HISTOGRAM_BINS + 1).round().astype(int))
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in lengths.items()}
    return LengthHistogram(edges=edges.tolist(), **counts)
