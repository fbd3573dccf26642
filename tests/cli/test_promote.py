"""`prospect promote`, from the first model over a canary to the next one and back."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collecting import a_turn, a_vote, fill, with_store
from evaluations import a_run, a_run_that_passes
from prospect.cli.main import main


@pytest.fixture
def promote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command on a registry; returns exit code, what was said, and the JSON where it was asked for."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, Any]:
        capsys.readouterr()
        try:
            code = main(["promote", "--registry", "registry", *words])
        except SystemExit as stop:
            code = int(str(stop.code))
        done = capsys.readouterr()
        return code, done.err, json.loads(done.out) if done.out else None

    return run


def vote(address: str, *, canary_up: float, count: int = 80) -> None:
    """Give `count` votes to each of the two models, 80 % of those of the current one up."""
    now = datetime.now(UTC) + timedelta(seconds=1)
    things: list[Any] = []
    for arm, model, up in (("current", "old", 0.8), ("canary", "new", canary_up)):
        for number in range(count):
            turn = a_turn(arm=arm, model=model, created=now, conversation=f"{arm}{number}")
            things += [turn, a_vote(turn, 1 if number % 10 < 10 * up else -1, f"{arm}{number}")]
    with_store(address, lambda store: fill(store, *things))


@pytest.fixture
def on_trial(promote: Any) -> Any:
    """The same, with `old` current and `new` a canary for half of the conversations."""
    a_run(Path("runs/old"))
    a_run_that_passes(Path("runs/new"), "runs/old")
    assert promote("runs/old", "--full", "--reason", "in use")[0] == 0
    code, said, _ = promote("runs/new", "--canary", "50%")
    assert code == 0 and "passed  contest: verifier gives it" in said and "canary   new for 50% of the" in said
    return promote


def test_a_run_becomes_a_candidate_a_canary_and_current_and_can_be_taken_back(promote: Any) -> None:
    a_run(Path("runs/old"))
    a_run_that_passes(Path("runs/new"), "runs/old")
    assert promote("runs/old", "--full", "--reason", "in use")[0] == 0
    assert promote("runs/new")[0] == 0
    assert promote("runs/new", "--canary", "50%")[0] == 0
    code, said, _ = promote("runs/new", "--full")
    assert code == 1 and "StoreError: store.sqlite: no such file" in said
    vote("store.sqlite", canary_up=0.8)
    code, said, _ = promote("runs/new", "--full")
    assert code == 1 and "failed  canary: not shown: its up-share is +0.0 (" in said and "--waive CHECK" in said
    code, said, _ = promote("runs/new", "--full", "--waive", "canary", "--reason", "we are few")
    assert code == 0 and "waived  canary: not shown" in said and "current  new (" in said
    code, said, result = promote("--rollback", "--reason", "complaints", "--json")
    assert code == 0 and result["current"]["model"] == "old" and result["canary"] is None
    code, said, result = promote("--json")
    assert [(entry["model"], entry["state"]) for entry in result["history"]] == [
        ("old", "candidate"), ("old", "current"), ("new", "candidate"), ("new", "canary"), ("old", "retired"),
        ("new", "current"), ("new", "retired"), ("old", "current"),
    ]  # fmt: skip
    assert "new retired, by " in said and ": complaints" in said and "    waived  canary: not shown" in said


def test_a_check_rolls_a_worse_canary_back_and_leaves_another_alone(on_trial: Any) -> None:
    vote("good.sqlite", canary_up=0.8)
    code, said, result = on_trial("--check", "--db", "good.sqlite", "--json")
    assert code == 0 and result["looked"]["verdict"] == "not shown" and result["canary"]["model"] == "new"
    assert "new: 80 turns in 80 conversations, 64 votes up and 16 down, 0 errors" in said
    vote("bad.sqlite", canary_up=0.1)
    code, said, result = on_trial("--check", "--db", "bad.sqlite", "--json")
    assert code == 0 and result["looked"]["verdict"] == "worse" and result["canary"] is None
    assert result["history"][-1]["who"] == "prospect" and "canary   none" in said
    code, said, _ = on_trial("--check", "--db", "bad.sqlite")
    assert code == 1 and "PromotionError: no canary is under way" in said


def test_a_plan_says_what_a_canary_needs_and_changes_nothing(on_trial: Any) -> None:
    before = Path("registry/models.json").read_bytes()
    code, said, result = on_trial("--plan", "--canary", "10%", "--margin", "10", "--json")
    assert code == 0 and "2.0% of turns get a vote, and 80.0% of the votes are up (assumed" in said
    assert [plan["share"] for plan in result["plans"]] == [0.1, 0.05, 0.2, 0.5]
    assert all(plan["turns"] == 50 * plan["votes"] for plan in result["plans"])
    vote("store.sqlite", canary_up=0.8)
    code, said, result = on_trial("--plan", "--margin", "10", "--json")
    assert "100.0% of turns get a vote, and 80.0% of the votes are up (80 votes on old)" in said
    assert all(plan["turns"] == plan["votes"] for plan in result["plans"])
    assert Path("registry/models.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x", "--canary", "5"], "5: expected a share from 0% to 100%, such as 5%"),
        (["x", "--canary", "100%"], "100%: expected a share"),
        (["x", "--canary", "nan%"], "nan%: expected a share"),
        (["--full"], "which model? Name its run"),
        (["x", "--full", "--waive", "alarms"], "--waive: say why with --reason TEXT"),
        (["x", "--margin", "0"], "--margin 0: expected points between 0 and 100"),
        (["x", "--margin", "nan"], "--margin nan: expected points between 0 and 100"),
        (["x", "--full", "--plan"], "--plan is about a canary and changes nothing"),
        (["x", "--full", "--rollback"], "not allowed with argument --full"),
    ],
)
def test_wrong_usage_is_refused_and_writes_nothing(promote: Any, words: list[str], said: str) -> None:
    code, err, _ = promote(*words)
    assert code == 2 and said in err and not Path("registry").exists()


def test_a_registry_that_is_a_file_is_refused(promote: Any) -> None:
    Path("registry").write_text("")
    code, said, _ = promote("base", "--full")
    assert code == 1 and "OutputError: registry: is a file; expected the name of a folder" in said


def test_the_command_starts_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from prospect.cli.main import main; main(['promote', 'base', '--full', '--registry', 'r']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
