"""The notebook of examples/ runs from top to bottom.

Its cells are plain Python and are run as such: a kernel of Jupyter would add thirty packages to the tests and no check.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from conftest import REPOSITORY
from prospect.run_dir import RunDir

NOTEBOOK = REPOSITORY / "examples" / "quickstart.ipynb"


def cells() -> list[dict[str, Any]]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_no_output_is_committed() -> None:
    assert [(cell["outputs"], cell["execution_count"]) for cell in cells()] == [([], None)] * len(cells())


@pytest.mark.slow
def test_the_notebook_runs_and_the_model_gets_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(NOTEBOOK.with_name("thumbs.jsonl"), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # the notebook sets it, and it is taken back here
    plt.switch_backend("agg")
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells()):
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, code {number}", "exec"), names)
    (axes,) = names["figure"].axes
    up, down = (line.get_ydata() for line in axes.lines)
    assert len(up) > 10 and up[-1] > down[-1]
    plt.close("all")
    run: RunDir = names["run"]
    assert run.report_path.is_file()
    *_, before, after = capsys.readouterr().out.splitlines()
    assert before.startswith("before") and after.startswith("after")
    assert names["share"].low > 0.5, "after training the interval should lie above what the model began with"
