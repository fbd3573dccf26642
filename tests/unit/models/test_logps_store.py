"""Numbers on disk: found again to the bit, by any process, or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prospect.models.logps_store import HEADER_SLOTS, SLOT, LogpsStore


def key(i: int) -> bytes:
    return hashlib.blake2b(str(i).encode(), digest_size=16).digest()


def value(i: int) -> np.float32:
    return np.float32(-i - 0.1)


def learn(store: LogpsStore, *rows: int) -> None:
    store.add([key(i) for i in rows], np.array([value(i) for i in rows]))


def filled(folder: Path, *blocks: tuple[int, ...]) -> Path:
    """A file of one block for each tuple of rows."""
    store = LogpsStore(folder, "a")
    for rows in blocks:
        learn(store, *rows)
        store.flush()
    (path,) = folder.iterdir()
    return path


def known(store: LogpsStore, *rows: int) -> list[int]:
    """Those of the rows that it knows; what it knows must be right."""
    found = store.find([key(i) for i in rows])
    assert found.dtype == np.float32
    for i, number in zip(rows, found, strict=True):
        assert np.isnan(number) or number == value(i)
    return [i for i, number in zip(rows, found, strict=True) if not np.isnan(number)]


def test_what_is_added_is_found_before_and_after_it_is_written(tmp_path: Path) -> None:
    store = LogpsStore(tmp_path, "a")
    learn(store, 3, 4)
    assert known(store, 4, 5, 3) == [4, 3]
    assert not list(tmp_path.iterdir())
    store.flush()
    assert known(store, 4, 5, 3) == [4, 3]
    learn(store, 5)
    for again in (store, LogpsStore(tmp_path, "a")):
        assert known(again, 5, 4, 3) == ([5, 4, 3] if again is store else [4, 3])
    store.flush()
    assert known(LogpsStore(tmp_path, "a"), 3, 4, 5) == [3, 4, 5]
    assert len(store) == 3


def test_nothing_known_and_nothing_asked(tmp_path: Path) -> None:
    store = LogpsStore(tmp_path / "absent", "a")
    assert known(store, 1) == []
    assert store.find([]).shape == (0,)
    store.flush()
    assert not (tmp_path / "absent").exists()


def test_keys_that_share_a_half_are_told_apart(tmp_path: Path) -> None:
    halves = [bytes([i]) * 8 for i in range(3)]
    keys = [a + b for a in halves for b in halves]
    store = LogpsStore(tmp_path, "a")
    store.add(keys[:-2], np.arange(7, dtype=np.float32))
    store.flush()
    found = LogpsStore(tmp_path, "a").find(keys)
    assert found[:7].tolist() == list(range(7))
    assert np.isnan(found[7:]).all()


def test_only_finite_numbers_and_the_first_of_a_key_are_kept(tmp_path: Path) -> None:
    store = LogpsStore(tmp_path, "a")
    store.add([key(i) for i in (1, 2, 3, 4, 4)], np.array([1, np.nan, -np.inf, 4, 5], np.float32))
    for _ in range(2):
        assert store.find([key(i) for i in (1, 2, 3, 4)]).tolist() == pytest.approx([1, np.nan, np.nan, 4], nan_ok=True)
        store.flush()
        store.add([key(4)], np.array([6], np.float32))


@pytest.mark.parametrize("cut", range(1, 3 * SLOT.itemsize + 1))
def test_a_block_counts_whole_or_not_at_all(tmp_path: Path, cut: int) -> None:
    """A rerun of the steps whose flush was torn must find all of their rows or none."""
    path = filled(tmp_path, (1, 2), (3, 4))
    path.write_bytes(path.read_bytes()[:-cut])
    store = LogpsStore(tmp_path, "a")
    assert known(store, 1, 2, 3, 4) == [1, 2]
    learn(store, 3, 4)
    store.flush()  # into a file of its own: nothing follows a torn block
    assert known(LogpsStore(tmp_path, "a"), 1, 2, 3, 4) == [1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("cut", range(1, HEADER_SLOTS * SLOT.itemsize + 1))
def test_a_torn_header_is_no_file(tmp_path: Path, cut: int) -> None:
    path = filled(tmp_path, (1,))
    path.write_bytes(path.read_bytes()[: HEADER_SLOTS * SLOT.itemsize - cut])
    assert known(LogpsStore(tmp_path, "a"), 1) == []


@pytest.mark.parametrize("position", range(3 * SLOT.itemsize))
def test_a_changed_byte_costs_its_block_and_is_never_an_answer(tmp_path: Path, position: int) -> None:
    path = filled(tmp_path, (1, 2), (3, 4))
    data = bytearray(path.read_bytes())
    data[HEADER_SLOTS * SLOT.itemsize + position] ^= 0x10
    path.write_bytes(data)
    found = known(LogpsStore(tmp_path, "a"), 1, 2, 3, 4)
    # A changed count hides where the next block begins.
    assert found == ([] if position < 4 else [3, 4])


@pytest.mark.parametrize("position", range(HEADER_SLOTS * SLOT.itemsize))
def test_a_changed_header_is_another_format(tmp_path: Path, position: int) -> None:
    path = filled(tmp_path, (1, 2))
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)
    assert known(LogpsStore(tmp_path, "a"), 1, 2) == []


def test_a_block_of_another_identity_is_not_read(tmp_path: Path) -> None:
    """Even where a broken file system has put it behind the right header."""
    theirs = filled(tmp_path / "theirs", (1, 2))
    ours = LogpsStore(tmp_path / "ours", "b")
    learn(ours, 3)
    ours.flush()
    (path,) = ours.folder.iterdir()
    size = HEADER_SLOTS * SLOT.itemsize
    path.write_bytes(path.read_bytes()[:size] + theirs.read_bytes()[size:])
    assert known(LogpsStore(ours.folder, "b"), 1, 2, 3) == []


@pytest.mark.parametrize("tail", [b"\0" * 200, b"\xff" * 200, b"\1\0\0\0" * 50])
def test_rubbish_at_the_end_is_passed_over(tmp_path: Path, tail: bytes) -> None:
    path = filled(tmp_path, (1, 2))
    path.write_bytes(path.read_bytes() + tail)
    assert known(LogpsStore(tmp_path, "a"), 1, 2) == [1, 2]


def test_two_that_write_at_once_have_a_file_each_and_read_both(tmp_path: Path) -> None:
    one, two = LogpsStore(tmp_path, "a"), LogpsStore(tmp_path, "a")
    for i in range(0, 10, 2):
        learn(one, i)
        learn(two, i + 1)
        one.flush()
        two.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.000-00000.logps", "a.000-00001.logps"]
    assert known(one, *range(10)) == [0, 2, 4, 6, 8]  # a flush does not look at what others have written
    one.reload()
    for store in (one, LogpsStore(tmp_path, "a")):
        assert known(store, *range(10)) == list(range(10))


def test_files_that_vanish_are_no_error_and_what_is_learnt_later_is_kept(tmp_path: Path) -> None:
    path = filled(tmp_path, (1,))
    store = LogpsStore(tmp_path, "a")
    learn(store, 2)
    store.flush()
    for file in tmp_path.iterdir():
        file.unlink()
    assert known(store, 1, 2) == [1, 2]
    learn(store, 3)
    store.flush()
    assert 3 in known(store, 1, 2, 3)
    assert list(tmp_path.iterdir()) == [path]
    store.reload()
    assert known(store, 1, 2, 3) == [3]


def test_a_flush_that_failed_half_way_loses_nothing_on_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LogpsStore(tmp_path, "a")
    learn(store, 1)
    store.flush()
    learn(store, 2, 3)

    def full(handle: int) -> None:
        os.ftruncate(handle, os.fstat(handle).st_size - 7)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.flush()
    assert known(store, 1, 2, 3) == [1, 2, 3]
    assert known(LogpsStore(tmp_path, "a"), 1, 2, 3) == [1]
    store.flush()
    assert known(LogpsStore(tmp_path, "a"), 1, 2, 3) == [1, 2, 3]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_logps_store import LogpsStore, learn
store = LogpsStore(Path(sys.argv[2]), "a")
for start in range(int(sys.argv[3]), 600, 3):
    learn(store, start, start + 1)
    store.flush()
print(len(store))
"""


def test_processes_that_write_at_the_same_time_do_not_disturb_one_another(tmp_path: Path) -> None:
    writers: list[Any] = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(Path(__file__).parent), str(tmp_path), str(number)])
        for number in range(3)
    ]
    while any(writer.poll() is None for writer in writers):
        known(LogpsStore(tmp_path, "a"), *range(601))  # what is there while they write is right
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 3
    assert known(LogpsStore(tmp_path, "a"), *range(601)) == list(range(601))


def test_a_large_store_costs_an_index_of_a_few_bytes_a_row(tmp_path: Path) -> None:
    rows = 200_000
    keys = np.random.default_rng(0).bytes(16 * rows)
    values = np.arange(rows, dtype=np.float32)
    store = LogpsStore(tmp_path, "a")
    store.add([keys[i : i + 16] for i in range(0, len(keys), 16)], values)
    store.flush()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20.1 * rows
    tracemalloc.start()
    again = LogpsStore(tmp_path, "a")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 13 * rows
    assert peak < 40 * rows
    asked = np.random.default_rng(1).integers(rows, size=5000)
    assert np.array_equal(again.find([keys[16 * i : 16 * i + 16] for i in asked]), values[asked])
