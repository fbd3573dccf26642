"""The rows of a source as another kind, one after the other; what has to wait for its prompt is remembered by place.

The rows are those of the functions on lists, and made by the same functions on one row or one prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from prospect.errors import DataError
from prospect.feedback.convert.balance import ClassCounts
from prospect.feedback.convert.kinds import nothing_to_imitate, wanting
from prospect.feedback.convert.pairing import Pairing, Unpairable, is_tied, no_pairs, pairs_of_scored, pairs_of_thumbs
from prospect.feedback.convert.scored import Unscorable, nothing_scored, ranking, scored_group, scored_pair
from prospect.feedback.convert.thresholds import Labeller, Threshold
from prospect.feedback.convert.verdicts import demonstration_of, unpaired_of
from prospect.feedback.files.rowstore import Remembered, RowStore, group_keys
from prospect.feedback.files.sources import Source, iter_feedback, iter_scores
from prospect.feedback.records import Demonstration, Feedback, Kind, Paired, Scored, Unpaired
from prospect.feedback.split import group_key

Made = TypeVar("Made")


class LeftOut(NamedTuple):
    """Rows that are not in the output, and why.

    Attributes:
        reason: a word for programs.
        rows: how many.
        message: the same for people.
    """

    reason: str
    rows: int
    message: str


@dataclass
class Tally:
    """What went in and came out.

    Attributes:
        kind: of the rows written.
        rows_in: kind -> rows read.
        rows_out: rows written.
        classes: how many of them are desirable and undesirable, where they are unpaired.
        left_out: what is not among them.
        relabelled: rows whose own label said the opposite of what the threshold says.
    """

    kind: Kind
    rows_in: Counter[str] = field(default_factory=Counter)
    rows_out: int = 0
    classes: ClassCounts | None = None
    left_out: list[LeftOut] = field(default_factory=list)
    relabelled: int = 0

    def leave_out(self, reason: str, rows: int, message: object) -> None:
        """Add a reason, if any row was left out for it."""
        if rows:
            self.left_out.append(LeftOut(reason, rows, str(message)))

    def read(self, rows: Iterable[Feedback]) -> Iterator[Feedback]:
        """Yield the rows, counted."""
        kinds = self.rows_in
        for row in rows:
            kinds[row.kind] += 1
            yield row


@dataclass(frozen=True)
class Streams:
    """A source, and what is to be said about it.

    Attributes:
        source: as in `load_feedback`.
        label_map: as in `load_feedback`.
        tally: where rows are counted.
        method: who needs the kind, for messages.
        folder: where temporary files go.
    """

    source: Source
    label_map: Mapping[Any, bool] | None
    tally: Tally
    method: str
    folder: Path

    def unpaired(self, threshold: Threshold | None) -> Iterator[Unpaired]:
        """Yield the rows of `to_unpaired`, or of `to_unpaired_by_score`."""
        if threshold is not None:
            yield from self._labelled(threshold)
            return
        for row in self._rows():
            if isinstance(row, Unpaired):
                yield row
            else:
                yield from self._needed(unpaired_of, row)

    def demonstrations(self, threshold: Threshold | None) -> Iterator[Demonstration]:
        """Yield the rows of `to_demonstrations`; with a threshold, of every completion that it makes desirable."""
        left_out = made = 0
        for row in self._rows() if threshold is None else self._labelled(threshold):
            shown = demonstration_of(row)
            if shown is None:
                left_out += 1
            else:
                made += 1
                yield shown
        if not made:
            raise wanting(self.tally.kind, self.method, nothing_to_imitate())
        self.tally.leave_out("undesirable", left_out, f"{left_out} rows are undesirable and are left out")

    def paired(self, pairing: Pairing, seed: int) -> Iterator[Paired]:
        """Yield the rows of `to_paired`: pairs and those of scored rows in their order, then prompt by prompt."""
        keys, labels, made, tied = bytearray(), bytearray(), 0, _Group()
        with RowStore(self.source, self.label_map, self.folder) as store:
            for row in self.tally.read(store):
                if isinstance(row, Paired):
                    made += 1
                    yield row
                elif isinstance(row, Scored):
                    if is_tied(row):
                        tied.add(row)
                    for pair in pairs_of_scored(row, pairing, seed):
                        made += 1
                        yield pair
                else:
                    (thumb,) = self._needed(unpaired_of, row)
                    keys += group_key(thumb)
                    labels.append(thumb.desirable)
                    store.remember()
            groups = _Groups(keys, labels)
            for good, bad in groups:
                for pair in pairs_of_thumbs(Remembered(store, good), Remembered(store, bad), pairing, seed):
                    made += 1
                    yield pair
            store.check_unchanged()
        if not made:
            scored = self.tally.rows_in["scored"] > 0
            counts = None if scored else ClassCounts(sum(labels), len(labels) - sum(labels))
            raise wanting("paired", self.method, no_pairs(sum(self.tally.rows_in.values()), counts))
        left_out = Unpairable(groups.rows_of_one_label + tied.rows, groups.prompts_of_one_label + len(tied.keys))
        self.tally.leave_out("unpairable", left_out.rows, left_out)

    def scored(self) -> Iterator[Scored]:
        """Yield the rows of `to_scored`: scored rows and pairs in their order, then prompt by prompt."""
        keys, made, rows, prompts = bytearray(), 0, 0, 0
        with RowStore(self.source, self.label_map, self.folder) as store:
            for row in self.tally.read(store):
                if isinstance(row, Scored | Paired):
                    made += 1
                    yield scored_pair(row) if isinstance(row, Paired) else row
                else:
                    keys += group_key(row)
                    store.remember()
            for group in _Groups(keys, None):
                members: Any = [store[n] for n in group] if len(group) > 1 else []
                if scores := ranking(members):
                    made += 1
                    yield scored_group(members, scores)
                else:
                    rows, prompts = rows + len(group), prompts + 1
            store.check_unchanged()
        if not made:
            raise wanting("scored", self.method, nothing_scored(sum(self.tally.rows_in.values())))
        self.tally.leave_out("unscorable", rows, Unscorable(rows, prompts))

    def _rows(self) -> Iterator[Feedback]:
        return self.tally.read(iter_feedback(self.source, label_map=self.label_map))

    def _labelled(self, threshold: Threshold) -> Iterator[Unpaired]:
        labeller = Labeller(threshold)
        if labeller.needs_all_scores:
            if labeller.needs_prompts:
                for row in iter_feedback(self.source, label_map=self.label_map):
                    self._needed(labeller.see, row)
            else:
                for scores in iter_scores(self.source):
                    labeller.see_scores(scores)
        for row in self._rows():
            yield from self._needed(labeller.label, row)
        labeller.finish()
        missing, undecided = labeller.without_score, labeller.undecided
        self.tally.relabelled = labeller.relabelled
        self.tally.leave_out("no_score", missing, f"{missing} rows have no score and are left out")
        message = f"{undecided} completions whose prompt has only one score are left out"
        self.tally.leave_out("only_score", undecided, message)

    def _needed(self, make: Callable[[Feedback], Made], row: Feedback) -> Made:
        try:
            return make(row)
        except DataError as error:
            raise wanting(self.tally.kind, self.method, error) from error


class _Group:
    """Rows that are counted, and their prompts."""

    def __init__(self) -> None:
        self.rows, self.keys = 0, set[bytes]()

    def add(self, row: Feedback) -> None:
        self.rows += 1
        self.keys.add(group_key(row))


class _Groups:
    """The row numbers of each prompt, in order of first appearance.

    With labels: of the prompts that have both, the desirable rows and the others; the rest is counted.
    """

    def __init__(self, keys: bytearray, labels: bytearray | None):
        self._order, self._starts = group_keys(keys)
        self._labels = labels
        self.rows_of_one_label = self.prompts_of_one_label = 0

    def __iter__(self) -> Iterator[Any]:
        if self._labels is None:
            starts = self._starts.tolist()
            yield from (self._order[a:b].tolist() for a, b in pairwise(starts))
        elif self._labels:
            yield from self._mixed(self._labels)

    def _mixed(self, labels: bytearray) -> Iterator[tuple[list[int], list[int]]]:
        import numpy as np

        ordered = np.frombuffer(bytes(labels), dtype=np.uint8)[self._order]
        sizes = np.diff(self._starts)
        desirable = np.add.reduceat(ordered, self._starts[:-1], dtype=np.int64)
        mixed = (desirable > 0) & (desirable < sizes)
        self.rows_of_one_label, self.prompts_of_one_label = int(sizes[~mixed].sum()), int((~mixed).sum())
        for group in np.flatnonzero(mixed):
            place = slice(self._starts[group], self._starts[group + 1])
            members, good = self._order[place], ordered[place] == 1
            yield members[good].tolist(), members[~good].tolist()
