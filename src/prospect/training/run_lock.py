"""One writer to a run directory, and no trace of a run that failed before its first step. No torch here."""

from __future__ import annotations

import os
import platform
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prospect.atomic import TEMPORARY_PREFIX
from prospect.errors import CheckpointError
from prospect.run_dir import RunDir

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".prospect.lock"
# What a run may have written before its first step, besides the files that `RunDir.forget_start` removes.
_EARLY = ("checkpoints", "encodings", "reference_cache", "tensorboard", "wandb")
_held: set[int] = set()


@dataclass
class RunClaim:
    """A run directory that this process alone writes.

    Attributes:
        stepped: whether a step was finished, so that what was written stays.
    """

    stepped: bool = False


@contextmanager
def claim(run: RunDir, *, resume: bool) -> Iterator[RunClaim]:
    """Hold a run directory, as its only writer, while the block runs.

    What a run left there that never finished a step is removed first. If the block fails before a step is finished,
    what it wrote is removed again, with the folders made for it; files of others stay.

    Raises:
        CheckpointError: another process holds the directory, it holds another run, or it cannot be written.
    """
    try:
        made = _make_folder(run.path)
        handle = _lock(run.path)
    except OSError as error:
        raise CheckpointError(
            f"{run.path}: the run directory cannot be written ({error.strerror}). Choose another --output."
        ) from error
    try:
        run.require_free(resume)  # under the lock: nobody finishes a step there from here on
        place = RunClaim(stepped=run.begun())
        if not place.stepped:
            run.forget_start()
        before = {path.name for path in run.path.iterdir()}
        try:
            yield place
        except BaseException:
            if not place.stepped and handle in _held:  # not in a forked process
                run.forget_start()
                _remove_new(run.path, before)
            raise
    finally:
        _release(run.path, handle)
        for folder in made:  # of which only an empty one goes
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder that is no run directory, as its only writer, while the block runs.

    Raises:
        CheckpointError: another process holds it, or it cannot be written.
    """
    try:
        handle = _lock(folder)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror}). Choose another --output.") from error
    try:
        yield
    finally:
        _release(folder, handle)


def require_unheld(folder: Path) -> None:
    """Refuse a run directory that another process writes to.

    Raises:
        CheckpointError: naming the process.
    """
    if (folder / LOCK).exists():
        _release(folder, _lock(folder))


def is_held(folder: Path) -> bool:
    """Return whether a process writes to a run directory; where the system has no locks, whether it may."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except OSError:  # somebody has it, or the disk has none
        pass
    finally:
        os.close(handle)
    return True


def _make_folder(path: Path) -> Sequence[Path]:
    """Make a folder with those above it; return what was made, the innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_new(folder: Path, before: set[str]) -> None:
    """Remove what a start wrote and was not there before."""
    for path in folder.iterdir():
        if path.name not in before and (path.name in _EARLY or path.name.startswith(TEMPORARY_PREFIX)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _lock(folder: Path) -> int:
    """Take the lock of a run directory and write this process's id into it; return the open file.

    The kernel frees the lock however the process ends.

    Raises:
        CheckpointError: another process has it.
    """
    path = folder / LOCK
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(handle, folder)
            if _is(path, handle):  # whoever had the lock before may have removed the file meanwhile
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()} {platform.node()}\n".encode())
                _held.add(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _take(handle: int, folder: Path) -> None:
    if fcntl is None:
        warnings.warn(f"{folder}: this system has no file locks. Start no second run there.", stacklevel=2)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _, host = os.pread(handle, 300, 0).decode(errors="replace").strip().partition(" ")
        raise CheckpointError(
            f"{folder} is being written by {f'process {pid} on {host}' if host else 'another process'}. Wait until it "
            "is done or end it, or choose another --output."
        ) from None
    except OSError as error:  # some network disks are mounted without locks
        said = f"{folder}: its disk has no file locks ({error.strerror}). Start no second run there."
        warnings.warn(said, stacklevel=2)


def _release(folder: Path, handle: int) -> None:
    if handle not in _held:  # a forked process, which holds nothing
        return
    _held.remove(handle)
    if fcntl is None:  # Windows, which removes no open file; and no lock keeps others away meanwhile
        os.close(handle)
        (folder / LOCK).unlink(missing_ok=True)
        return
    (folder / LOCK).unlink(missing_ok=True)  # before the lock is free: nobody else's file can be there yet
    os.close(handle)


def _let_go() -> None:
    """Close the locks in a forked process, which would keep them after its parent's death."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
