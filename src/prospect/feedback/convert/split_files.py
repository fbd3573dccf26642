"""Rows held out for evaluation, from file to file: by prompt or by time, and no prompt on both sides.

Legend: N rows.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from prospect.errors import ConfigError, DataError
from prospect.feedback.convert.maker import LeftOut
from prospect.feedback.files.linespool import LineSpool
from prospect.feedback.files.rows import RowParser
from prospect.feedback.files.shared_prompts import Openings, without_answer
from prospect.feedback.files.sources import Source, find_places, iter_place
from prospect.feedback.files.write import encoded, jsonl_file
from prospect.feedback.records import Feedback, Paired
from prospect.feedback.split import group_keys, number_held_out, prompt_digest, prompt_rank

_NEITHER, _TRAIN, _EVAL = 0, 1, 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SplitTally:
    """What went where.

    Attributes:
        rows_in: rows read.
        train: rows to train on.
        held_out: rows to evaluate on.
        prompts: distinct prompts of (train, held_out).
        since: the time from which rows are held out, of a split by time.
        left_out: rows on neither side.
        implicit: pairs without a column prompt, whose prompt is what both sides begin with.
        put_together: how many of them were put with a shorter prompt that theirs goes on from.
    """

    rows_in: int
    train: int
    held_out: int
    prompts: tuple[int, int]
    since: datetime | None
    left_out: tuple[LeftOut, ...]
    implicit: int
    put_together: int


def split_files(
    source: Source,
    train: str | Path,
    held_out: str | Path,
    *,
    share: float | int = 0.1,
    since: datetime | float | None = None,
    seed: int = 0,
    label_map: Mapping[Any, bool] | None = None,
) -> SplitTally:
    """Write the rows to train on and the rows to evaluate on; no prompt is on both sides.

    By prompt, the same prompts are held out as by `split_by_prompt`. By time, rows given at `since` or later are held
    out; of those, the ones whose prompt occurs before it are left out, for the model has been trained on that prompt,
    and the training rows stay whole. Rows without a time are left out too: nobody knows on which side they belong.

    Of pairs without a column prompt, the prompt is what both sides begin with, so words that both answers share count
    as the prompt's, and rows of one prompt may look like rows of two. So such a prompt counts as the shortest other
    one that it goes on from, and a transcript's ends with its last "Assistant:".

    Args:
        source: as in `load_feedback`.
        train: the .jsonl file to write the rows to train on to.
        held_out: the .jsonl file to write the rows to evaluate on to.
        share: a float is the share of prompts to hold out, an int their number.
        since: a time splits by time; a float, the share of rows with a time to hold out, the latest ones, where rows
            of the same time stay together.
        seed: another seed holds out other prompts.
        label_map: as in `load_feedback`.

    Refuses a side without rows, and two names of one file.
    """
    paths = Path(train), Path(held_out)
    if paths[0].resolve() == paths[1].resolve():
        raise ConfigError(f"{paths[0]}: both sides cannot go to one file. Name two")
    with ExitStack() as stack:
        files = [stack.enter_context(jsonl_file(path)) for path in paths]
        spool = stack.enter_context(LineSpool(paths[0].parent))
        rows = _Rows(spool)
        rows.read(_located(source, label_map), paths[0])
        put_together = rows.join_openings()
        groups = group_keys(rows.keys)
        cut, left_out = None, list[LeftOut]()
        if since is None:
            side_of = _by_prompt(rows, groups, share, seed)
        else:
            side_of, cut, left_out = _by_time(rows, groups, since)
        in_train, in_eval = spool.copy(side_of, files)
        _refuse_empty(in_train, in_eval, cut, left_out)
    prompts = _prompts(groups, side_of)
    return SplitTally(len(side_of), in_train, in_eval, prompts, cut, tuple(left_out), rows.implicit_rows, put_together)


def _located(source: Source, label_map: Mapping[Any, bool] | None) -> Iterator[tuple[Feedback, bool]]:
    """Yield every row, and whether it is a pair of strings without a prompt of its own."""
    for place in find_places(source):
        parser = RowParser(label_map, place=place)
        for row in iter_place(place, parser):
            yield row, parser.prompt_is_implicit and isinstance(row.prompt, str)


class _Rows:
    """What a split has to know of every row, its text put aside."""

    def __init__(self, spool: LineSpool):
        self._spool = spool
        self.keys, self.times = bytearray(), array("d")
        self._implicit = bytearray()
        self._openings = Openings()

    @property
    def implicit_rows(self) -> int:
        return sum(self._implicit)

    def read(self, rows: Iterable[tuple[Feedback, bool]], path: Path) -> None:
        for line in encoded(self._noted(rows), path):
            self._spool.add(line)

    def _noted(self, rows: Iterable[tuple[Feedback, bool]]) -> Iterator[Feedback]:
        for row, implicit in rows:
            prompt = row.prompt
            if implicit and isinstance(row, Paired):
                prompt = without_answer(str(prompt))
                self._openings.add(prompt)
            self._implicit.append(implicit)
            self.keys += prompt_digest(prompt)
            self.times.append(float("nan") if row.time is None else (row.time - _EPOCH).total_seconds())
            yield row

    def join_openings(self) -> int:
        """Give every implicit prompt the key of the shortest one that it goes on from; return for how many rows."""
        joined = 0
        if any(self._implicit):
            size = len(prompt_digest(""))
            for number, line in enumerate(self._spool):
                if self._implicit[number]:
                    prompt = without_answer(orjson_or_json(line)["prompt"])
                    root = self._openings.shortest(prompt)
                    joined += root != prompt
                    self.keys[number * size : (number + 1) * size] = prompt_digest(root)
        return joined


def orjson_or_json(line: bytes) -> Any:
    """Return the object on a line that was written here."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)


def _by_prompt(rows: _Rows, groups: Any, share: float | int, seed: int) -> bytes:
    """Return the side of each row, as `split_by_prompt` decides it."""
    import numpy as np

    order, starts = groups
    size = len(rows.keys) // max(len(order), 1)
    firsts = order[starts[:-1]].tolist()
    count = number_held_out(share, len(firsts))
    ranks = b"".join(prompt_rank(bytes(rows.keys[n * size : (n + 1) * size]).hex(), seed) for n in firsts)
    halves = np.frombuffer(ranks, dtype=">u8").reshape(-1, 2)
    held = np.zeros(len(firsts), dtype=bool)
    held[np.lexsort((halves[:, 1], halves[:, 0]))[:count]] = True
    return _of_rows(np.where(held, _EVAL, _TRAIN), groups)


def _by_time(rows: _Rows, groups: Any, since: datetime | float) -> tuple[bytes, datetime, list[LeftOut]]:
    import numpy as np

    times = np.frombuffer(rows.times, dtype=np.float64)
    known = ~np.isnan(times)
    if not known.any():
        raise DataError(
            f"not one of {len(times)} rows has a time that can be read; expected the column time (ISO 8601, or seconds "
            "since 1970). Split by prompt instead"
        )
    cut = _cut(np.sort(times[known]), since)
    late, early = known & (times >= cut), known & (times < cut)
    order, starts = groups
    trained_on = np.maximum.reduceat(early[order].astype(np.uint8), starts[:-1])
    leaked = late & (np.frombuffer(_of_rows(trained_on, groups), dtype=np.uint8) == 1)
    sides = np.zeros(len(times), dtype=np.uint8)
    sides[early], sides[late & ~leaked] = _TRAIN, _EVAL
    no_time, leaks = int((~known).sum()), int(leaked.sum())
    left_out = [
        LeftOut("no_time", no_time, f"{no_time} rows have no time and are left out of both files"),
        LeftOut(
            "prompt_in_train",
            leaks,
            f"{leaks} rows are late enough to evaluate on, but their prompt is trained on; left out of both files",
        ),
    ]
    moment = since if isinstance(since, datetime) else datetime.fromtimestamp(cut, UTC)
    return sides.tobytes(), moment, [reason for reason in left_out if reason.rows]


def _cut(times: Any, since: datetime | float) -> float:
    """Return the time, in seconds since 1970, from which rows are held out; `times` are sorted."""
    if isinstance(since, datetime):
        return (since - _EPOCH).total_seconds()
    if not 0 < since < 1:
        raise DataError(f"the share to hold out by time is {since}; expected a number between 0 and 1, or a date")
    return float(times[len(times) - max(1, round(since * len(times)))])


def _of_rows(values: Any, groups: Any) -> bytes:
    """Spread one small number for each prompt over its rows."""
    import numpy as np

    order, starts = groups
    spread = np.empty(len(order), dtype=np.uint8)
    spread[order] = np.repeat(values, np.diff(starts))
    return spread.tobytes()


def _prompts(groups: Any, side_of: bytes) -> tuple[int, int]:
    import numpy as np

    order, starts = groups
    sides = np.frombuffer(side_of, dtype=np.uint8)[order]
    highest = np.maximum.reduceat(sides, starts[:-1])
    in_train = int(np.maximum.reduceat((sides == _TRAIN).astype(np.uint8), starts[:-1]).sum())
    return in_train, int((highest == _EVAL).sum())


def _refuse_empty(in_train: int, in_eval: int, cut: datetime | None, left_out: list[LeftOut]) -> None:
    if in_train and in_eval:
        return
    side = "evaluate on" if in_train else "train on"
    why = "; ".join(reason.message for reason in left_out)
    at = "" if cut is None else f" with the cut at {cut.isoformat()}"
    raise DataError(
        f"no row is left to {side}{at}{f' ({why})' if why else ''}; expected some on both sides. "
        + ("Hold out another share" if cut is None else "Take another time")
    )
