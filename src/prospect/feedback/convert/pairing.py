"""Pairs out of thumbs and out of scored completions, always within one prompt."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Literal, NamedTuple, get_args

from prospect.errors import ConfigError
from prospect.feedback.convert.balance import ClassCounts
from prospect.feedback.convert.maker import LeftOut, Maker, UnconvertibleError, made_by
from prospect.feedback.convert.subsample import content_rank, row_content, texts_content
from prospect.feedback.convert.verdicts import joined_fields, unpaired_of
from prospect.feedback.files.rowstore import Remembered, Rows
from prospect.feedback.images.cells import check_one_size
from prospect.feedback.records import Feedback, Paired, Scored, Unpaired, images_of, record
from prospect.feedback.split import group_key, group_keys

Pairing = Literal["cycle", "all", "best-worst", "one-per-prompt"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)


class Unpairable(NamedTuple):
    """The rows that pairing leaves out, because all completions of their prompt have the same label or score."""

    rows: int
    prompts: int

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.prompts} prompts have only one label or score and cannot be paired"


def to_paired(rows: Iterable[Feedback], *, pairing: Pairing = "cycle", seed: int = 0) -> list[Paired]:
    """Return pairs: of each prompt, desirable rows beside undesirable ones, or better completions beside worse ones.

    Of a prompt with n_D desirable and n_U undesirable rows:

    - `cycle`: max(n_D, n_U) pairs, cycling over the fewer, so that every row is used;
    - `all`: n_D n_U pairs, every desirable row beside every undesirable one;
    - `best-worst`: one pair, the desirable row with the highest score beside the undesirable one with the lowest; the
      first of a class where one of its rows has no score;
    - `one-per-prompt`: one pair, of a desirable and an undesirable row that are drawn.

    Of a scored row, `all` makes a pair of every two completions with different scores, `one-per-prompt` draws one of
    these pairs, and `cycle` and `best-worst` put the best completion beside the worst, the first of each where scores
    are equal. Pairs pass as they are. What is drawn depends on the texts and the seed, not on the order of rows.

    Rows with the same text but other tools are other prompts. A pair weighs as much as the lighter of its rows and is
    finished if both are; `joined_fields` says what it keeps of who judged it, when and why. Rows whose prompt has only
    one label, and scored rows with only one score, are left out; `count_unpairable` counts them.

    Refuses demonstrations, and rows that make no pair.
    """
    return made_by(Pairs(Rows(rows, first=("paired", "scored")), pairing, seed))


def count_unpairable(rows: Iterable[Feedback]) -> Unpairable:
    """Return how many rows, of how many prompts, `to_paired` leaves out."""
    pairs = Pairs(Rows(rows))
    deque(pairs, maxlen=0)
    return pairs.left_out


class Pairs(Maker[Paired]):
    """Makes the rows of `to_paired`: pairs and those of scored rows in their order, then prompt by prompt.

    Attributes:
        left_out: the rows that make no pair; complete after the iteration.
    """

    def __init__(self, rows: Rows, pairing: Pairing = "cycle", seed: int = 0) -> None:
        check_pairing(pairing)
        self._rows, self._pairing, self._seed = rows, pairing, seed
        self._labels = bytearray()
        self._made = 0
        self.left_out = Unpairable(0, 0)

    def __iter__(self) -> Iterator[Paired]:
        """Yield the pairs."""
        for pair in self._pairs():
            self._made += 1
            yield pair

    def finish(self) -> list[LeftOut]:
        """Return the rows that make no pair; refuse rows of which none makes one."""
        if not self._made:
            desirable, rows = sum(self._labels), sum(self._rows.kinds.values())
            scored = "scored" in self._rows.kinds
            raise _no_pairs(rows, None if scored else ClassCounts(desirable, len(self._labels) - desirable))
        return [LeftOut("unpairable", self.left_out.rows, str(self.left_out))]

    def _pairs(self) -> Iterator[Paired]:
        rows, pairing, seed, labels = self._rows, self._pairing, self._seed, self._labels
        keys, tied = bytearray(), list[bytes]()  # keys of thumbs, and of scored rows that make no pair
        for row in rows:
            if isinstance(row, Paired):
                yield row
            elif isinstance(row, Scored):
                if is_tied(row):
                    tied.append(group_key(row))
                yield from pairs_of_scored(row, pairing, seed)
            else:
                (thumb,) = unpaired_of(row)
                keys += group_key(thumb)
                labels.append(thumb.desirable)
                rows.remember(thumb)
        alone, prompts, groups = _groups(keys, labels)
        self.left_out = Unpairable(alone + len(tied), prompts + len(set(tied)))
        for good, bad in groups:
            yield from pairs_of_thumbs(Remembered(rows, good), Remembered(rows, bad), pairing, seed)
        rows.check_unchanged()


def _groups(keys: bytearray, labels: bytearray) -> tuple[int, int, Iterator[tuple[list[int], list[int]]]]:
    """Return the rows and the prompts that have only one label, and the (desirable, undesirable) rows of the others."""
    import numpy as np

    if not labels:
        return 0, 0, iter(())
    order, starts = group_keys(keys)
    ordered = np.frombuffer(bytes(labels), dtype=np.uint8)[order]
    sizes = np.diff(starts)
    desirable = np.add.reduceat(ordered, starts[:-1], dtype=np.int64)
    mixed = (desirable > 0) & (desirable < sizes)

    def sides() -> Iterator[tuple[list[int], list[int]]]:
        for group in np.flatnonzero(mixed):
            place = slice(starts[group], starts[group + 1])
            members, good = order[place], ordered[place] == 1
            yield members[good].tolist(), members[~good].tolist()

    return int(sizes[~mixed].sum()), int((~mixed).sum()), sides()


def pairs_of_thumbs(
    desirable: Sequence[Unpaired], undesirable: Sequence[Unpaired], pairing: Pairing, seed: int
) -> Iterator[Paired]:
    """Yield the pairs of one prompt's rows; see `to_paired`. None where a class is empty."""
    n_d, n_u = len(desirable), len(undesirable)
    if not n_d or not n_u:
        return
    if pairing == "all":
        for good in desirable:
            yield from (_pair(good, bad) for bad in undesirable)
    elif pairing == "cycle":
        yield from (_pair(desirable[i % n_d], undesirable[i % n_u]) for i in range(max(n_d, n_u)))
    elif pairing == "best-worst":
        yield _pair(_extreme(desirable, 1), _extreme(undesirable, -1))
    else:

        def rank(row: Unpaired) -> int:
            return content_rank(row_content(row), seed)

        yield _pair(min(desirable, key=rank), min(undesirable, key=rank))


def pairs_of_scored(row: Scored, pairing: Pairing, seed: int) -> Iterator[Paired]:
    """Yield the pairs of one scored row; see `to_paired`. None where all scores are equal."""
    if is_tied(row):
        return
    if pairing in ("cycle", "best-worst"):
        yield _pair_of_scored(row, row.best, row.worst, row.id)
        return
    places = range(len(row.scores))
    pairs = [(i, j) for i, j in product(places, places) if row.scores[i] > row.scores[j]]
    if pairing == "all":
        yield from (_pair_of_scored(row, i, j, f"{row.id}/{i}+{j}") for i, j in pairs)
        return

    def rank(pair: tuple[int, int]) -> int:
        return content_rank(texts_content(row.prompt, *(row.completions[i] for i in pair)), seed)

    yield _pair_of_scored(row, *min(pairs, key=rank), row.id)


def is_tied(row: Scored) -> bool:
    """Whether all completions of the row have the same score, so that none is better than another."""
    return len(set(row.scores)) == 1


def check_pairing(pairing: str) -> None:
    """Refuse a name that is no way to make pairs."""
    if pairing not in PAIRINGS:
        raise ConfigError(f"pairs are to be made by {pairing!r}; expected one of {', '.join(PAIRINGS)}")


def _no_pairs(rows: int, counts: ClassCounts | None) -> UnconvertibleError:
    """Return the refusal of rows that make no pair; `counts` is None where some of them are scored."""
    if counts is None:
        return UnconvertibleError(
            f"not one of the prompts of {rows} rows has a better and a worse completion, so no pair can be made. "
            "Score completions of one prompt with a scale fine enough to tell them apart"
        )
    return UnconvertibleError(
        f"not one of the prompts of {rows} rows has both labels ({counts.desirable} rows are "
        f"desirable, {counts.undesirable} are not), so no pair can be made. Train on them unpaired, with "
        "loss kto, or collect both verdicts on the same prompts"
    )


def _extreme(rows: Sequence[Unpaired], sign: int) -> Unpaired:
    """Return the row with the highest score (sign 1) or the lowest (sign -1); the first of several."""
    best, best_score = rows[0], rows[0].score
    for row in rows:
        if row.score is None or best_score is None:
            return rows[0]
        if sign * row.score > sign * best_score:
            best, best_score = row, row.score
    return best


def _pair(desirable: Unpaired, undesirable: Unpaired) -> Paired:
    fields = joined_fields((desirable, undesirable))
    fields["chosen"], fields["rejected"] = desirable.completion, undesirable.completion
    fields["weight"] = min(desirable.weight, undesirable.weight)
    return _of_one_size(record(Paired, fields))


def _pair_of_scored(row: Scored, better: int, worse: int, name: str) -> Paired:
    chosen, rejected = row.completions[better], row.completions[worse]
    return _of_one_size(Paired(chosen=chosen, rejected=rejected, **row.shared_fields(), id=name))


def _of_one_size(pair: Paired) -> Paired:
    check_one_size(images_of(pair), pair.where)
    return pair
