"""The report's figures as objects of matplotlib, and a run's metrics as a table."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest

import prospect
from prospect.errors import UsageError
from prospect.report.run.figures import CURVES


@pytest.fixture
def run(tmp_path: Path) -> prospect.RunDir:
    run = prospect.RunDir(tmp_path / "kto")
    run.append_metrics({"step": 0, "eval_loss": 0.5})
    for step in range(1, 4):
        run.append_metrics({"step": step, "loss": 1 / step, "rewards/chosen": step, "rewards/rejected": -0.5 * step})
    return run


def test_a_figure_has_the_reports_lines_and_can_be_saved(run: prospect.RunDir, tmp_path: Path) -> None:
    figure = prospect.figure(run, "rewards")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["desirable", "undesirable"]
    good, bad, level = axes.lines
    assert list(good.get_xdata()) == [1, 2, 3] and good.get_ydata()[-1] > 0 > bad.get_ydata()[-1]
    assert set(level.get_ydata()) == {0.0} and axes.get_title(loc="left") == "Rewards of both classes"
    figure.savefig(tmp_path / "rewards.pdf")
    assert (tmp_path / "rewards.pdf").stat().st_size > 0


def test_what_is_not_there_is_said_with_what_is(run: prospect.RunDir) -> None:
    with pytest.raises(UsageError, match=f'figure "reward": expected one of {", ".join(CURVES)}'):
        prospect.figure(run, "reward")
    with pytest.raises(UsageError, match=r"kto: has nothing logged for the figure z0\. It has loss, rewards\."):
        prospect.figure(run, "z0")


def test_metrics_are_a_table_with_null_where_a_row_lacks_a_name(run: prospect.RunDir, tmp_path: Path) -> None:
    table = run.metrics_frame()
    assert table.schema["step"] == polars.Int64 and table["step"].to_list() == [0, 1, 2, 3]
    assert table["loss"].to_list() == [None, 1.0, 0.5, 1 / 3] and table["eval_loss"].to_list()[0] == 0.5
    assert prospect.RunDir(tmp_path / "none").metrics_frame().is_empty()
