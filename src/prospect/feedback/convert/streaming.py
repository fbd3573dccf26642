"""One kind of feedback into another, from file to file, however large the files are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from prospect.errors import ConfigError, DataError
from prospect.feedback.convert.balance import ClassCounts
from prospect.feedback.convert.kinds import wanting
from prospect.feedback.convert.maker import LeftOut, Maker, UnconvertibleError
from prospect.feedback.convert.pairing import Pairing, Pairs, check_pairing
from prospect.feedback.convert.scored import Groups
from prospect.feedback.convert.subsample import EVERYTHING, ClassShares, InShares, LowestOfPrompt, check_shares
from prospect.feedback.convert.thresholds import ByScore, Threshold
from prospect.feedback.convert.verdicts import Demonstrations, Verdicts
from prospect.feedback.files.linespool import LineSpool
from prospect.feedback.files.rowstore import Rows, RowStore
from prospect.feedback.files.sources import Source
from prospect.feedback.files.write import encode, jsonl_file, nothing_to_write
from prospect.feedback.records import Feedback, Kind

_AT_ONCE = 200  # lines written together


@dataclass(frozen=True)
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
    rows_in: Mapping[str, int]
    rows_out: int
    classes: ClassCounts | None
    left_out: list[LeftOut]
    relabelled: int


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is to become of the rows.

    Attributes:
        to: the kind to write.
        pairing: how pairs are made, where `to` is paired; see `prospect.feedback.convert.pairing.to_paired`.
        threshold: how scores become labels, where `to` is unpaired or demonstration.
        one_per_prompt: keep one of the rows made of each prompt; see `prospect.feedback.convert.subsample`.
        shares: which share of each class to keep, where `to` is unpaired; taken after `one_per_prompt`, so that a
            smaller share is a part of a larger one.
        seed: of everything that is drawn, but for the threshold, which has its own.
    """

    to: Kind
    pairing: Pairing = "cycle"
    threshold: Threshold | None = None
    one_per_prompt: bool = False
    shares: ClassShares = EVERYTHING
    seed: int = 0

    def __post_init__(self) -> None:
        check_pairing(self.pairing)
        check_shares(self.shares)
        if self.pairing != "cycle" and self.to != "paired":
            raise ConfigError(f"how to make pairs ({self.pairing}) means nothing where {self.to} rows are written")
        if self.threshold is not None and self.to not in ("unpaired", "demonstration"):
            raise ConfigError(f"a threshold makes labels, but {self.to} rows are written, by their scores")
        if self.shares != EVERYTHING and self.to != "unpaired":
            raise ConfigError(f"a share of a class can be kept of unpaired rows, but {self.to} rows are written")


def convert_files(
    source: Source,
    output: str | Path,
    conversion: Conversion,
    *,
    label_map: Mapping[Any, bool] | None = None,
    method: str | None = None,
) -> Tally:
    """Write a source's rows as another kind, and return the counts.

    The rows are those of `to_unpaired`, `to_paired`, `to_demonstrations`, `to_scored` and `to_unpaired_by_score`.
    Memory is bounded: of every row that is needed again some bytes are held (its place, a hash of its prompt, its
    score), and of one prompt at most some thousand rows. What has to fit is any one row, a scored one with all its
    completions too, and a file that is one JSON list. Rows that are made prompt by prompt come after those that are
    pairs or scored already.

    Args:
        source: as in `load_feedback`.
        output: a .jsonl file; it appears whole or not at all.
        conversion: what to do.
        label_map: as in `load_feedback`.
        method: who needs that kind, for messages.

    Refuses what the functions above refuse, and files that are written to meanwhile.
    """
    path = Path(output)
    left_out: list[LeftOut] = []
    with RowStore(source, label_map, path.parent) as rows, jsonl_file(path) as file:
        makers = _makers(rows, conversion)
        made, shares = makers[-1], InShares(makers[-1], conversion.shares, conversion.seed)
        if conversion.one_per_prompt:
            lines = _lowest_lines(made, shares, conversion, path.parent, left_out)
        else:
            folder = path.parent
            lines = (encode(row, folder) for row in (shares if conversion.to == "unpaired" else made))
        try:
            written = _write(lines, file)
            left_out[:0] = [left for maker in makers for left in maker.finish()]
        except UnconvertibleError as error:
            raise wanting(conversion.to, method or f"--to {conversion.to}", error) from error
        left_out = [left for left in (*left_out, *shares.finish()) if left.rows]
        if not written:
            raise _why_empty(path, left_out)
    return Tally(
        kind=conversion.to,
        rows_in=rows.kinds,
        rows_out=written,
        classes=shares.kept if conversion.to == "unpaired" else None,
        left_out=left_out,
        relabelled=sum(maker.relabelled for maker in makers if isinstance(maker, ByScore)),
    )


def _makers(rows: Rows, conversion: Conversion) -> list[Maker[Any]]:
    """Return what makes the rows; the second of two takes those of the first."""
    if conversion.to == "paired":
        return [Pairs(rows, conversion.pairing, conversion.seed)]
    if conversion.to == "scored":
        return [Groups(rows)]
    labelled = [] if conversion.threshold is None else [ByScore(rows, conversion.threshold)]
    if conversion.to == "demonstration":
        return [*labelled, Demonstrations(labelled[0] if labelled else rows)]
    return [*labelled] or [Verdicts(rows)]


def _lowest_lines(
    made: Iterable[Feedback], shares: InShares, conversion: Conversion, folder: Path, left_out: list[LeftOut]
) -> Iterator[bytes]:
    """Yield the lines of the rows that `one_per_prompt` keeps and that are in the shares, and count the others."""
    lowest, marks = LowestOfPrompt(conversion.seed), bytearray()
    with LineSpool(folder) as spool:
        for row in made:
            lowest.add(row)
            marks.append(shares.mark(row))
            spool.add(encode(row, folder))
        found = lowest.found()
        for line, is_lowest, mark in zip(spool, found, marks, strict=True):
            if is_lowest and shares.count(mark):
                yield line
    others = len(found) - sum(found)
    message = f"{others} rows are left out because another row of their prompt is kept"
    left_out.append(LeftOut("one_per_prompt", others, message))


def _write(lines: Iterator[bytes], file: BinaryIO) -> int:
    """Write the lines and return how many there were."""
    written = 0
    while some := list(islice(lines, _AT_ONCE)):
        file.write(b"".join(some))
        written += len(some)
    return written


def _why_empty(path: Path, left_out: list[LeftOut]) -> DataError:
    reasons = "; ".join(left.message for left in left_out)
    if not reasons:
        return nothing_to_write(path)
    return DataError(f"{path}: no row is left to write: {reasons}. Leave out less, or bring more rows")
