"""What Windows, macOS and other C libraries lack, taken away: files are written and read, a run is claimed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import thumbs, write_rows
from prospect import atomic
from prospect.atomic import atomic_directory, write_text
from prospect.errors import ModelError
from prospect.feedback.files.rowstore import RowStore
from prospect.model_source import find_model
from prospect.run_dir import RunDir
from prospect.training import run_lock
from prospect.training.memory.allocator import keep_freed_memory, restart_without_small_caches


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuses what Windows refuses: to open a directory, to flush a file opened for reading, to remove an open file."""
    real_open, real_fsync, real_unlink = os.open, os.fsync, Path.unlink

    def open_file(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real_open(path, flags, *arguments, **named)

    def fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real_fsync(handle)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.exists() and any(one.exists() and one.samefile(path) for one in Path("/proc/self/fd").iterdir()):
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        real_unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(atomic, "_POSIX", False)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)  # which opens directories
    monkeypatch.setattr(run_lock, "fcntl", None)
    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "unlink", unlink)
    for name in ("pread", "pwrite", "confstr", "sched_getaffinity", "execv"):
        monkeypatch.delattr(os, name)
    yield


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="stands in for Windows by what Linux says of files")
def test_on_windows_files_and_folders_are_written_whole(windows: None, tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_directory(tmp_path / "model") as folder:
            write_text(folder / "config.json", text)
    assert (tmp_path / "model" / "config.json").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as above")
def test_on_windows_a_run_is_claimed_with_a_warning_and_let_go(windows: None, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with pytest.warns(UserWarning, match="no file locks"), run_lock.claim(run, resume=False) as claim:
        assert (run.path / run_lock.LOCK).read_text().startswith(f"{os.getpid()} ")
        claim.stepped = True
        write_text(run.metrics_path, '{"step": 1}\n')
    assert [path.name for path in run.path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_without_pread_rows_are_read_again_while_others_are_put_aside(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pread")
    path, rows = tmp_path / name, thumbs(9)
    if name.endswith(".jsonl"):
        write_rows(path, rows)
    else:
        lines = ["prompt,completion,label", *(f"{r['prompt']},{r['completion']},{r['label']}" for r in rows)]
        path.write_text("\n".join(lines) + "\n")
    with RowStore(str(path), None, tmp_path) as store:
        seen = []
        for number, row in enumerate(store):
            store.remember(row)
            seen.append(row.prompt)
            assert store[number // 2].prompt == seen[number // 2]
        assert [store[number].prompt for number in range(9)] == seen


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_on_macos_and_windows_the_heap_is_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: pytest.fail("the C library was asked"))
    assert keep_freed_memory() is False


def test_a_linux_without_glibc_leaves_the_heap_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: object())  # musl has no mallopt
    monkeypatch.delattr(os, "confstr")
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("it was started anew"))
    restart_without_small_caches()
    assert keep_freed_memory() is False


def test_a_path_of_windows_is_never_looked_up_on_the_hub() -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        find_model(r"C:\models\mine")
