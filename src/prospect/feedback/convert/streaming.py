"""One kind of feedback into another, from file to file, however large the files are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from prospect.errors import ConfigError, DataError
from prospect.feedback.convert.balance import ClassCounts
from prospect.feedback.convert.pairing import Pairing, check_pairing
from prospect.feedback.convert.streams import Streams, Tally
from prospect.feedback.convert.subsample import ClassShares, check_shares, content_rank, in_share, row_content
from prospect.feedback.convert.thresholds import Threshold
from prospect.feedback.files.linespool import LineSpool
from prospect.feedback.files.rowstore import KEY_SIZE, group_keys
from prospect.feedback.files.sources import Source
from prospect.feedback.files.write import encoded, jsonl_file, nothing_to_write
from prospect.feedback.records import Feedback, Kind, Unpaired
from prospect.feedback.split import group_key

EVERYTHING = ClassShares()
_AT_ONCE = 200  # lines written together


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
    tally = Tally(conversion.to)
    made = _made(Streams(source, label_map, tally, method or f"--to {conversion.to}", path.parent), conversion)
    with jsonl_file(path) as file:
        lines = (_one_per_prompt if conversion.one_per_prompt else _in_share)(made, path, conversion, tally)
        while some := list(islice(lines, _AT_ONCE)):
            file.write(b"".join(some))
            tally.rows_out += len(some)
        if tally.rows_out == 0:
            raise _why_empty(path, tally)
    return tally


def _made(streams: Streams, conversion: Conversion) -> Iterator[Feedback]:
    if conversion.to == "unpaired":
        return streams.unpaired(conversion.threshold)
    if conversion.to == "demonstration":
        return streams.demonstrations(conversion.threshold)
    if conversion.to == "paired":
        return streams.paired(conversion.pairing, conversion.seed)
    return streams.scored()


def _in_share(made: Iterable[Feedback], path: Path, conversion: Conversion, tally: Tally) -> Iterator[bytes]:
    """Yield the lines of the rows that are kept, and count."""
    if conversion.to == "unpaired":
        counts = [[0, 0], [0, 0]]  # of undesirable and desirable rows: left out, kept
        yield from encoded(_kept(made, conversion, counts), path)
        _count_classes(counts, tally)
    else:
        yield from encoded(made, path)


def _kept(made: Iterable[Any], conversion: Conversion, counts: list[list[int]]) -> Iterator[Unpaired]:
    shares, seed = conversion.shares, conversion.seed
    for row in made:
        keep = shares is EVERYTHING or in_share(row, shares, seed)
        counts[row.desirable][keep] += 1
        if keep:
            yield row


def _count_classes(counts: list[list[int]], tally: Tally) -> None:
    (no_undesirable, undesirable), (no_desirable, desirable) = counts
    tally.classes = ClassCounts(desirable=desirable, undesirable=undesirable)
    for name, rows in (("desirable", no_desirable), ("undesirable", no_undesirable)):
        tally.leave_out(f"share_of_{name}", rows, f"{rows} {name} rows are not in the share to keep and are left out")


def _one_per_prompt(made: Iterable[Feedback], path: Path, conversion: Conversion, tally: Tally) -> Iterator[bytes]:
    """Yield the lines of the rows of lowest rank, as `one_per_prompt` does, that are in the shares as well."""
    keys, ranks, classes = bytearray(), array("Q"), bytearray()  # class: 1 desirable, 2 in the share to keep
    with LineSpool(path.parent) as spool:
        for line in encoded(_noted(made, conversion, keys, ranks, classes), path):
            spool.add(line)
        best = _lowest(keys, ranks)
        counts = [[0, 0], [0, 0]]
        for number, line in enumerate(spool):
            if best[number]:
                counts[classes[number] & 1][classes[number] >> 1] += 1
                if classes[number] & 2:
                    yield line
    left_out = len(best) - sum(best)
    if conversion.to == "unpaired":
        _count_classes(counts, tally)
    message = f"{left_out} rows are left out because another row of their prompt is kept"
    tally.leave_out("one_per_prompt", left_out, message)


def _noted(
    made: Iterable[Feedback], conversion: Conversion, keys: bytearray, ranks: array[int], classes: bytearray
) -> Iterator[Feedback]:
    shares, seed = conversion.shares, conversion.seed
    for row in made:
        content = row_content(row)
        keys += content[:KEY_SIZE] if row.tools is None else group_key(row)  # it begins with the prompt's digest
        ranks.append(content_rank(content, seed))
        if isinstance(row, Unpaired):
            keep = shares is EVERYTHING or in_share(row, shares, seed)
            classes.append(row.desirable + 2 * keep)
        else:
            classes.append(2)
        yield row


def _lowest(keys: bytearray, ranks: array[int]) -> bytes:
    """For each row whether it has the lowest rank of its prompt, and is the first that has it."""
    import numpy as np

    order, starts = group_keys(keys)
    best = np.zeros(len(order), dtype=np.uint8)
    if len(order):
        group = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        values = np.frombuffer(ranks, dtype=np.uint64)[order]
        best[order[np.lexsort((values, group))[starts[:-1]]]] = 1  # stable: the first of equal ranks
    return best.tobytes()


def _why_empty(path: Path, tally: Tally) -> DataError:
    reasons = "; ".join(left.message for left in tally.left_out)
    if not reasons:
        return nothing_to_write(path)
    return DataError(f"{path}: no row is left to write: {reasons}. Leave out less, or bring more rows")
