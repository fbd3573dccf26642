"""`prospect label`: completions in, thumbs out, by every kind of judge; counts for people and programs."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import write_rows
from prospect.cli.main import main
from prospect.evaluation.contest.judges.base import text_key
from prospect.feedback import load_feedback
from prospect.feedback.records import Unpaired
from prospect.statistics.rates import proportion
from servers import said

ROWS = [
    {"prompt": f"{i} + {i}?", "completion": f"It is {i + i + i % 2}.", "target": str(i + i), "finished": i != 3}
    for i in range(6)
]
CODE = """
def right(prompt, completion, target):
    return target in completion

def length(prompt, completion):
    return len(completion)

def always(prompt, completion):
    return True

def never(prompt, completion):
    return False

def silent(prompt, completion):
    return None

def broken(prompt, completion):
    raise KeyError("no such answer")

def better(prompt, first, second):
    return len(first) - len(second)
"""


@pytest.fixture
def label(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Labels rows; returns the exit code, the rows written, what was said, and the counts."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(CODE)

    def run(*arguments: str, rows: Any = ROWS, verb: tuple[str, ...] = ("label",)) -> Any:
        write_rows(Path("in.jsonl"), rows)
        Path("out.jsonl").unlink(missing_ok=True)
        code = main([*verb, "in.jsonl", "-o", "out.jsonl", "--json", *arguments])
        output = capsys.readouterr()
        written = load_feedback("out.jsonl") if Path("out.jsonl").exists() else []
        return code, written, output.err, json.loads(output.out) if output.out else None

    return run


def thumbs(rows: list[Unpaired]) -> list[bool]:
    return [row.desirable for row in rows]


@pytest.mark.parametrize("verb", [("label",), ("data", "label")])
@pytest.mark.parametrize(
    "judge", ["verifier:numeric", "verifier:python:mine.py:right", "python:mine.py:right", "mine.py:right"]
)
def test_a_verifier_gives_thumbs(label: Any, judge: str, verb: tuple[str, ...]) -> None:
    code, rows, said, counts = label("--judge", judge, verb=verb)
    assert (code, thumbs(rows)) == (0, [True, False] * 3)
    rate = proportion(3, 6)
    wanted = {"rows": 6, "kept": 6, "desirable": 3, "undesirable": 3, "unread": 0, **rate._asdict()}
    assert {name: counts[name] for name in wanted} == pytest.approx(wanted)
    assert "6 completions in, 6 thumbs out: 3 up, 3 down; up is a score of 1" in said
    assert "thumbs up  50.0% (11.8% to 88.2%), n 6" in said
    assert {row.rater for row in rows} == {judge.removeprefix("python:")} and [row.finished for row in rows].count(
        False
    ) == 1
    assert [row.score for row in rows] == [1, 0] * 3


def test_a_number_a_median_and_cut_completions(label: Any) -> None:
    rows = [*ROWS, {"prompt": "p", "completion": "a longer answer than the others", "finished": False}]
    _, made, said, counts = label("--judge", "mine.py:length", rows=rows)
    assert "up is a score above the median of all" in said and "about half by the threshold itself" in said
    assert (counts["undecided"], counts["kept"]) == (5, 2) and thumbs(made) == [True, True]
    assert "ALL THUMBS ARE UP" in said and "5 without a thumb: their score is the median itself" in said
    _, made, said, counts = label("--judge", "mine.py:length", "--threshold", "20", "--cut", "undesirable", rows=rows)
    assert thumbs(made) == [False] * 7 and made[-1].score is None
    assert "ALL THUMBS ARE DOWN" in said and "2 down without a question: the limit of tokens cut them" in said
    _, made, said, counts = label("--judge", "mine.py:length", "--threshold", "20", "--cut", "drop", rows=rows)
    assert (len(made), counts["rows"], counts["cut"]) == (5, 7, 2)
    assert "2 left out: the limit of tokens cut them" in said


@pytest.mark.parametrize(("judge", "side"), [("always", "UP"), ("never", "DOWN")])
def test_a_judge_that_says_one_thing_is_written_with_loud_advice(label: Any, judge: str, side: str) -> None:
    code, rows, said, _ = label("--judge", f"mine.py:{judge}")
    assert code == 0 and len(rows) == 6
    assert f"ALL THUMBS ARE {side}, and nothing can be learned" in said and "--threshold" in said


def test_labels_that_are_there_are_replaced_and_counted(label: Any) -> None:
    rows = [{**row, "label": True, "rater": "ann"} for row in ROWS]
    _, made, said, counts = label("--judge", "verifier:numeric", rows=rows)
    assert thumbs(made) == [True, False] * 3 and counts["relabelled"] == 3
    assert "3 had a label that said the opposite" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--judge", "mine.py:silent"], 1, r"none of the 6 completions could be read"),
        (["--judge", "mine.py:broken"], 1, r"mine.py:broken failed: KeyError: 'no such answer'. Mend the function"),
        (["--judge", "mine.py:better"], 2, "compares two completions and does not score one. Take a verifier"),
        (["--judge", "mine.py:absent"], 2, 'no function "absent"'),
        (["--judge", "mine.py:length", "--threshold", "equal"], 1, "a score is 8, and the threshold equal knows 1"),
        (["--judge", "mine.py:length", "--threshold", "high"], 2, 'threshold "high": expected equal'),
        (["--judge", "verifier:numeric", "--target", "answer"], 1, "there is no target for the prompt"),
        (["--judge", "verifier:numeric", "--retries", "2"], 2, "are for endpoint:URL#NAME"),
        (["--judge", "verifier:numeric", "--rubric", "Is it?"], 2, "rubric is for judges of kind endpoint and lm"),
        ([], 2, "no judge is named"),
        (["--page", "page.html"], 2, "leave --output out"),
    ],
)
def test_what_cannot_be_is_refused(label: Any, arguments: list[str], code: int, message: str) -> None:
    found, rows, said, counts = label(*arguments)
    assert (found, rows, counts) == (code, [], None), said
    assert message in said


def test_rows_without_completions_and_files_without_rows_are_refused(label: Any) -> None:
    assert (
        "Let a model answer first: prospect generate" in label("--judge", "mine.py:always", rows=[{"prompt": "p"}])[2]
    )
    assert "the file is empty" in label("--judge", "mine.py:always", rows=[])[2]


def test_an_output_that_is_there_is_replaced_whole_and_a_full_disk_leaves_it(
    label: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    label("--judge", "mine.py:always")
    before = Path("out.jsonl").read_bytes()

    def full(*_: Any) -> Iterator[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("prospect.feedback.files.write.encode", full)
        assert main(["label", "in.jsonl", "-o", "out.jsonl", "--judge", "mine.py:never"]) == 1
    assert Path("out.jsonl").read_bytes() == before
    assert main(["label", "in.jsonl", "-o", "out.jsonl", "--judge", "mine.py:never"]) == 0
    assert thumbs(load_feedback("out.jsonl")) == [False] * 6  # type: ignore[arg-type]


def test_a_run_that_is_killed_goes_on_and_asks_nothing_twice(label: Any, tmp_path: Path) -> None:
    code = """
import os, signal
def grade(prompt, completion):
    with open("asked.txt", "a+") as asked:
        asked.write(prompt + "\\n")
        asked.seek(0)
        count = len(asked.readlines())
    if count == 4 and not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return prompt < "3"
"""
    Path("dies.py").write_text(code)
    write_rows(Path("in.jsonl"), ROWS)
    command = ["label", "in.jsonl", "-o", "out.jsonl", "--judge", "dies.py:grade"]
    killed = subprocess.run([sys.executable, "-m", "prospect", *command], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL and not Path("out.jsonl").exists()
    assert main(command) == 0
    asked = Path("asked.txt").read_text().splitlines()
    assert asked == [row["prompt"] for row in (*ROWS[:4], *ROWS[3:])]  # the fourth had no answer yet
    assert thumbs(load_feedback("out.jsonl")) == [True] * 3 + [False] * 3  # type: ignore[arg-type]
    assert not Path("out.jsonl.partial").exists()


def test_a_server_is_asked_once_for_each_completion_and_its_price_is_told(
    label: Any, serve: Callable[..., Any]
) -> None:
    server = serve(lambda _, body: said("Y" if "It is 4." in body["messages"][0]["content"] else "N"))
    judge = ["--judge", f"endpoint:{server.url}#m", "--price", "1,2", "--rubric", "Is it four?"]
    code, _, told, counts = label(*judge, "--request", "seed=3", rows=[*ROWS, ROWS[2]])
    assert (code, counts["desirable"], counts["unread"]) == (0, 2, 0), told
    assert len(server.asked) == 6 and all(body["seed"] == 3 for body in server.asked)
    assert "done: 6 calls of the judge, 600 tokens read and 30 written, cost 0.00066" in told
    assert "Is it four?" in server.asked[0]["messages"][0]["content"]
    assert "up is a score of at least 0.5" in told


def test_a_model_from_disk_gives_soft_labels(label: Any, reader: Any, tmp_path: Path) -> None:
    for part in reader:
        part.save_pretrained(tmp_path / "reader")
    code, rows, told, _ = label("--judge", "lm:reader")
    assert code == 0 and "up is a score of at least 0.5" in told
    assert [row.desirable for row in rows] == [row.score >= 0.5 for row in rows]
    assert all(0 < row.score < 1 for row in rows)


def test_a_reward_model_labels_by_its_median(label: Any, scorer: Any, tmp_path: Path) -> None:
    for part in scorer:
        part.save_pretrained(tmp_path / "scorer")
    code, _, told, _ = label("--judge", "reward:scorer", "--threshold", "prompt_median", rows=ROWS * 2)
    assert code == 1 and "the others are equal to their median" in told
    code, _, told, counts = label("--judge", "reward:scorer")
    assert (code, counts["desirable"], counts["undesirable"]) == (0, 3, 3)
    assert "a score above the median of all" in told


def test_people_give_thumbs_on_a_page(label: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("in.jsonl"), ROWS)
    assert main(["label", "in.jsonl", "--page", "page.html", "--rubric", "Is it right?", "--cut", "drop"]) == 0
    assert "5 completions to give thumbs to: page.html" in capsys.readouterr().err
    page = Path("page.html").read_text()
    assert "Is it right?" in page and page.count("It is ") == 5
    votes = {text_key(row["prompt"], row["completion"]): "up" if i % 2 else "down" for i, row in enumerate(ROWS[:4])}
    saved = {"format": "prospect-votes", "voter": "a", "saved": 1, "votes": votes}
    Path("votes.json").write_text(json.dumps(saved))
    code, rows, told, counts = label("--judge", "human:votes.json")
    assert (code, thumbs(rows)) == (0, [False, True, False, True])
    assert (counts["rows"], counts["kept"], counts["not_judged"], counts["n"]) == (6, 4, 2, 4)
    assert "2 without a thumb: nobody has come to them yet" in told


def test_what_is_labelled_trains(label: Any, model_path: Path) -> None:
    label("--judge", "verifier:numeric")
    settings = ["--set", "train.max_steps=1", "train.batch_size=4", "train.samples=0", "data.eval=null"]
    run = ["train", "kto", "--model", str(model_path), "--data", "out.jsonl", "--output", "run", "--quiet", *settings]
    assert main(run) == 0
    shutil.rmtree("run")
