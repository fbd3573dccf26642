"""The run directory: written by training, read by everything else, readable at any moment of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import CheckpointError
from prospect.run_dir import RunDir

ROWS: list[dict[str, Any]] = [{"step": 1, "text": "größe"}, {"step": 2, "text": "漢字 🦊"}]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def test_what_is_absent_is_empty(run: RunDir) -> None:
    assert not run.exists()
    assert run.config() == run.provenance() == run.evaluations() == {}
    assert run.metrics() == run.samples() == []
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
    run.write_provenance({"git": None, "ü": 1})
    path = run.write_evaluation("held_out", {"rate": 0.5})
    for row in ROWS:
        run.append_metrics(row)
    run.append_samples(ROWS)
    assert run.exists()
    assert run.config() == config
    assert run.provenance() == {"git": None, "ü": 1}
    assert path == run.evaluation_path / "held_out.json"
    assert run.evaluations() == {"held_out": {"rate": 0.5}}
    assert run.metrics() == run.samples() == ROWS


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
        run.append_metrics({"step": 2, "again": True})
        assert run.metrics() == [ROWS[0], {"step": 2, "again": True}]


def test_rewind_forgets_later_steps_of_metrics_and_samples(run: RunDir) -> None:
    for step in (0, 1, 1, 2, 3):
        run.append_metrics({"step": step})
        run.append_samples([{"step": step, "prompt": "p", "completion": "c"}])
    run.rewind(1)
    assert [row["step"] for row in run.metrics()] == [row["step"] for row in run.samples()] == [0, 1, 1]
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


@pytest.mark.parametrize("step", ["2", -1, 1.5, True, None])
def test_a_line_with_an_odd_step_is_read_and_refused_on_resume(run: RunDir, step: Any) -> None:
    run.append_metrics({"step": step})
    assert run.metrics() == [{"step": step}] and not run.begun()
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: holds .*, without a step\. Delete that line"):
        run.rewind(5)


def test_a_provenance_or_recipe_of_another_kind_is_refused(run: RunDir) -> None:
    run.path.mkdir()
    run.provenance_path.write_text("[]")
    with pytest.raises(CheckpointError, match=r"provenance\.json: holds no object"):
        run.provenance()
    run.config_path.write_text("- a\n- b\n")
    with pytest.raises(CheckpointError, match=r"config\.yaml: holds no recipe"):
        run.config()


def test_a_run_directory_of_a_newer_version_is_said_to_be_that(run: RunDir) -> None:
    run.write_provenance({"format": 2})
    with pytest.raises(CheckpointError, match=r"provenance\.json: format 2, expected at most 1\. Read it with"):
        run.provenance()


def test_what_was_appended_can_be_forgotten(run: RunDir) -> None:
    run.append_metrics(ROWS[0])
    sizes = run.sizes()
    run.append_metrics(ROWS[1])
    run.append_samples(ROWS)
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
    run.write_provenance({})
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
    assert run.metrics() == ROWS[:1]
