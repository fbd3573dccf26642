"""Python files of the user's own: losses, judges, importers, worlds of studies. They run with the user's rights."""

from __future__ import annotations

import hashlib
import importlib.util
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

from prospect.errors import ConfigError, ProspectError

PATIENCE = 120  # seconds for an import; large libraries take ten or twenty from a cold disk


_DIGESTS: dict[Path, str] = {}  # SHA-256 of files, as they were imported


class _EndlessImport(BaseException):
    """No Exception: code that catches those would go on."""


def is_own(name: str) -> bool:
    """Return whether a name is that of something in a file of the user's own, `file.py:name`."""
    return ".py:" in name


def import_file(path: Path) -> ModuleType:
    """Return the module in a file, which is read again where it was edited.

    Python keeps it under a name that holds the whole path: two files of one name do not replace each other.

    Raises:
        ConfigError: there is no such file, or importing it fails, exits, or takes more than two minutes.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file. Check the name.")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from error
    digest = hashlib.sha256(source).hexdigest()
    module_name = f"prospect_user_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if module_name in sys.modules and _DIGESTS.get(path) == digest:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None:
        raise ConfigError(f"{path}: is no Python file; expected a name that ends in .py. Rename it.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        with _time_limit():
            # The bytes that are hashed are those that run; the loader may take a compiled file of the same second.
            exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 (the user's own code)
        _DIGESTS[path] = digest
    except BaseException as error:
        del sys.modules[module_name]
        if isinstance(error, ProspectError | KeyboardInterrupt):
            raise
        raise ConfigError(f"importing {path} failed: {_reason(error)}. Mend the file.") from error
    return module


def source_digest(path: Path) -> str:
    """Return the SHA-256 of a file as it was imported. What it imports itself is not seen."""
    return _DIGESTS[path]


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    if isinstance(error, _EndlessImport):
        return f"it did not end within {PATIENCE} seconds"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}".rstrip(": ").rstrip(".")


@contextmanager
def _time_limit() -> Iterator[None]:
    """End a block that takes too long, where the system has alarms and nobody else has set one."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _EndlessImport

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
