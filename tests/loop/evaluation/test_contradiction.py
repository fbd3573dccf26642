"""The study of raters who contradict each other: its votes, its closed forms, and that it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conftest import REPOSITORY
from prospect.demo.base import load_base
from prospect.errors import ConfigError
from prospect.results.study import StudyResult
from prospect.studies.sections import Condition
from prospect.user_code import import_file
from prospect.verbs.comparing import compare


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return import_file(REPOSITORY / "studies" / "contradiction.py")


@pytest.fixture(scope="module")
def curve() -> ModuleType:
    return import_file(REPOSITORY / "studies" / "contradiction_curve.py")


def test_every_pair_has_the_votes_that_are_said(script: ModuleType, tmp_path: Path) -> None:
    world = script.Contradiction({"kind": "x", "pairs": 2, "raters": 10})
    (tmp_path / "pairs.json").write_text(json.dumps([["q", "Hello a", "Dear a"], ["r", "Hello b", "Hi b"]]))
    votes = world.feedback(tmp_path, 0, Condition(minority=0.3))
    for name in ("q", "r"):
        first = [row.chosen[0].content.split()[0] for row in votes if row.prompt[0].content == name]
        assert (len(first), first.count("Hello")) == (10, 7)
    with pytest.raises(ConfigError, match=r"a minority of 0\.25 of 10 votes is no number"):
        world.feedback(tmp_path, 0, Condition(minority=0.25))


@pytest.mark.parametrize(
    ("loss", "minority", "reference", "expected"),
    [
        ({"name": "dpo", "beta": 1.0}, 0.4, 0.3, 0.391304),  # docs/theory.md
        ({"name": "dpo", "beta": 0.5}, 0.3, 0.1, 0.376923),
        ({"name": "dpo", "beta": 1.0, "label_smoothing": 0.5}, 0.4, 0.3, 0.3),
        ({"name": "kto", "beta": 1.0}, 0.4, 0.3, 1.0),
        ({"name": "ipo", "tau": 1.0}, 0.4, 0.3, None),
    ],
)
def test_the_closed_forms(
    script: ModuleType, loss: dict[str, Any], minority: float, reference: float, expected: float | None
) -> None:
    found = script.closed_form(loss, minority, [reference])
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


@pytest.mark.slow
def test_the_study_runs(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    small = ["seeds=[0]", "recipe.train.max_steps=2", "world.pairs=3", "world.customers=10", "world.held_out=4"]
    out = tmp_path / "out"
    found = compare("studies/contradiction.yaml", out, only=["kto beta 1", "7 to 3"], overrides=small, jobs=1)
    assert isinstance(found, StudyResult) and (found.runs.done, found.runs.failed) == (1, 0)
    assert 0.05 < found.start["score"].mean < 0.6
    cell = next(cell for cell in found.cells if cell.estimates)
    assert cell.estimates["score"].mean > found.start["score"].mean  # two steps already go to the majority
    monkeypatch.setattr(sys, "argv", ["contradiction.py", str(out), "--json", str(tmp_path / "rows.json")])
    script.main()
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert list(row) == ["method", "beta", "votes", "p", "low", "high", "closed_form", "kl", "seeds"]
    assert (row["beta"], row["votes"], row["closed_form"]) == (1, 0.7, 1.0)
    assert "| kto beta 1 | 0.7 |" in capsys.readouterr().out


def test_the_curve_has_the_probability_that_the_study_scores(
    script: ModuleType, curve: ModuleType, tmp_path: Path
) -> None:
    scored = script.Contradiction({"kind": "x", "held_out": 3}).score(None, tmp_path, 0).scores["score"]
    assert curve.chances(*load_base(), 3) == pytest.approx(scored, rel=1e-5)


@pytest.mark.slow
def test_the_curve_is_drawn_of_the_checkpoints_of_the_studys_runs(
    curve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    small = ["recipe.train.max_steps=3", "world.pairs=3", "world.customers=10", "world.held_out=4"]
    monkeypatch.setattr(curve, "SETTINGS", (*small, "recipe.train.save_every=1", "keep_models=true"))
    monkeypatch.setattr(curve, "EVERY", 1)
    monkeypatch.setattr(curve, "METHODS", ("dpo beta 1",))
    figure, rows = tmp_path / "curve.svg", tmp_path / "rows.json"
    places = ["--runs", str(tmp_path / "out"), "--figure", str(figure), "--json", str(rows)]
    monkeypatch.setattr(sys, "argv", ["contradiction_curve.py", "--seeds", "0", *places])
    curve.main()
    found = json.loads(rows.read_text())
    assert [row["step"] for row in found] == [0, 1, 2, 3]
    assert len({row["p"] for row in found}) == 4
    assert "DPO β 1, closed form" in figure.read_text(encoding="utf-8")
    assert "| closed form | " in capsys.readouterr().out
