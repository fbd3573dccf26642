"""Whatever goes wrong below a command ends in a message and an exit code, not in a traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prospect.cli import losses
from prospect.cli.main import main
from prospect.errors import RunStopped


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> tuple[int, str]:
    def run(options: object) -> int:
        raise error

    monkeypatch.setattr(losses, "run", run)
    return main(["losses"]), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: No space left on device. Free some space."),
        (
            PermissionError(errno.EACCES, "Permission denied", "a\x1b[31m.txt"),
            "OSError: a\\x1b[31m.txt: Permission denied. Check that it is there, and that you may read and write it.",
        ),
        (OSError("Can't load it.\nTry online"), "OSError: Can't load it. Try online"),
        (MemoryError(), "MemoryError: there is not enough memory. "),
        (RecursionError("maximum recursion depth exceeded"), "RecursionError: something that was read is nested "),
    ],
    ids=["disk full", "no permission", "a library's own", "memory", "recursion"],
)
def test_what_the_system_refuses_is_one_message(
    error: BaseException, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = fails_with(error, monkeypatch, capsys)
    assert code == 1
    assert message.startswith(expected)
    assert message.count("\n") == 1


def test_an_error_that_nobody_foresaw_is_called_a_bug_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = fails_with(ZeroDivisionError("by \x1b[31mzero"), monkeypatch, capsys)
    assert code == 1
    assert message.startswith("Traceback") and "ZeroDivisionError: by \\x1b[31mzero" in message
    assert message.endswith("this is a bug in Prospect: please report it with these lines.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_stdout_is_a_message() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "prospect", "losses", "kto"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["OSError: No space left on device. Free some space."]


def test_a_terminal_without_unicode_shows_escapes() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "prospect", "data", "inspect", "Größe.jsonl"]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 1
    assert b"Gr\\xf6\\xdfe.jsonl: no file matches" in done.stderr or b"Gr\\xf6\\xdfe.jsonl: no such file" in done.stderr


def test_what_argparse_quotes_of_the_command_line_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["losses", "--\x1b[31mred"])
    message = capsys.readouterr().err
    assert "\x1b" not in message and "\\x1b[31mred" in message


def test_bars_of_libraries_are_for_terminals() -> None:
    script = (
        "from prospect.cli.main import main; main(['report', 'none'])\nfrom tqdm.auto import tqdm\nlist(tqdm(range(3)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (
        done.stderr
        == "UsageError: none: there is no such run directory. prospect train and prospect demo write them.\n"
    )


def test_a_demo_that_is_stopped_names_no_flag_that_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from prospect.demo import run
    from prospect.demo.settings import DemoFeedback

    def stopped(recipe: object, *, quiet: bool) -> None:
        raise RunStopped("Continue with the same command and --resume.", signal.SIGTERM)

    monkeypatch.setattr(run, "train", stopped)
    monkeypatch.setattr(run, "write_thumbs", lambda *_: (1, 1))
    monkeypatch.setattr(run, "answer", lambda *_: [])
    with pytest.raises(RunStopped, match=r"^stopped\. The demo begins anew each time") as stop:
        run.run_demo(tmp_path / "demo", method="kto", seed=0, feedback=DemoFeedback(), quiet=True)
    assert stop.value.exit_code == 128 + signal.SIGTERM
