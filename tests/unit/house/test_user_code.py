"""A Python file of the user's that cannot be imported is an error with its name, whatever it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import ConfigError
from prospect.evaluation.contest.judges.function import load_object
from prospect.losses import get_loss
from prospect.studies.outcome import make_world

BAD = {
    "exits": ("import sys\nsys.exit(3)", r"it called sys\.exit\(3\)"),
    "exits silently": ("raise SystemExit", r"it called sys\.exit\(\)"),
    "raises": ("raise ValueError('a\\nb')", "ValueError: a b"),
    "asserts": ("assert False", "AssertionError"),
    "recurses": ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    "imports itself": ("import prospect_no_such_module", "ModuleNotFoundError: No module named"),
    "is no Python": ("def", "SyntaxError: invalid syntax"),
    "holds NUL": ("a = 1\0", "SyntaxError: source code"),
    "raises what is no Exception": ("class Mine(BaseException): pass\nraise Mine('x')", "Mine: x"),
}
LOADERS: dict[str, Any] = {
    "loss": lambda path: get_loss(f"{path}:mine"),
    "judge": lambda path: load_object(f"{path}:mine"),
    "world": lambda path: make_world({"kind": f"{path}:Mine"}),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_imported_is_refused_with_its_reason(tmp_path: Path, case: str, loader: str) -> None:
    source, reason = BAD[case]
    path = tmp_path / "mine.py"
    path.write_text(source)
    modules = set(sys.modules)
    with pytest.raises(ConfigError, match=rf"importing .*mine\.py failed: {reason}.*\. Mend the file\."):
        LOADERS[loader](path)
    assert not [name for name in set(sys.modules) - modules if name.startswith("prospect_")]


def test_an_import_that_never_ends_is_stopped(tmp_path: Path) -> None:
    """In a process of its own, for the test runner has set the alarm of this one."""
    endless = tmp_path / "mine.py"
    endless.write_text("while True:\n    try:\n        pass\n    except Exception:\n        pass\n")
    program = f"""
import signal
from prospect import user_code
from prospect.errors import ConfigError
before = signal.getsignal(signal.SIGALRM)
user_code.PATIENCE = 0.2
try:
    user_code.import_file(user_code.Path({str(endless)!r}))
except ConfigError as error:
    print(error)
assert signal.getsignal(signal.SIGALRM) is before
assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"importing {endless} failed: it did not end within 0.2 seconds. Mend the file.\n", (
        done.stderr
    )


def test_ctrl_c_during_an_import_is_no_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        get_loss(f"{path}:mine")
