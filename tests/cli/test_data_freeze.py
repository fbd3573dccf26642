"""`prospect data freeze, diff, purge, export` as a user runs them: exit codes, messages, JSON on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import thumbs, write_rows
from prospect.cli.main import main


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some feedback, which is where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key that is long enough")
    write_rows(tmp_path / "a.jsonl", [{**row, "rater": ("anna", "ben")[i % 2]} for i, row in enumerate(thumbs(6))])
    return tmp_path


def test_freeze_check_and_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "freeze", "a.jsonl", "-o", "frozen", "--json"]) == 0
    out, err = capsys.readouterr()
    manifest = json.loads(out)
    assert "frozen written: 6 unpaired rows of 6 prompts; 3 desirable, 3 undesirable; 2 raters; content" in err
    assert main(["data", "freeze", "a.jsonl", "-o", "frozen"]) == 0
    assert "was there already, with equal content" in capsys.readouterr().err
    assert main(["data", "freeze", "--check", "frozen", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == manifest and "frozen is as it was frozen" in err
    Path("frozen/rows.jsonl").write_text("{}")
    assert main(["data", "freeze", "--check", "frozen"]) == 1
    assert capsys.readouterr().err.startswith("DataError: frozen/rows.jsonl: was changed since it was frozen")


def test_freeze_filters_and_says_what_it_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "purge", "a.jsonl", "--id", "a.jsonl:1"]) == 0
    write_rows(Path("b.jsonl"), [{**row, "time": f"2026-0{i + 1}-01"} for i, row in enumerate(thumbs(3))])
    arguments = ["data", "freeze", "b.jsonl", "-o", "frozen", "--since", "2026-02-01", "--until", "2026-03-01"]
    assert main(arguments) == 0
    assert "left out: 1 too early, 1 too late" in capsys.readouterr().err
    assert main(["data", "freeze", "a.jsonl", "-o", "other", "--source", "web"]) == 1
    assert "no row is left to freeze; left out: 5 other source" in capsys.readouterr().err
    assert main(["data", "freeze", "a.jsonl", "-o", "third", "--purged", "a.jsonl", "--no-relative"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "frozen"], "there is no FILE to freeze"),
        (["a.jsonl", "--check", "frozen"], "--check FOLDER stands alone"),
        (["a.jsonl", "-o", "frozen", "--since", "spring"], "--since spring: expected a time"),
        (["a.jsonl", "-o", "frozen", "--purged", "a.jsonl"], "nothing was ever purged there"),
    ],
)
def test_freeze_used_wrongly(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "freeze", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_diff_has_an_exit_code_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("b.jsonl"), [{**thumbs(1)[0], "label": False, "rater": "anna"}, *thumbs(8)[6:]])
    assert main(["data", "diff", "a.jsonl", "b.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "rows      6 before, 3 after; 0 are the same",
        "added     2   (b.jsonl:2, b.jsonl:3)",
        "removed   5   (a.jsonl:2, a.jsonl:3, a.jsonl:4, a.jsonl:5, a.jsonl:6)",
        "changed   1   (b.jsonl:1)",
        "          in label 1",
        "flipped   1 to undesirable   (b.jsonl:1)",
        "classes   desirable 3 -> 1, undesirable 3 -> 2",
    ]
    assert main(["data", "diff", "a.jsonl", "b.jsonl", "--exit-code", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["flips"] == {"to_undesirable": 1}
    assert main(["data", "diff", "a.jsonl", "a.jsonl", "--exit-code", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["different"] is False


def test_purge_names_the_runs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from prospect.feedback.frozen.freeze import describe_files

    before = (desk / "a.jsonl").read_bytes()
    assert main(["data", "purge", "a.jsonl", "--rater", "anna", "--dry-run"]) == 0
    err = capsys.readouterr().err
    assert "a.jsonl: 3 of 6 rows would be removed" in err and "no run was looked at" in err
    run = desk / "runs" / "kto"
    run.mkdir(parents=True)
    data: dict[str, Any] = {"train": {"files": describe_files("a.jsonl")}, "eval": None}
    (run / "provenance.json").write_text(json.dumps({"data": data}))
    assert main(["data", "purge", "a.jsonl", "--rater", "anna", "--runs", "runz"]) == 1
    assert "no such folder of runs" in capsys.readouterr().err and (desk / "a.jsonl").read_bytes() == before
    assert main(["data", "purge", "a.jsonl", "--rater", "anna", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "a.jsonl: 3 of 6 rows removed" in err and "runs/kto: has used them (train)" in err
    assert json.loads(out) == {
        "dry_run": False,
        "files": [{"path": "a.jsonl", "removed": 3, "left": 3, "derived": 0, "images": []}],
        "runs": [{"path": "runs/kto", "used_as": ["train"]}],
        "unknown_runs": [],
        "runs_looked_at": 1,
    }
    assert main(["data", "purge", "a.jsonl", "--rater", "nobody"]) == 0
    assert "1 runs looked at; none is known to have used these rows" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["data", "purge", "a.jsonl"])


def test_export_says_what_did_not_come_along(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "export", "a.jsonl", "--to", "axolotl", "-o", "out.jsonl", "--json"]) == 0
    out, err = capsys.readouterr()
    for line in ("6 unpaired rows: out.jsonl", "not in this layout: rater (6 rows)", "type: chatml.ultra"):
        assert line in err
    assert json.loads(out)["dropped"] == {"rater": 6}
    write_rows(Path("b.jsonl"), [{"prompt": "", "completion": "b", "label": True}, *thumbs(2)])
    assert main(["data", "export", "b.jsonl", "--to", "axolotl", "-o", "b-out.jsonl"]) == 1
    assert "b.jsonl:1: the row has an empty prompt" in capsys.readouterr().err
    assert main(["data", "export", "b.jsonl", "--to", "axolotl", "-o", "b-out.jsonl", "--leave-out"]) == 0
    assert "left out, for the layout cannot hold them: 1 an empty prompt" in capsys.readouterr().err


def test_none_of_them_imports_torch(desk: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from prospect.cli.main import main\n"
        "for line in sys.stdin.read().splitlines(): assert main(['data', *line.split()]) == 0, line\n"
    )
    commands = (
        "freeze a.jsonl -o frozen\ndiff a.jsonl frozen\n"
        "purge frozen --rater anna\nexport frozen --to trl -o out.jsonl\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=desk, input=commands, capture_output=True, text=True, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
