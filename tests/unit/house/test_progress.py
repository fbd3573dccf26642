"""A long command says what it does and how far it is, and is silent for ten seconds at most."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import thumbs, write_rows
from prospect import progress
from prospect.progress import Display, lines
from prospect.progress.lines import Lines
from prospect.progress.live import Live


class Heard(Lines):
    """Lines that are kept, under a clock that stands still until it is moved; nobody looks at it but the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []
        super().__init__("prospect train", lambda: self.now)

    def _print(self, text: str) -> None:
        self.said.append(text)

    def _watch(self) -> None:
        """Never."""

    def later(self, seconds: float) -> list[str]:
        """What is said once so many seconds have passed."""
        self.now += seconds
        before = len(self.said)
        self.speak_if_silent()
        return self.said[before:]


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Heard() as display:
        assert isinstance(display, Heard)
        yield display


def test_a_phase_is_named_as_it_begins_and_named_once(heard: Heard) -> None:
    for _ in range(3):
        with progress.phase("writing 8 samples"):
            pass
    assert heard.said == ["writing 8 samples ..."]


def test_ten_seconds_of_silence_are_broken_and_nine_are_not(heard: Heard) -> None:
    with progress.phase("loading the model"):
        assert heard.later(9) == []
        assert heard.later(1) == ["loading the model: 10 s so far"]
        assert heard.later(9) == []
        progress.note("anything else")
        assert heard.later(9) == []
        assert heard.later(1) == ["loading the model: 29 s so far"]


def test_a_command_without_phases_is_named_by_itself(heard: Heard) -> None:
    assert heard.later(10) == ["prospect train: 10 s so far"]


def test_what_was_counted_says_how_much_is_left(heard: Heard) -> None:
    with progress.phase("reading"):
        progress.count(0, 400, "rows")
        heard.now += 10
        progress.count(100, 400, "rows")
        assert heard.later(0) == ["reading: 100 of 400 rows, 10 s so far, about 30 s left"]
        progress.count(150, None, "rows of b.csv")
        assert heard.later(10) == ["reading: 150 rows of b.csv, 20 s so far"]


def test_a_second_loop_of_a_phase_is_reckoned_from_its_own_beginning(heard: Heard) -> None:
    with progress.phase("scoring"):
        for item in progress.counted(range(4), "batches", 4):
            heard.now += 10 * (item + 1)
        for _ in progress.counted(range(3), "batches", 3):
            heard.now += 5
        assert heard.later(0)[-1].endswith("2 of 3 batches, 2 min so far, about 7.5 s left")


def test_what_was_there_at_the_start_counts_for_no_pace(heard: Heard) -> None:
    with progress.phase("training", done=80, total=100):
        heard.now += 20
        progress.count(90, 100, "steps")
        assert heard.later(0) == ["training: 90 of 100 steps, 20 s so far, about 20 s left"]


def test_what_comes_before_the_first_step_counts_for_no_pace(heard: Heard) -> None:
    with progress.phase("training", total=100):
        with progress.phase("scoring"):
            heard.now += 300
        with progress.phase("at step 1", aloud=False):
            heard.now += 10
        progress.count(1, 100, "steps")
        assert heard.later(0) == ["training: 1 of 100 steps, 5 min so far, about 16 min left"]  # 99 times 10 s


def test_of_phases_in_each_other_the_innermost_that_lasts_is_told(heard: Heard) -> None:
    with progress.phase("training", total=9):
        heard.now += 9
        with progress.phase("at step 1", aloud=False):
            progress.count(1, 4, "micro-batches")
            assert heard.later(1) == ["training: 10 s so far"]  # the step has taken one second
            assert heard.later(10) == ["at step 1: 1 of 4 micro-batches, 11 s so far, about 33 s left"]
        assert heard.said[0] == "training ..." and "at step 1 ..." not in heard.said


def test_quiet_within_a_display_is_quiet_and_then_it_speaks_again(heard: Heard) -> None:
    with progress.shown("inner", quiet=True), progress.phase("unheard"):
        progress.count(1, 2, "rows")
        progress.note("unheard")
    with progress.shown("inner") as same:
        assert same is heard
        progress.note("heard")
    assert heard.said == ["heard"]


def test_nobody_hears_where_no_display_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.phase("unheard"):
        progress.note("unheard")
    assert capsys.readouterr() == ("", "")


def test_a_second_thread_speaks_while_the_first_is_within_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LOOK", 0.001)
    spoken, now = threading.Event(), iter(range(0, 10**9, 100))

    class Speaking(Lines):
        def _print(self, text: str) -> None:
            if "so far" in text:
                spoken.set()

    with Speaking("waiting", lambda: next(now)):
        assert spoken.wait(30)  # as a library's call would, which runs no code of ours
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_closed_stderr_ends_the_thread_and_not_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LOOK", 0.001)
    closed = io.StringIO()
    closed.close()
    now = iter(range(0, 10**9, 100))
    monkeypatch.setattr(sys, "stderr", closed)
    with Lines("waiting", lambda: next(now)) as display:
        display._thread.join(30)  # type: ignore[attr-defined]
        assert not display._thread.is_alive()  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_drawn_in_place_and_results_stay_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.shown("prospect train") as display:
        assert isinstance(display, Live)
        with progress.phase("reading [all]"):
            progress.count(3, 7, "rows")
            display._bars.refresh()
            progress.note("a note [0]")
            sys.stdout.write("a result\n")
    shown = terminal.getvalue()
    assert "reading [all]: 3 of 7 rows" in shown and "a note [0]\n" in shown and "a result" not in shown
    assert shown.count("\n") == 1 and shown.rstrip().endswith("\x1b[?25h")  # one note; the cursor is back
    assert capsys.readouterr().out == "a result\n"


class Listening(Display):
    """Keeps what is counted in which phase."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.counts: set[tuple[str, str]] = set()

    @contextmanager
    def phase(self, text: str, *, aloud: bool = True, done: int = 0, total: int | None = None) -> Iterator[None]:
        self.phases.append(text)
        yield

    def count(self, done: int, total: int | None = None, what: str = "", said: str = "") -> None:
        self.counts.add((self.phases[-1] if self.phases else "", what))


def test_whatever_reads_rows_says_how_many(tmp_path: Path) -> None:
    from prospect.feedback.convert.streaming import Conversion, convert_files
    from prospect.feedback.doctor.inspect import inspect_feedback
    from prospect.feedback.files.sources import load_feedback

    rows = write_rows(tmp_path / "a.jsonl", thumbs(1100))
    table = tmp_path / "b.csv"
    table.write_text("prompt,completion,label\n" + "p,c,1\n" * 1100)
    for act, what in (
        (lambda: load_feedback(rows), "MB of a.jsonl"),
        (lambda: load_feedback(table), "rows of b.csv"),
        (lambda: convert_files(rows, tmp_path / "o.jsonl", Conversion(to="demonstration")), "MB of a.jsonl"),
        (lambda: inspect_feedback([str(rows)]), "rows (of a number that is estimated)"),
    ):
        with Listening() as display:
            act()
        assert what in {what for _, what in display.counts}  # type: ignore[attr-defined]


def test_a_run_says_every_phase_and_counts_within_the_long_ones(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import prospect

    values = recipe("kto", thumbs(24), data={"eval": 8}, train={"samples": 1, "sample_tokens": 2, "save_every": 1})
    listening = Listening()

    @contextmanager
    def shown(name: str, *, quiet: bool = False) -> Iterator[Display]:
        with listening:
            yield listening

    monkeypatch.setattr(progress, "shown", shown)
    prospect.train(values)
    expected = [
        "reading the feedback",
        "loading the model",
        "making the reference",
        "training",
        "scoring 8 held-out examples",
        "writing 1 samples",
        "at step 1",
        "saving a checkpoint",
        "saving the model",
    ]
    assert [phase for phase in dict.fromkeys(listening.phases) if phase in expected] == expected
    assert {
        ("reading the feedback", "rows encoded"),
        ("training", "steps"),
        ("in the evaluation", "micro-batches"),
        ("at step 2", "micro-batches for z0"),
        ("at step 1", "micro-batches"),
        ("writing 1 samples", "completions"),
    } <= listening.counts


def test_the_reference_says_how_fast_it_is_only_where_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    import numpy as np
    import torch

    from prospect.data.batch import Row, collate
    from prospect.models import reference

    class Inner(reference.Reference):
        identity = "inner"

        def logps(self, batch: Any) -> torch.Tensor:
            heard.now += 4
            return torch.zeros(len(batch.rows))

    def row(number: int) -> Row:
        return Row(np.array([1], np.int32), np.array([number], np.int32), "p", str(number), True)

    monkeypatch.setattr(reference.time, "perf_counter", lambda: heard.now)
    cache = reference.CachedReference(Inner(), tmp_path)
    cache.policy_moved()
    for start in range(0, 20, 2):
        cache.logps(collate([row(start), row(start + 1)]))
    # 4 s for 2 rows: told after 12 s, the first time that 10 are over, then after 20, and not again before 40.
    assert heard.said == [
        "reference: 6 rows scored in 12 s, 0.5 a second",
        "reference: 10 rows scored in 20 s, 0.5 a second",
        "reference: 20 rows scored in 40 s, 0.5 a second",
    ]
    heard.said.clear()
    cache.logps(collate([row(0), row(1)]))  # known: nobody is asked
    assert heard.said == []
