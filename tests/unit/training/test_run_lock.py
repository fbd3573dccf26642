"""One writer to a run directory, whatever becomes of it; and a start that failed has not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from prospect.errors import CheckpointError
from prospect.results.run import Provenance, SampleRow
from prospect.run_dir import RunDir
from prospect.training.run_lock import LOCK, claim, is_held, require_unheld


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "runs" / "first")


def started(run: RunDir) -> None:
    """What a run writes before its first step."""
    run.write_provenance(Provenance(prospect="0.1.0"))
    run.write_config({"loss": {"name": "kto"}})
    run.append_metrics({"step": 0, "eval_loss": 0.5})
    run.append_samples([SampleRow(step=0, prompt="p", completion="c")])


HOLD = (
    "import os, sys, time\n"
    "from prospect.run_dir import RunDir\n"
    "from prospect.training.run_lock import claim\n"
    "with claim(RunDir(sys.argv[1]), resume=False):\n"
    "    if len(sys.argv) < 3 or os.fork() == 0:\n"  # the child says it, which is known to have let go of the lock then
    "        print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


@contextmanager
def holder(run: RunDir, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path), *more], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its child too
        process.communicate()


def test_a_second_process_is_refused_with_the_pid_of_the_first(run: RunDir) -> None:
    with holder(run) as process:
        with pytest.raises(CheckpointError, match=rf"is being written by process {process.pid} on \S+\. Wait"):
            claim(run, resume=True).__enter__()
        with pytest.raises(CheckpointError, match=f"process {process.pid}"):
            require_unheld(run.path)


def test_a_second_run_of_the_same_process_is_refused(run: RunDir) -> None:
    with claim(run, resume=False), pytest.raises(CheckpointError, match=f"process {os.getpid()}"):
        claim(run, resume=False).__enter__()


def test_a_killed_process_holds_nothing(run: RunDir) -> None:
    with holder(run) as process:
        process.kill()
        process.wait()
        assert (run.path / LOCK).exists()
        require_unheld(run.path)
        with claim(run, resume=False):
            assert (run.path / LOCK).read_text().startswith(f"{os.getpid()} ")


def test_a_forked_child_does_not_keep_the_lock_of_its_dead_parent(run: RunDir) -> None:
    with holder(run, "with a child") as process:
        process.kill()
        process.wait()
        with claim(run, resume=False):
            pass


def test_a_forked_child_that_fails_in_the_block_takes_nothing_from_its_parent(run: RunDir) -> None:
    child = -1
    try:
        with claim(run, resume=False):
            started(run)
            child = os.fork()
            if child == 0:
                raise KeyboardInterrupt  # out of the block, through all that ends it
            os.waitpid(child, 0)
            assert run.provenance().known and run.samples()
            with pytest.raises(CheckpointError, match="is being written by"):
                claim(run, resume=False).__enter__()
    finally:
        if child == 0:
            os._exit(0)


COUNT = (
    "import sys\n"
    "from pathlib import Path\n"
    "from prospect.errors import CheckpointError\n"
    "from prospect.run_dir import RunDir\n"
    "from prospect.training.run_lock import claim\n"
    "path, done = Path(sys.argv[1]) / 'count', 0\n"
    "while done < 40:\n"
    "    try:\n"
    "        with claim(RunDir(sys.argv[1]), resume=False):\n"
    "            count = int(path.read_text())\n"
    "            path.write_text(str(count + 1))\n"
    "            done += 1\n"
    "    except CheckpointError as error:\n"
    "        assert 'is being written by' in str(error), error\n"
)


def test_of_many_processes_that_come_and_go_one_writes_at_a_time(run: RunDir) -> None:
    """A count that is read and written 160 times by four processes: two at once would lose some of it."""
    run.path.mkdir(parents=True)
    (run.path / "count").write_text("0")
    command = [sys.executable, "-c", COUNT, str(run.path)]
    for process in [subprocess.Popen(command) for _ in range(4)]:
        assert process.wait(timeout=60) == 0
    assert (run.path / "count").read_text() == "160"


def test_whether_somebody_holds_a_run_is_seen_without_taking_it(run: RunDir) -> None:
    assert not is_held(run.path)
    with claim(run, resume=False):
        assert is_held(run.path)
    run.path.mkdir(parents=True)
    (run.path / LOCK).touch()  # left by a killed process
    assert not is_held(run.path) and (run.path / LOCK).exists()


def test_the_lock_is_gone_when_the_run_is_done(run: RunDir) -> None:
    with claim(run, resume=False) as place:
        started(run)
        place.stepped = True
    assert sorted(path.name for path in run.path.iterdir()) == [
        "config.yaml",
        "metrics.jsonl",
        "provenance.json",
        "samples.jsonl",
    ]


def test_a_start_that_fails_leaves_not_even_the_folders_made_for_it(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claim(run, resume=False):
        started(run)
        (run.path / "checkpoints").mkdir()
        (run.path / "tensorboard").mkdir()
        (run.path / "tensorboard" / "events").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_fails_leaves_what_was_there(run: RunDir) -> None:
    theirs = {"feedback.jsonl": "{}", "notes.txt": "mine", "tensorboard": "a file", "reference_cache": "too"}
    run.path.mkdir(parents=True)
    for name, text in theirs.items():
        (run.path / name).write_text(text)
    with pytest.raises(KeyboardInterrupt), claim(run, resume=False):
        started(run)
        (run.path / "put here meanwhile").write_text("x")
        raise KeyboardInterrupt
    (run.path / "put here meanwhile").unlink()
    assert {path.name: path.read_text() for path in run.path.iterdir()} == theirs


def test_a_run_that_finished_a_step_keeps_what_it_wrote_when_it_fails(run: RunDir) -> None:
    with pytest.raises(KeyboardInterrupt), claim(run, resume=False) as place:
        started(run)
        place.stepped = True  # though nothing is on record yet: it logs every 50 steps
        raise KeyboardInterrupt
    assert run.exists() and len(run.metrics()) == 1


def test_what_a_killed_start_left_is_in_nobodys_way(run: RunDir) -> None:
    started(run)
    assert not run.begun()
    run.require_free()
    with claim(run, resume=False) as place:
        assert not place.stepped
        assert [path.name for path in run.path.iterdir()] == [LOCK]


@pytest.mark.parametrize("record", ["step", "checkpoint", "finished"])
def test_a_folder_in_which_a_step_was_finished_is_taken(run: RunDir, record: str) -> None:
    started(run)
    if record == "step":
        run.append_metrics({"step": 1, "loss": 0.5})
    elif record == "checkpoint":
        (run.checkpoints_path / "step-1").mkdir(parents=True)
    else:
        run.write_provenance(Provenance(prospect="0.1.0", finished="now"))
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    for attempt in (run.require_free, lambda: claim(run, resume=False).__enter__()):
        with pytest.raises(CheckpointError, match=r"holds another run\. Continue that one with --resume"):
            attempt()
    with claim(run, resume=True) as place:
        assert place.stepped
    assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "samples.jsonl", "model", "checkpoints"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_no_run_wrote_is_never_replaced(run: RunDir, name: str, resume: bool) -> None:
    run.path.mkdir(parents=True)
    if name in ("model", "checkpoints"):
        (run.path / name).mkdir()
    else:
        (run.path / name).write_text("")
    with pytest.raises(CheckpointError, match=f"holds {name}, which no run wrote"):
        claim(run, resume=resume).__enter__()
    assert [path.name for path in run.path.iterdir()] == [name]


def test_a_folder_that_cannot_be_written_is_said_to_be_that(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"file/run: the run directory cannot be written \(Not a directory\)"):
        claim(RunDir(tmp_path / "file" / "run"), resume=False).__enter__()


def test_on_a_disk_without_locks_a_run_goes_on_and_says_so(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def without(handle: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.warns(UserWarning, match=r"no file locks \(Function not implemented\)"), claim(run, resume=False):
        started(run)


def test_whether_a_folder_is_taken_is_known_without_torch() -> None:
    script = (
        "import sys, prospect.training.run_lock, prospect.training.trackers\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
