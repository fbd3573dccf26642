"""Texts that say almost the same: MinHash signatures, banding and union-find.

The similarity of two texts is the Jaccard index |A & B| / |A | B| of their sets of shingles, a shingle being three
words in a row. A hash sends each shingle into one of `BINS` bins, and a bin keeps the smallest 16-bit hash that fell
into it (one-permutation MinHash), so one pass over the text gives the whole signature. Of the bins that are filled in
either of two signatures, the share that agree estimates the Jaccard index.

Words are runs of letters and digits, whatever the case (of ASCII) and the punctuation between them; a character of a
script that writes no spaces (Chinese, Thai, ...) is a word of its own. Everything is computed on UTF-8 bytes with
numpy, for many texts at once, from constants that are the same on every machine.

Source: Li, Owen & Zhang 2012, "One Permutation Hashing"; Shrivastava & Li 2014, "Densifying One Permutation Hashing
via Rotation for Fast Near Neighbor Search" (the rotation is used for the bands alone, the estimate needs none).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

SIMILAR = 0.8
"""The Jaccard index from which texts are near duplicates, everywhere."""

BINS = 128
EMPTY = 0xFFFF
WORDS = 3
SHORTEST = 8
_CHUNK = 1 << 18  # bytes hashed at once: the passes over them stay in the cache of the processor
_PAIRS = 1 << 16  # signatures compared at once: 16 MiB each side
_ROUNDS = 16  # leaders tried in a bucket


class NearDuplicates:
    """Collects texts under keys, and groups those that are near duplicates.

    Texts of fewer than `SHORTEST` words are only grouped with texts of the very same words.
    One text takes 281 bytes. Instances can be pickled, and merged in any order.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Any, Any, Any]] = []
        self._waiting: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._waiting) + sum(len(keys) for keys, _, _ in self._parts)

    def __getstate__(self) -> dict[str, Any]:
        self._flush()
        return {"_parts": self._parts, "_waiting": []}

    def add(self, key: int, text: str) -> None:
        """Add one text; of many, `add_many` is faster."""
        self._waiting.append((key, text))
        if len(self._waiting) >= 1000:
            self._flush()

    def add_many(self, keys: Sequence[int], texts: Sequence[str]) -> None:
        """Add texts, each under its key.

        Args:
            keys: as many integers as there are texts, each used once.
            texts: the texts.
        """
        import numpy as np

        if len(keys) != len(texts):
            raise ValueError(f"{len(keys)} keys for {len(texts)} texts")
        if not len(keys):
            return
        signatures, exact = zip(*(_sign(chunk) for chunk in _chunks(texts)), strict=True)
        self._parts.append((np.asarray(keys, np.int64), np.concatenate(signatures), np.concatenate(exact)))

    def merge(self, other: NearDuplicates, shift: int = 0) -> None:
        """Add what another instance has collected, `shift` added to its keys; keys must not occur in both."""
        other._flush()
        self._parts += [(keys + shift, signatures, exact) for keys, signatures, exact in other._parts]

    def groups(self, threshold: float = 0.8) -> list[list[int]]:
        """Return the groups of two or more keys whose texts are linked by an estimated similarity >= `threshold`.

        Links are transitive: a text is in the group of its duplicate's duplicate.

        Args:
            threshold: Jaccard index, in (0, 1].

        Returns:
            groups in the order of their smallest keys, keys in ascending order.
        """
        import numpy as np

        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; expected a number in (0, 1]")
        self._flush()
        if not self._parts:
            return []
        keys, signatures, exact = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        _, first, same = np.unique(exact, return_index=True, return_inverse=True)
        long = first[(signatures[first] != EMPTY).any(axis=1)]
        label = np.arange(len(keys))
        label[long] = long[_linked(signatures[long], threshold)]
        label = label[first][same]
        order = np.lexsort((keys, label))
        cuts = np.flatnonzero(np.diff(label[order])) + 1
        return sorted(part.tolist() for part in np.split(keys[order], cuts) if len(part) > 1)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.add_many(*zip(*waiting, strict=True))


# -- signatures --


def _chunks(texts: Sequence[str]) -> Iterator[list[bytes]]:
    """Yield the texts in UTF-8, some `_CHUNK` bytes at a time."""
    chunk: list[bytes] = []
    size = 0
    for text in texts:
        chunk.append(text.encode("utf-8", "surrogatepass"))
        size += len(chunk[-1])
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _sign(texts: list[bytes]) -> tuple[Any, Any]:
    """Return the signatures (N, BINS) of N texts, EMPTY where a text is short, and a hash (N,) of each's words."""
    import numpy as np

    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    begins = np.concatenate([[0], np.cumsum(sizes + 1)])  # where each text begins, a space between each two
    data = np.frombuffer(b" ".join(texts) + b" ", np.uint8)
    words, places = _hash_words(data)
    bounds = np.searchsorted(places, begins)  # text i has the words bounds[i] to bounds[i + 1]
    counts = np.diff(bounds)
    owner = np.repeat(np.arange(len(texts)), counts)
    nth = np.arange(len(words)) - bounds[owner]
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mix(words + nth.astype(np.uint64) * _ODD[3]))])
    exact = _mix(totals[bounds[1:]] - totals[bounds[:-1]] + counts.astype(np.uint64))
    for i in np.flatnonzero(counts == 0):  # nothing but signs: these are compared byte by byte
        exact[i] = int.from_bytes(hashlib.blake2b(texts[i], digest_size=8).digest(), "little")

    signatures = np.full((len(texts), BINS), EMPTY, np.uint16)
    starts = np.flatnonzero((nth + WORDS <= counts[owner]) & (counts[owner] >= SHORTEST))
    shingles = _mix(words[starts] * _ODD[0] + words[starts + 1] * _ODD[1] + words[starts + 2] * _ODD[2])
    cells = owner[starts] * BINS + (shingles >> np.uint64(57)).astype(np.int64)
    values = np.minimum(shingles & np.uint64(0xFFFF), np.uint64(EMPTY - 1)).astype(np.uint16)
    np.minimum.at(signatures.reshape(-1), cells, values)
    return signatures, exact


def _hash_words(data: Any) -> tuple[Any, Any]:
    """Return a 64-bit hash of every word, and the byte where each begins.

    A word of bytes b_0 ... b_k at byte s is the sum of code(b_i) P^(s + i), times P^-s (modulo 2^64, P odd), which is
    the same wherever it stands.
    """
    import numpy as np

    kinds, codes = _tables()
    kind = kinds.take(data)
    terms = codes.take(data)
    for lead, length in ((0xC2, 2), (0xE2, 3)):  # typographic signs: what follows the first byte is no word either
        if lead in data:
            for place in range(1, length):
                after = np.flatnonzero(data[:-place] == lead) + place
                kind[after] = terms[after] = 0
    begins = kind == 2
    begins[1:] |= (kind[1:] == 1) & (kind[:-1] == 0)
    begins[0] |= kind[0] == 1
    places = np.flatnonzero(begins)
    powers, inverses = _powers(max(2 * _CHUNK, 1 << (len(data) - 1).bit_length()))
    terms *= powers[: len(data)]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    words = sums[np.append(places[1:], len(data))] - sums[places] if len(places) else sums[:0]
    return _mix(words * inverses[places]), places


def _mix(x: Any) -> Any:
    """Return the finaliser of splitmix64: every bit of the result depends on every bit of `x`."""
    import numpy as np

    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)


@lru_cache(maxsize=1)
def _tables() -> tuple[Any, Any]:
    """For each byte: 0 between words, 1 inside a word, 2 begins a word of one character; and its 64-bit code."""
    import numpy as np

    kinds = np.zeros(256, np.uint8)
    for first, last in ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A), (0x80, 0xBF), (0xC3, 0xDF)):
        kinds[first : last + 1] = 1
    kinds[0xE0:0xF8] = 2  # from U+0800 on, but for the signs of U+2000 to U+2FFF
    kinds[0xE2] = 0
    codes = _mix(np.arange(1, 257, dtype=np.uint64) * _ODD[0])
    codes[0x41:0x5B] = codes[0x61:0x7B]
    codes[kinds == 0] = 0
    return kinds, codes


@lru_cache(maxsize=1)
def _powers(count: int) -> tuple[Any, Any]:
    """P^i and P^-i modulo 2^64 for i < count."""
    import numpy as np

    def powers(base: int) -> Any:
        factors = np.full(count, base, np.uint64)
        factors[0] = 1
        return np.multiply.accumulate(factors)

    return powers(_ODD[3]), powers(pow(_ODD[3], -1, 1 << 64))


# -- bands and links --


def _linked(signatures: Any, threshold: float) -> Any:
    """For each signature the index of the first one of its group."""
    import numpy as np

    label = np.arange(len(signatures))
    for bucket in _band_keys(signatures, threshold):
        order = np.argsort(bucket, kind="stable")
        ranked = bucket[order]
        begins = np.concatenate([[True], ranked[1:] != ranked[:-1]])
        members, of_bucket = order, np.cumsum(begins) - 1
        for _ in range(_ROUNDS):
            # The first member left in each bucket leads; the others are compared with it.
            leads = np.concatenate([[True], of_bucket[1:] != of_bucket[:-1]]) if len(members) else np.zeros(0, bool)
            leader = members[np.maximum.accumulate(np.where(leads, np.arange(len(members)), 0))]
            rest = ~leads & (label[leader] != label[members])
            if not rest.any():
                break
            pairs = leader[rest], members[rest]
            similar = _similarity(signatures, *pairs) >= threshold
            label = _joined(label, pairs[0][similar], pairs[1][similar])
            members, of_bucket = pairs[1][~similar], of_bucket[rest][~similar]
    return label


def _band_keys(signatures: Any, threshold: float) -> Iterator[Any]:
    """One key per signature for each band: signatures with equal keys are candidates.

    A band is every `count`-th bin, so that the bins that rotation filled from one and the same neighbour are in
    different bands.
    """
    import numpy as np

    rows = _rows_per_band(threshold)
    count = BINS // rows
    keys = np.zeros((count, len(signatures)), np.uint32)
    for start in range(0, len(signatures), 1 << 14):
        filled = _filled(signatures[start : start + (1 << 14)]).astype(np.uint64)
        for band in range(count):
            key = np.full(len(filled), band, np.uint64)
            for column in range(band, count * rows, count):
                key = (key ^ filled[:, column]) * np.uint64(_ODD[0])
                key ^= key >> np.uint64(32)
            keys[band, start : start + len(filled)] = key
    yield from keys


def _rows_per_band(threshold: float) -> int:
    """Return the most bins per band at which 98 % of pairs at the threshold share a band: 1 - (1 - J^r)^(BINS // r)."""
    fit = [r for r in range(1, BINS + 1) if 1 - (1 - threshold**r) ** (BINS // r) >= 0.98]
    return max(fit, default=1)


def _filled(signatures: Any) -> Any:
    """Signatures whose empty bins take the value of the next filled one to the right, changed by the distance."""
    import numpy as np

    twice = np.concatenate([signatures, signatures], axis=1)
    bins = np.arange(2 * BINS, dtype=np.int16)
    source = np.where(twice != EMPTY, bins, np.int16(2 * BINS - 1))
    source = np.minimum.accumulate(source[:, ::-1], axis=1)[:, ::-1][:, :BINS]
    distance = (source - bins[:BINS]).astype(np.uint16)
    return np.take_along_axis(twice, source.astype(np.int64), axis=1) + distance * np.uint16(0x9E37)


def _similarity(signatures: Any, left: Any, right: Any) -> Any:
    """Return the estimated Jaccard index of each pair of rows: agreeing bins over bins that are filled in either."""
    import numpy as np

    out = np.empty(len(left))
    for start in range(0, len(left), _PAIRS):
        a, b = signatures[left[start : start + _PAIRS]], signatures[right[start : start + _PAIRS]]
        filled = (a & b) != EMPTY  # EMPTY has all bits set
        out[start : start + _PAIRS] = ((a == b) & filled).sum(axis=1) / filled.sum(axis=1)
    return out


def _joined(label: Any, left: Any, right: Any) -> Any:
    """Labels after the groups of each pair are joined (union-find, all at once); the label is the first member."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(left):
        return label
    n = len(label)
    edges = coo_array((np.ones(len(left), np.int8), (label[left], label[right])), shape=(n, n))
    _, component = connected_components(edges, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component[label]]
