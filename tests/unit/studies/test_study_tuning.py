"""Grids of settings, and the choice among them before a study is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_study import ALL, PaperWorld, study, write

from conftest import REPOSITORY
from prospect.errors import ConfigError, TrainingError
from prospect.report.comparison.page import render_comparison_page
from prospect.results.study_entries import StudyTuning
from prospect.studies.grids import edges, points
from prospect.studies.markdown import as_markdown
from prospect.studies.outcome import make_world
from prospect.studies.plan import Cell, make_cells
from prospect.studies.pooling import pool
from prospect.studies.reading import load_study
from prospect.studies.study import Study
from prospect.studies.table import make_result
from prospect.studies.tuning import require_own_prompts, settle, tuning_study
from prospect.user_code import import_file

RATES = {"train.learning_rate": ["1e-4", 2e-4, 4e-4]}
TUNE: dict[str, Any] = {"seeds": [7, 8], "tries": {"kto": RATES, "dpo": RATES}}


@pytest.fixture(autouse=True)
def _on_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prospect.studies.tuning.make_world", PaperWorld)


def tried(one: Study, folder: Path, kto: list[float], dpo: list[float]) -> list[Cell]:
    """The tries, each with the share that passed."""
    tries = tuning_study(one)
    cells = make_cells(tries, PaperWorld({}), folder)
    write(cells, dict(zip(tries.cells(), [*kto, *dpo], strict=True)))
    return cells


def test_a_grid_is_a_method_for_every_combination() -> None:
    grid = {"kto": {"train.learning_rate": ["1e-4", 2e-4], "loss.beta": [0.1, 1]}}
    one = study(grid=grid, baseline={"method": "kto learning_rate 0.0001 beta 1"})
    assert list(one.methods) == [
        *(f"kto learning_rate {rate} beta {beta}" for rate in ("0.0001", "0.0002") for beta in (0.1, 1)),
        "dpo",
    ]
    method = one.methods["kto learning_rate 0.0001 beta 1"]
    assert method.recipe() == {"loss": {"name": "kto", "beta": 1}, "train": {"learning_rate": 1e-4}}
    assert len(points({"a.x": [1, 2, 3], "a.y": [1, 2]})) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"kt": RATES}}, 'there is no method "kt"; did you mean "kto"'),
        ({"grid": {"kto": {"learning_rate": [1]}}}, "learning_rate is no key of a recipe"),
        ({"grid": {"kto": {"train.learning_rate": ["1e-4", 1e-4]}}}, "expected different values"),
        ({"grid": {"kto": {"train.learning_rate": []}}}, "at least 1"),
        ({"grid": {"kto": {}}}, "grid.kto is empty"),
        ({"tune": {**TUNE, "tries": {"kto": RATES}}}, "tune.tries has kto 3, dpo 0; expected as many for every method"),
        ({"tune": {**TUNE, "seeds": [2, 7]}}, r"tune.seeds are \[2, 7\], and seeds \[0, 1, 2\]; expected others"),
        ({"tune": {**TUNE, "condition": "noizy"}}, 'did you mean "noisy"'),
        ({"tune": {**TUNE, "sedes": [1]}}, 'unknown key tune.sedes; did you mean "seeds"'),
        (
            {
                "methods": {"sft": {"loss": "sft"}, "kto": {"loss": "kto", "after": "sft"}},
                "tune": {**TUNE, "tries": {"kto": RATES, "sft": RATES}},
                "baseline": "start",
            },
            "tune is for methods that start from the world's model",
        ),
    ],
)
def test_what_is_wrong_in_a_grid_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**changes)


def test_the_best_try_of_each_method_becomes_its_setting(tmp_path: Path) -> None:
    one = study(tune=TUNE, title="Small")
    tuned, tuning = settle(one, tried(one, tmp_path, [0.5, 0.8, 0.6], [0.5, 0.7, 0.7]))
    assert {name: method.train for name, method in tuned.methods.items()} == {
        "kto": {"learning_rate": 2e-4},
        "dpo": {"learning_rate": 2e-4},  # of equal ones the first
    }
    assert (tuned.tune, tuned.conditions, tuned.seeds) == (None, one.conditions, one.seeds)
    assert [round(row.estimate.mean, 3) for row in tuning.methods[0].tries if row.estimate] == [0.5, 0.8, 0.6]
    cells = make_cells(tuned, PaperWorld({}), tmp_path / "final")
    write(cells, ALL)
    found = make_result(tuned, PaperWorld({}), cells, "small.yaml", protocol=one.protocol(), tuning=tuning)
    row = "| kto | train.learning_rate 0.0001, 0.0002, 0.0004 | 50.0 **80.0** 60.0 | train.learning_rate 0.0002 |"
    assert row in as_markdown(found)
    assert f"Protocol {one.protocol()}." in as_markdown(found)
    assert "Tuned on 40 other held-out prompts" in render_comparison_page(found)
    assert StudyTuning.model_validate(tuning.as_dict()) == tuning


def test_a_best_at_the_edge_is_refused_or_flagged(tmp_path: Path) -> None:
    one = study(tune=TUNE)
    cells = tried(one, tmp_path, [0.5, 0.6, 0.8], [0.5, 0.7, 0.6])
    with pytest.raises(ConfigError, match=r"beyond it: kto: train.learning_rate\. Try more on that side"):
        settle(one, cells)
    flagged = study(tune={**TUNE, "at_edge": "flag"})
    tuned, tuning = settle(flagged, cells)
    final = make_cells(tuned, PaperWorld({}), tmp_path / "final")
    write(final, ALL)
    found = make_result(tuned, PaperWorld({}), final, "small.yaml", tuning=tuning)
    text = "kto was tuned to the edge of what was tried, and may do better beyond it: train.learning_rate 0.0004."
    assert [finding.text for finding in found.findings if "edge" in finding.text] == [text]
    assert "| 50.0 60.0 **80.0** | train.learning_rate 0.0004, at the edge |" in as_markdown(found)
    grid = {"loss.beta": [0.1, 0.3, 1], "loss.name": ["a", "b"], "train.epochs": [2]}
    assert edges(grid, {"loss.beta": 0.3, "loss.name": "a", "train.epochs": 2}) == []


def test_a_try_that_failed_is_not_chosen(tmp_path: Path) -> None:
    one = study(tune=TUNE)
    cells = tried(one, tmp_path, [0.5, 0.6, 0.5], [0.5, 0.7, 0.6])
    for cell in cells[:4]:  # both seeds of two of KTO's tries
        cell.outcome_path.unlink()
        cell.failure("TrainingError: not finite").write(cell.failure_path)
    with pytest.raises(ConfigError, match=r"kto: train\.learning_rate"):
        settle(one, cells)
    for cell in cells[4:6]:
        cell.outcome_path.unlink()
        cell.failure("TrainingError: not finite").write(cell.failure_path)
    with pytest.raises(TrainingError, match="no try of kto could be made: TrainingError: not finite"):
        settle(one, cells)


def test_what_is_fixed_beforehand_has_a_hash(tmp_path: Path) -> None:
    rule = {"left": "kto", "right": "dpo", "must_be": "not lower", "by": 0.05}
    claim = {"text": "t", "source": "s", "rules": [rule]}
    same = study(tune=TUNE, claim=claim).protocol()
    assert study(tune=TUNE, claim={**claim, "text": "in other words"}, title="Other").protocol() == same
    other_prompts = tmp_path / "held_out.jsonl"
    other_prompts.write_text("a")
    named = study(tune={**TUNE, "world": {"held_out": str(other_prompts)}}, claim=claim)
    before = named.protocol()
    other_prompts.write_text("b")
    assert same != before != named.protocol()
    for other in (
        study(tune=TUNE, claim={**claim, "rules": [{**rule, "by": 0.06}]}),
        study(tune={**TUNE, "seeds": [9]}, claim=claim),
        study(claim=claim),
        study(tune=TUNE, claim=claim, seeds=[3]),
    ):
        assert other.protocol() != same


def test_tries_are_scored_on_prompts_of_their_own() -> None:
    final, again = (make_world({"kind": "demo", "held_out": 20, "held_out_after": n}) for n in (0, 10))
    with pytest.raises(ConfigError, match="scored on 10 of the study's own 20 prompts"):
        require_own_prompts(final, again)
    require_own_prompts(final, make_world({"kind": "demo", "held_out": 20, "held_out_after": 20}))


def test_the_protocol_and_the_runs_of_the_committed_study_of_contradictions_keep_their_hashes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was run under them stays readable; a change of the world's file or of the protocol is another study."""
    monkeypatch.chdir(REPOSITORY)
    one = load_study("studies/contradiction.yaml")
    cells = make_cells(one, make_world(one.world), tmp_path)
    assert (one.protocol(), one.digest()) == ("7a2624c2ed426259", "44307ab198c61dd9")
    assert (cells[0].digest, cells[-1].digest) == ("f0a1c9c0beac35dc", "23c1703be5c6dddf")


def test_the_interval_of_a_tuned_method_holds_the_truth_for_it_was_tuned_on_other_prompts_and_seeds() -> None:
    """Nine settings that are equally good: the best of those that are reported is reported too high."""
    simulations = import_file(REPOSITORY / "benchmarks" / "pooling.py")
    found = simulations.simulate_tuned((0.0,) * 9, 0.5, 300)
    assert found["covers_apart"] > 0.94 and abs(found["too_high_apart"]) < 0.01
    assert found["covers_same"] < 0.92 and found["too_high_same"] > 0.03


def test_power_is_read_off_the_smallest_difference_that_is_printed() -> None:
    simulations = import_file(REPOSITORY / "benchmarks" / "pooling.py")
    pooled = pool((np.random.default_rng(0).normal(0, 0.3, (5, 40))).tolist())
    for power in (0.3, 0.8, 0.95):
        assert simulations.power_of(pooled, pooled.detectable(0.01, power), 0.01) == pytest.approx(power)
