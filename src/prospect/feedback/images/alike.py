"""Images that look almost the same: perceptual hashes that differ in few bits."""

from __future__ import annotations

from collections.abc import Sequence

ALIKE = 4
"""Bits of 64 in which the hashes of two images may differ: room for another compression or size. Hashes of two pictures
that have nothing in common differ in half of their bits."""
MOST_COMPARED = 20_000  # different hashes: 200 million pairs, some seconds
_BLOCK = 512  # hashes compared with all others at once: 80 MB of distances


def alike_groups(likenesses: Sequence[int], most: int = ALIKE) -> list[list[int]]:
    """Return the groups of two or more places whose hashes are linked by at most so many different bits.

    Links are transitive. Of more than `MOST_COMPARED` different hashes the first are compared; equal ones are always
    found.

    Args:
        likenesses: hashes of 64 bits.
        most: bits.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    hashes, place = np.unique(np.array(likenesses, dtype=np.uint64), return_inverse=True)
    compared = hashes[:MOST_COMPARED]
    left, right = [np.arange(0)], [np.arange(0)]
    for start in range(0, len(compared), _BLOCK):
        near = np.bitwise_count(compared[start : start + _BLOCK, None] ^ compared[None, start:]) <= most
        rows, columns = np.nonzero(near)
        left.append(rows + start)
        right.append(columns + start)
    edges = np.concatenate(left), np.concatenate(right)
    size = len(hashes)
    links = coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(size, size))
    _, component = connected_components(links, directed=False)
    group = component[place] if len(place) else place
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(part.tolist() for part in parts if len(part) > 1)
