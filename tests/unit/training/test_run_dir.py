"""The run directory: written by training, read by everything else, readable at any moment of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from prospect.errors import CheckpointError
from prospect.results.run import Alarm, AlarmsRow, PolicyOrigin, Provenance, SampleRow
from prospect.run_dir import RunDir

ROWS: list[dict[str, float]] = [{"step": 1, "größe": 0.5}, {"step": 2, "漢字 🦊": 2}]
SAMPLES = [
    SampleRow(step=1, prompt="größe", completion="c"),
    SampleRow(step=2, prompt="p", completion="漢字 🦊", tokens=3),
]
ALARMS = AlarmsRow(step=1, epoch=0.5, alarms=[Alarm("length", "größer")])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def test_what_is_absent_is_empty(run: RunDir) -> None:
    assert not run.exists()
    assert run.config() == run.evaluations() == {}
    assert run.provenance() == Provenance() and not run.provenance().known
    assert run.metrics() == run.alarms() == run.samples() == []
    run.rewind(3)
    assert not run.path.exists()


def test_the_layout_is_the_designs(run: RunDir) -> None:
    names = ["config", "provenance", "metrics", "samples", "checkpoints", "model", "evaluation", "report"]
    files = [getattr(run, f"{name}_path").relative_to(run.path).as_posix() for name in names]
    assert files == [
        "config.yaml",
        "provenance.json",
        "metrics.jsonl",
        "samples.jsonl",
        "checkpoints",
        "model",
        "evaluation",
        "report.html",
    ]
    assert os.fspath(run) == str(run.path)
    assert repr(run) == f"RunDir({str(run.path)!r})"
    assert RunDir(run).path == run.path


def test_everything_that_is_written_is_read_back(run: RunDir) -> None:
    config = {
        "output": "läuft",
        "train": {"max_grad_norm": float("inf"), "adam_betas": [0.9, 0.999]},
        "eval": None,
    }
    run.write_config(config)
    run.write_provenance(Provenance(git="ü", steps=3))
    path = run.write_evaluation("held_out", {"rate": 0.5})
    for row in ROWS:
        run.append_metrics(row)
    run.append_alarms(ALARMS)
    run.append_samples(SAMPLES)
    assert run.exists()
    assert run.config() == config
    assert run.provenance() == Provenance(git="ü", steps=3)
    assert path == run.evaluation_path / "held_out.json"
    assert run.evaluations() == {"held_out": {"rate": 0.5}}
    assert (run.metrics(), run.alarms(), run.samples()) == (ROWS, [ALARMS], SAMPLES)


def test_a_resolved_recipe_keeps_the_order_of_its_keys(run: RunDir) -> None:
    run.write_config({"model": 1, "data": 2, "a": 3})
    assert run.config_path.read_text() == "model: 1\ndata: 2\na: 3\n"


def test_a_line_torn_anywhere_is_not_an_object_yet(run: RunDir) -> None:
    """A killed run leaves any number of bytes of its last line, also half a character."""
    for row in ROWS:
        run.append_metrics(row)
    whole = run.metrics_path.read_bytes()
    first = whole.index(b"\n") + 1
    assert any(byte > 127 for byte in whole[first:])
    for end in range(first, len(whole) + 1):
        run.metrics_path.write_bytes(whole[:end])
        complete = end >= len(whole) - 1  # the line break alone may be missing
        assert run.metrics() == ROWS[: 2 if complete else 1], whole[:end]


def test_a_resumed_run_writes_over_a_torn_line(run: RunDir) -> None:
    for row in ROWS:
        run.append_metrics(row)
    whole = run.metrics_path.read_bytes()
    for torn in (1, 2, 5, 8):
        run.metrics_path.write_bytes(whole[:-torn])
        run.rewind(1)
        run.append_metrics({"step": 2, "again": 1})
        assert run.metrics() == [ROWS[0], {"step": 2, "again": 1}]


def test_rewind_forgets_later_steps_of_metrics_and_samples(run: RunDir) -> None:
    for step in (0, 1, 1, 2, 3):
        run.append_metrics({"step": step})
        run.append_samples([SampleRow(step=step, prompt="p", completion="c")])
    run.rewind(1)
    assert [row["step"] for row in run.metrics()] == [row.step for row in run.samples()] == [0, 1, 1]
    run.rewind(-1)
    assert run.metrics() == run.samples() == []


@pytest.mark.parametrize("line", [b'{"step": 2, "loss": nonsense}', b"{", b'{"text": "\xff"}'])
def test_a_broken_line_that_is_not_the_last_is_refused_with_its_number(run: RunDir, line: bytes) -> None:
    """Training never writes one: somebody edited the file, or the disk is failing."""
    run.append_metrics(ROWS[0])
    with run.metrics_path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:2: not valid JSON"):
        run.metrics()


@pytest.mark.parametrize("line", ["[]", "3", "null", '"text"'])
def test_a_line_that_is_no_object_is_refused_with_its_number(run: RunDir, line: str) -> None:
    run.append_metrics(ROWS[0])
    with run.metrics_path.open("a") as file:
        file.write(line + "\n")
    for read in (run.metrics, run.begun, lambda: run.rewind(0)):
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl:2: no object\. Was it edited by hand"):
            read()


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        *(
            (f'{{"step": {step}}}', "step is .*; expected a whole number")
            for step in ('"2"', "-1", "1.5", "true", "null")
        ),
        ('{"loss": 0.5}', "step is None; expected a whole number of at least 0"),
        ('{"step": 1, "loss": "x"}', "loss is 'x'; expected a number"),
        ('{"step": 1, "loss": null}', "loss is None; expected a number"),
        ('{"step": 1, "alarms": [{"kind": "length"}]}', "epoch cannot be read: field required"),
    ],
)
def test_a_line_that_no_run_writes_is_refused_with_its_number(run: RunDir, row: str, fault: str) -> None:
    run.append_metrics(ROWS[0])
    with run.metrics_path.open("a") as file:
        file.write(row + "\n")
    for read in (run.metrics, run.alarms, run.begun, lambda: run.rewind(0)):
        with pytest.raises(CheckpointError, match=rf"metrics\.jsonl:2: {fault}.*\. Was it edited by hand\?"):
            read()


def test_a_sample_that_no_run_writes_is_refused_with_its_number(run: RunDir) -> None:
    run.append_samples(SAMPLES)
    with run.samples_path.open("a") as file:
        file.write('{"step": 3, "prompt": "p"}\n')
    with pytest.raises(CheckpointError, match=r"samples\.jsonl:3: completion cannot be read: field required\."):
        run.samples()


def test_a_provenance_or_recipe_of_another_kind_is_refused(run: RunDir) -> None:
    run.path.mkdir()
    run.provenance_path.write_text("[]")
    with pytest.raises(CheckpointError, match=r"provenance\.json: holds no object"):
        run.provenance()
    run.config_path.write_text("- a\n- b\n")
    with pytest.raises(CheckpointError, match=r"config\.yaml: holds no recipe"):
        run.config()


def test_a_run_directory_of_0_1_is_read(run: RunDir) -> None:
    """Its format is a number, and it lacks what was added since."""
    older = {"format": 1, "prospect": "0.1.0", "data": {"train": {"rows": 3}, "eval": None}, "reference": None}
    run.path.mkdir()
    run.provenance_path.write_text(json.dumps(older))
    found = run.provenance()
    assert (found.prospect, found.data.train.rows, found.data.train.tokens) == ("0.1.0", 3, None)


def test_fields_of_a_newer_minor_version_are_left_out(run: RunDir) -> None:
    run.path.mkdir()
    newer = {"format": "prospect.run/1.4", "steps": 3, "mood": "good", "policy": {"colour": "blue", "parameters": 5}}
    run.provenance_path.write_text(json.dumps(newer))
    assert run.provenance() == Provenance(steps=3, policy=PolicyOrigin(parameters=5))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("prospect.run/2", r"format is prospect\.run/2; expected prospect\.run/1 or older\. Read it with"),
        ("prospect.study/1", r"format is 'prospect\.study/1'; expected prospect\.run/1\. Is it another file"),
        (2, r"format is 2; expected prospect\.run/1"),
        (True, r"format is True; expected prospect\.run/1"),
    ],
)
def test_another_format_or_a_newer_major_version_is_refused(run: RunDir, found: Any, message: str) -> None:
    run.path.mkdir()
    run.provenance_path.write_text(json.dumps({"format": found}))
    with pytest.raises(CheckpointError, match=rf"provenance\.json: {message}"):
        run.provenance()
    run.evaluation_path.mkdir()
    (run.evaluation_path / "x.json").write_text('{"format": "prospect.mood/1"}')
    with pytest.raises(
        CheckpointError, match=r"x\.json: format is prospect\.mood/1; expected one of prospect\.feedback"
    ):
        run.evaluations()


def test_what_was_appended_can_be_forgotten(run: RunDir) -> None:
    run.append_metrics(ROWS[0])
    sizes = run.sizes()
    run.append_metrics(ROWS[1])
    run.append_samples(SAMPLES)
    run.cut(sizes)
    assert run.metrics() == ROWS[:1] and run.samples() == []


def test_empty_lines_are_passed_over(run: RunDir) -> None:
    run.append_metrics(ROWS[0])
    with run.metrics_path.open("ab") as file:
        file.write(b"\n  \n")
    run.append_metrics(ROWS[1])
    assert run.metrics() == ROWS


@pytest.mark.parametrize("content", [b"{", b'{"a": "\xff"}', b""])
def test_a_provenance_that_is_no_json_is_refused_with_its_path(run: RunDir, content: bytes) -> None:
    run.path.mkdir()
    run.provenance_path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"provenance\.json: not valid JSON .*edited by hand"):
        run.provenance()


@pytest.mark.parametrize("content", [b"a: [1", b"a: \xff"])
def test_a_config_that_is_no_yaml_is_refused_with_its_path(run: RunDir, content: bytes) -> None:
    run.write_config({})
    run.config_path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml: not valid YAML .*edited by hand"):
        run.config()


def test_nothing_that_is_not_a_number_is_written(run: RunDir) -> None:
    run.append_metrics(ROWS[0])
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_metrics({"loss": float("nan")})
    with pytest.raises(ValidationError, match="finite number"):
        run.write_provenance(Provenance(seconds=float("inf")))
    assert run.metrics() == ROWS[:1]
