"""A study is run: one process or two, all at once or in pieces, and what cannot be run does not stop the others."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from conftest import thumbs, write_rows
from prospect.errors import ConfigError, RunStopped, TrainingError
from prospect.results.study import StudyResult
from prospect.results.study_entries import RunCounts
from prospect.statistics.ranking import auroc
from prospect.studies import runner
from prospect.studies.files import auroc_parts, by_prompt
from prospect.studies.kl import sampled_kl
from prospect.studies.outcome import make_world
from prospect.studies.plan import Cell, make_cells
from prospect.studies.reading import check_study
from prospect.studies.runner import run_study
from prospect.studies.study import Study
from prospect.studies.table import make_result
from prospect.training.session import Session
from prospect.verbs.comparing import compare


@pytest.fixture
def study(tmp_path: Path, model_path: Path) -> Study:
    """KTO, SFT and KTO after SFT, two seeds, two steps each."""
    rows = thumbs(60, prompts=15)
    train = write_rows(tmp_path / "train.jsonl", rows[:40])
    held_out = write_rows(tmp_path / "held_out.jsonl", [{**row, "prompt": "now " + row["prompt"]} for row in rows[40:]])
    return check_study(
        {
            "name": "small",
            "world": {"kind": "files", "model": str(model_path), "data": str(train), "held_out": str(held_out)},
            "recipe": {"train": {"batch_size": 8, "max_steps": 2, "learning_rate": 1e-2, "save_every": 1}},
            "methods": {"then kto": {"loss": "kto", "after": "sft"}, "sft": {"loss": "sft"}, "kto": {"loss": "kto"}},
            "seeds": [0, 1],
            "baseline": {"method": "sft"},
        }
    )


def run(study: Study, folder: Path, cells: list[Cell] | None = None, **options: Any) -> StudyResult:
    world = make_world(study.world)
    every = make_cells(study, world, folder)
    run_study(study, cells if cells is not None else every, folder, **options)
    return make_result(study, world, every, "small.yaml")


def numbers(folder: Path) -> dict[str, Any]:
    """Every score of every run."""
    return {
        str(path.relative_to(folder)): json.loads(path.read_text())["scores"] for path in folder.rglob("outcome.json")
    }


def test_a_study_runs_and_what_is_finished_is_not_run_again(study: Study, tmp_path: Path, monkeypatch: Any) -> None:
    said: list[str] = []
    first = run(study, tmp_path / "out", say=said.append)
    assert first.runs == RunCounts(wanted=6, done=6, failed=0)
    assert len(said) == 6
    assert said[0].startswith("[1/6] sft · as it is · seed 0: score 0.")
    assert {cell.method: cell.runs[0].steps for cell in first.cells} == {"then kto": 2, "sft": 2, "kto": 2}
    shares = {cell.method: cell.runs[0].z0_clamped for cell in first.cells}
    assert shares["sft"] is None and shares["kto"] in (0, 0.5, 1)
    assert first.cells[0].estimates.keys() == {"score", "auroc", "drift"}
    assert first.start == {}
    monkeypatch.setattr(runner, "run_cell", lambda *_: pytest.fail("it was run again"))
    assert run(study, tmp_path / "out", say=said.append) == first
    assert len(said) == 6


def test_only_models_that_others_start_from_are_kept(study: Study, tmp_path: Path) -> None:
    run(study, tmp_path / "out")
    kept = {path.parents[3].name for path in (tmp_path / "out" / "cells").rglob("model") if path.is_dir()}
    assert kept == {"sft"}
    model = tmp_path / "out/cells/sft/as-it-is/seed-0/run/model"
    before = json.loads((model.parents[1] / "outcome.json").read_text())["scores"]
    shutil.rmtree(model)  # as if nothing had started from it yet
    run(study, tmp_path / "out")
    assert model.is_dir()
    assert json.loads((model.parents[1] / "outcome.json").read_text())["scores"] == before


def test_a_study_in_pieces_gives_the_numbers_of_a_whole_one(study: Study, tmp_path: Path, monkeypatch: Any) -> None:
    whole = run(study, tmp_path / "whole")
    world = make_world(study.world)
    cells = make_cells(study, world, tmp_path / "pieces")

    def stop(*_: Any) -> None:
        raise TrainingError("out of power")

    monkeypatch.setattr(type(world), "score", lambda self, model, *_: stop() if model else None)
    failed = run(study, tmp_path / "pieces", [cells[0]])
    assert failed.runs.failed == 1
    assert (cells[0].run_path / "checkpoints").is_dir()  # trained, and not scored
    monkeypatch.undo()
    pieces = run(study, tmp_path / "pieces")
    assert pieces.runs == RunCounts(wanted=6, done=6, failed=0)
    assert not cells[0].failure_path.exists()
    assert numbers(tmp_path / "pieces") == numbers(tmp_path / "whole")
    assert pieces.comparisons == whole.comparisons


def test_a_signal_stops_a_study_and_the_same_command_goes_on(study: Study, tmp_path: Path, monkeypatch: Any) -> None:
    """A signal is no failure of one run, after which the others would go on."""
    clip, steps = Session.clip_gradient, []

    def interrupted(self: Any, step: int) -> float:
        steps.append(step)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return clip(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "clip_gradient", interrupted)
        with pytest.raises(RunStopped, match=r"stopped in .*\. The same command goes on where it stood\.") as stop:
            run(study, tmp_path / "out")
    assert stop.value.exit_code == 143 and len(steps) == 3
    assert run(study, tmp_path / "out").runs == RunCounts(wanted=6, done=6, failed=0)
    run(study, tmp_path / "whole")
    assert numbers(tmp_path / "out") == numbers(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(study: Study, tmp_path: Path) -> None:
    one = study.model_copy(update={"seeds": [0]})
    said: list[str] = []
    run(one, tmp_path / "one")
    run(one, tmp_path / "two", jobs=2, say=said.append)
    assert len(said) == 3
    assert numbers(tmp_path / "two") == numbers(tmp_path / "one")


def test_what_cannot_be_run_fails_by_itself(study: Study, tmp_path: Path) -> None:
    """SFT has nothing to imitate, so what starts from it has no start; KTO may learn from one class if told so."""
    values = study.model_dump(exclude_unset=True)
    values["conditions"] = {"none": {"keep_desirable": 0.0}}
    values["methods"]["kto"]["data"] = {"allow_one_class": True}
    found = run(check_study(values), tmp_path / "out")
    assert found.runs == RunCounts(wanted=6, done=2, failed=4)
    errors = {cell.method: cell.runs[0].error for cell in found.cells}
    assert errors["sft"].startswith("DataError: loss sft needs demonstrations")
    assert errors["then kto"] == "it starts from sft · none · seed 0, which failed"
    assert errors["kto"] is None


def test_a_tuned_study_is_run_with_what_its_tries_chose(study: Study, tmp_path: Path, monkeypatch: Any) -> None:
    grid = {"train.learning_rate": [1e-3, 1e-2, 1e-1]}
    values = study.model_dump(exclude_unset=True)
    rows = thumbs(80, prompts=20)[60:]
    other = write_rows(tmp_path / "tuning.jsonl", [{**row, "prompt": "then " + row["prompt"]} for row in rows])
    values |= {"methods": {"kto": {"loss": "kto"}}, "seeds": [0], "baseline": "start"}
    values["tune"] = {"seeds": [5], "tries": {"kto": grid}, "at_edge": "flag"}
    path = tmp_path / "tuned.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="of the study's own 15 prompts"):
        compare(path, tmp_path / "out", jobs=1)
    values["tune"]["world"] = {"held_out": str(other)}
    path.write_text(yaml.safe_dump(values))
    found = compare(path, tmp_path / "out", jobs=1)
    (one,) = found.tuning.methods
    best = max(one.tries, key=lambda tried: tried.estimate.mean)
    assert one.chosen == best.settings == {"train.learning_rate": found.methods[0].recipe["train"]["learning_rate"]}
    assert len(list((tmp_path / "out" / "tuning" / "cells").rglob("outcome.json"))) == 3
    monkeypatch.setattr(runner, "run_cell", lambda *_: pytest.fail("it was run again"))
    assert compare(path, tmp_path / "out", jobs=1) == found


def test_the_pages_of_a_result_are_made_of_the_runs_directories(study: Study, tmp_path: Path) -> None:
    found = run(study, tmp_path / "out")
    for cell in found.cells:
        for one in cell.runs:
            assert (tmp_path / "out" / one.folder / "run" / "metrics.jsonl").is_file()
    seconds = [one.seconds for cell in found.cells for one in cell.runs]
    assert found.seconds == pytest.approx(sum(seconds), abs=0.1)


def test_auroc_in_parts_is_auroc() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    scores, desirable = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    prompts = [f"p{i}" for i in rng.integers(0, 9, 40)]
    parts = by_prompt(auroc_parts(scores, desirable), prompts)
    assert len(parts) == len(set(prompts))
    assert np.mean(parts) == pytest.approx(auroc(scores.tolist(), desirable.tolist()))


def test_the_support_desk_is_a_world(tmp_path: Path) -> None:
    world = {"kind": "demo", "prompts": 6, "replies": 2, "held_out": 3, "feedback": "pairs"}
    one = check_study(
        {
            "name": "desk",
            "world": world,
            "recipe": {"train": {"batch_size": 4, "max_steps": 1}},
            "methods": {"dpo": {"loss": "dpo"}},
            "conditions": {"in circles": {"intransitive": 0.5}},
            "seeds": [0],
        }
    )
    found = run(one, tmp_path / "out")
    (cell,) = found.cells
    assert cell.runs[0].status == "done", cell.runs[0].error
    assert found.start["words"].value > 10
    assert len(cell.runs[0].examples) == 3
    assert cell.runs[0].examples[0].start
    assert cell.wins.n == 3
    assert cell.estimates["kl"].n == 3 and "kl" not in found.start


def test_the_sampled_kl_is_none_to_itself_and_some_to_another(model_path: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model_path, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: weights[name] * 1.5}, other / "model.safetensors", metadata={"format": "pt"})
    prompts = [f"question {i}?" for i in range(8)]
    assert sampled_kl(model_path, model_path, prompts, max_new_tokens=6, seed=0) == [0.0] * 8
    assert sum(sampled_kl(other, model_path, prompts, max_new_tokens=6, seed=0)) / 8 > 0
