"""What changed between two sets of feedback: rows that came, went or say something else now."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from prospect.feedback.files.manifest import canonical, own_id
from prospect.feedback.files.sources import Source
from prospect.feedback.files.write import as_columns
from prospect.feedback.frozen.freeze import iter_rows
from prospect.feedback.records import Feedback, Paired, Unpaired
from prospect.feedback.split import completion_digest

EXAMPLES = 5  # rows named of each sort of change
_COLUMNS = (
    "id", "prompt", "completion", "chosen", "rejected", "completions", "scores", "label", "weight", "score", "rater",
    "image", "chosen_image", "rejected_image", "images",
    "tools", "finished", "source", "source_id", "time", "model", "reason", "relative",
)  # fmt: skip
_HASH_BYTES = 8  # of one column: two texts of a row are taken for equal by mistake once in 10^19


@dataclass(kw_only=True)
class FeedbackDifference:
    """What changed from one set of feedback to another.

    Attributes:
        before, after: rows of each.
        added, removed, changed, same: rows; before = removed + changed + same, after = added + changed + same.
        columns: column -> changed rows in which it differs.
        flips: changed rows whose verdict turned: `to_desirable`, `to_undesirable`, `swapped` for pairs.
        classes: `before` and `after` -> kind or class -> rows.
        examples: `added`, `removed`, `changed`, `flipped` -> the first few, by id or place.
    """

    before: int = 0
    after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    same: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    flips: dict[str, int] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def as_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return {"different": bool(self), **asdict(self)}


class _Trace(NamedTuple):
    """What is kept of a row that has no equal on the other side: some 600 bytes, whatever its texts."""

    name: str
    identity: bytes | None
    texts: bytes
    rater: bytes
    columns: bytes
    verdict: bytes


def diff_feedback(before: Source, after: Source, *, label_map: Mapping[Any, bool] | None = None) -> FeedbackDifference:
    """Return what changed from `before` to `after`; the order of rows is no change.

    Rows that are equal in all columns are the same. Of the others, one of each side is the same row, changed, where
    both have the same id and texts; the same texts and rater; the same id; or the same texts: the closest first. The
    texts of a pair are the same whichever was chosen. An id that is only a place in a file says nothing.

    Each side is read twice. Of a row only hashes are kept: about 150 bytes of one of `before`, and 600 of each that
    has no equal.

    Args:
        before: as `load_feedback` takes it; a frozen folder is its rows.jsonl.
        after: the same.
        label_map: label -> desirable, for both.
    """
    found = FeedbackDifference()
    unmatched: Counter[bytes] = Counter()
    classes: dict[str, Counter[str]] = {"before": Counter(), "after": Counter()}
    for row in iter_rows(before, label_map=label_map):
        unmatched[_hash_of_row(row)] += 1
        found.before += 1
        classes["before"].update(_classes(row))
    new: list[_Trace] = []
    for row in iter_rows(after, label_map=label_map):
        found.after += 1
        classes["after"].update(_classes(row))
        digest = _hash_of_row(row)
        if unmatched.get(digest):
            unmatched[digest] -= 1
            found.same += 1
        else:
            new.append(_trace(row))
    unmatched = +unmatched
    old = [_trace(row) for row in _without_equal(iter_rows(before, label_map=label_map), unmatched)]
    found.classes = {side: dict(sorted(counts.items())) for side, counts in classes.items()}
    _match(old, new, found)
    return found


def _without_equal(rows: Iterator[Feedback], unmatched: Counter[bytes]) -> Iterator[Feedback]:
    for row in rows if unmatched else ():
        digest = _hash_of_row(row)
        if unmatched.get(digest):
            unmatched[digest] -= 1
            yield row


def _match(old: list[_Trace], new: list[_Trace], found: FeedbackDifference) -> None:
    columns: Counter[str] = Counter()
    flips: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    for key in _KEYS:
        waiting: dict[Any, deque[_Trace]] = defaultdict(deque)
        for trace in old:
            waiting[key(trace)].append(trace)
        waiting.pop(None, None)
        taken, left = set(), []
        for trace in new:
            queue = waiting.get(key(trace))
            if not queue:
                left.append(trace)
                continue
            partner = queue.popleft()
            taken.add(id(partner))
            found.changed += 1
            columns.update(_changed_columns(partner, trace))
            flip = _flip(partner, trace)
            if flip:
                flips[flip] += 1
                examples["flipped"].append(trace.name)
            examples["changed"].append(trace.name)
        old, new = [trace for trace in old if id(trace) not in taken], left
    found.added, found.removed = len(new), len(old)
    examples["added"], examples["removed"] = [t.name for t in new], [t.name for t in old]
    found.columns, found.flips = dict(columns.most_common()), dict(sorted(flips.items()))
    found.examples = {sort: names[:EXAMPLES] for sort, names in examples.items() if names}


# By which two rows are one, the closest likeness first; None is like nothing.
_KEYS: tuple[Callable[[_Trace], Any], ...] = (
    lambda trace: trace.identity and (trace.identity, trace.texts),
    lambda trace: (trace.texts, trace.rater),
    lambda trace: trace.identity,
    lambda trace: trace.texts,
)


def _columns_of(row: Feedback) -> dict[str, Any]:
    columns = as_columns(row)
    columns["id"] = own_id(row)
    return columns


def _hash_of_row(row: Feedback) -> bytes:
    return _hash([row.kind, _columns_of(row)], row.where, 16)


def _trace(row: Feedback) -> _Trace:
    columns = _columns_of(row)
    texts: Any = [columns.get(name) for name in ("completion", "completions", "image", "images")]
    verdict = columns.get("label")
    if isinstance(row, Paired):
        sides = [completion_digest(side).hex() for side in (row.chosen, row.rejected)]
        texts, verdict = sorted(sides), sides[0]
    identity = columns["id"]
    return _Trace(
        name=identity if identity is not None else row.where,
        identity=None if identity is None else _hash(identity, row.where),
        texts=_hash([row.kind, columns["prompt"], texts], row.where, 16),
        rater=_hash(row.rater, row.where),
        columns=b"".join(_hash(columns.get(name), row.where) for name in _COLUMNS),
        verdict=str(verdict).encode(),
    )


def _hash(value: Any, where: str, size: int = _HASH_BYTES) -> bytes:
    if value is None:
        return bytes(size)
    # Most cells are plain text, which needs no JSON to be one sequence of bytes; JSON never begins with a line end.
    text = b"\n" + value.encode(errors="surrogatepass") if isinstance(value, str) else canonical(value, where)
    return hashlib.blake2b(text, digest_size=size).digest()


def _changed_columns(a: _Trace, b: _Trace) -> list[str]:
    starts = range(0, len(a.columns), _HASH_BYTES)
    pieces = ((a.columns[at : at + _HASH_BYTES], b.columns[at : at + _HASH_BYTES]) for at in starts)
    return [name for name, (one, other) in zip(_COLUMNS, pieces, strict=True) if one != other]


def _flip(a: _Trace, b: _Trace) -> str | None:
    """Where the texts are those of before and the verdict is not."""
    if a.texts != b.texts or a.verdict == b.verdict:
        return None
    return {b"True": "to_desirable", b"False": "to_undesirable"}.get(b.verdict, "swapped")


def _classes(row: Feedback) -> list[str]:
    if isinstance(row, Unpaired):
        return ["desirable" if row.desirable else "undesirable"]
    return [row.kind]
