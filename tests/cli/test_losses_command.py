"""`prospect losses`: the table, one loss whole, the figure of value functions, and the checks of a loss."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from conftest import REPOSITORY
from prospect.cli.main import main
from prospect.losses import Loss, all_losses
from prospect.report.charts.figure_file import Curve, write_figure

OWN = """
import torch, prospect

def worth(z):
    return torch.tanh(z / 10)

@prospect.loss("unpaired", needs_reference_point=True, is_halo=True, value=worth)
def mine(log_ratio, desirable, z0):
    return -worth(torch.where(desirable, log_ratio - z0, z0 - log_ratio))

@prospect.loss("unpaired")
def broken(log_ratio, desirable, *, beta=0.1):
    return beta * torch.where(desirable, log_ratio, -log_ratio)

@prospect.loss("unpaired")
def check(log_ratio, desirable):
    return torch.where(desirable, -log_ratio, log_ratio)
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def losses(
    tmp_path: Path, own_losses: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs `prospect losses ...` in a folder with a file of own losses; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(OWN, encoding="utf-8")

    def run(*arguments: str, columns: int | None = None) -> tuple[int, str, str]:
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", str(columns))
        code = main(["losses", *arguments])
        return code, *capsys.readouterr()

    yield run


# -- the table --


def test_the_table_has_every_loss_under_every_column(losses: Run) -> None:
    code, table, _ = losses()
    assert code == 0
    header, *lines = table.splitlines()
    assert re.split("  +", header) == [
        "name", "feedback", "level", "reference", "z0", "HALO", "learning rate", "hyperparameters", "paper",
    ]  # fmt: skip
    rows = [re.split("  +", line) for line in lines if line]
    assert sorted(row[0] for row in rows) == list(all_losses())
    kto = next(row for row in rows if row[0] == "kto")
    assert kto[1:7] == ["unpaired", "sequence", "yes", "yes", "yes", "5e-6"]
    assert kto[7:] == [
        "beta=0.1, desirable_weight=1, undesirable_weight=1",
        "KTO, Ethayarajh et al. 2024, arXiv 2402.01306",
    ]
    assert "\x1b" not in table


def test_the_table_is_grouped_by_feedback_with_human_aware_losses_first(losses: Run) -> None:
    groups = losses()[1].split("\n\n")[1:]
    assert len(groups) == 5
    for group, feedback in zip(groups, ("unpaired", "paired", "scored", "demonstration", "sampled"), strict=True):
        found = [all_losses()[line.split()[0]] for line in group.splitlines()]
        assert {loss.feedback for loss in found} == {feedback}
        assert [loss.is_halo for loss in found] == sorted((loss.is_halo for loss in found), reverse=True)


@pytest.mark.parametrize("columns", [120, 140, 150, 170, 200, 250])
def test_the_table_fits_the_terminal_and_loses_no_hyperparameter(losses: Run, columns: int) -> None:
    table = losses(columns=columns)[1]
    assert max(map(len, table.splitlines())) <= columns
    for loss in all_losses().values():
        assert all(f"{name}=" in table for name in loss.hyperparameters)
    assert ("paper" in table.splitlines()[0]) == (columns >= 150)
    assert ("says where a loss comes from" in table) == (columns < 150)


def test_long_hyperparameters_go_on_under_their_column(losses: Run) -> None:
    lines = losses(columns=120)[1].splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("offline_ppo"))
    column = lines[0].index("hyperparameters")
    assert [line[:column].strip() for line in lines[at + 1 : at + 3]] == ["", ""]
    assert lines[at + 1][column:].startswith("clip_low=0.25")


# -- one loss --


def test_a_loss_is_shown_with_its_doc_and_what_is_unusual_about_it(losses: Run) -> None:
    code, text, _ = losses("offline_ppo")
    assert code == 0
    assert "max(-A_t q_t, -A_t clip(q_t, low, high))" in text
    facts = dict(re.findall(r"^(\w+)  +(.+)$", text.split("\n\n")[-1], flags=re.MULTILINE))
    assert facts == {
        "feedback": "unpaired", "level": "token", "needs_values": "yes", "mean_over": "tokens", "is_halo": "yes",
        "value": "ppo_clip", "learning_rate": "5e-7", "over_step": "advantage_moments", "gamma": "0.99, in [0, 1]",
        "gae_lambda": "0.95, in [0, 1]", "clip_low": "0.25, in [0, 1]", "clip_high": "4, in [1, inf)",
        "kl_penalty": "0.1, in [0, inf)", "value_weight": "0.01, in [0, inf)",
        "paper": "PPO, Schulman et al. 2017, arXiv 1707.06347; offline, arXiv 2402.01306",
    }  # fmt: skip


def test_several_losses_are_shown_one_after_the_other(losses: Run) -> None:
    text = losses("sft", "my.py:mine")[1]
    assert text.index("sft\n\nSupervised") < text.index("mine\n\nfeedback")


def test_json_has_every_trait_of_every_loss(losses: Run) -> None:
    records = json.loads(losses("--json")[1])
    assert [record["name"] for record in records] == list(all_losses())
    traits = {field.name for field in fields(Loss)} - {"function"}
    assert all(set(record) == traits | {"arguments", "hyperparameters", "doc"} for record in records)
    ppo = next(record for record in records if record["name"] == "offline_ppo")
    assert (ppo["value"], ppo["over_step"], ppo["bounds"]["gamma"]) == ("ppo_clip", ["advantage_moments"], "[0, 1]")
    assert ppo["arguments"]["values"] == "(N, T)"
    (one,) = json.loads(losses("--json", "kto")[1])
    assert one["bounds"] == {"beta": "(0, inf)", "desirable_weight": "[0, inf)", "undesirable_weight": "[0, inf)"}


def test_an_unknown_loss_is_wrong_usage(losses: Run) -> None:
    code, out, error = losses("kt0")
    assert (code, out) == (2, "")
    assert 'ConfigError: unknown loss "kt0"; did you mean "kto"?' in error


# -- check --


def test_check_prints_one_line_for_each_check_and_exits_0_if_none_failed(losses: Run) -> None:
    code, text, _ = losses("check", "my.py:mine")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "mine"
    assert len(lines) == 1 + 19 + 1
    assert lines[1] == "pass            one value per example"
    assert [
        line for line in lines if line.startswith("not applicable  every hyperparameter has an effect: it takes no")
    ]
    assert lines[-1] == "15 passed, 0 failed, 4 not applicable"


def test_check_exits_1_and_says_what_failed(losses: Run) -> None:
    code, text, _ = losses("check", "my.py:broken", "my.py:mine")
    assert code == 1
    (failure,) = [line for line in text.splitlines() if line.startswith("FAIL")]
    assert failure.startswith("FAIL            the step goes the right way: direction is")
    assert "\n\nmine\n" in text


def test_check_as_json(losses: Run) -> None:
    code, text, _ = losses("check", "my.py:broken", "--json")
    (record,) = json.loads(text)
    assert code == 1
    assert (record["name"], record["passed"], len(record["checks"])) == ("broken", False, 19)
    assert {check["passed"] for check in record["checks"]} == {True, False, None}


def test_a_loss_called_check_is_found_in_its_file_and_none_of_ours_is_called_so(losses: Run) -> None:
    assert "check" not in all_losses()
    assert losses("my.py:check")[1].startswith("check\n\nfeedback")
    assert losses("check", "my.py:check")[1].startswith("check\npass")


def test_check_of_nothing_and_check_with_a_plot_are_wrong_usage(losses: Run) -> None:
    code, _, error = losses("check")
    assert code == 2
    assert "losses check: which one?" in error
    code, _, error = losses("check", "kto", "--plot", "x.svg")
    assert code == 2
    assert "give one at a time" in error
    assert not Path("x.svg").exists()


# -- plot --


def labels(svg: str) -> list[str]:
    """The names in the legend, from top to bottom."""
    root = ET.fromstring(svg)
    legend = next(node for node in root.iter("{http://www.w3.org/2000/svg}g") if node.get("id") == "legend_1")
    return [node.text or "" for node in legend.iter("{http://www.w3.org/2000/svg}text")]


def test_without_names_the_figure_of_the_paper_is_drawn(losses: Run) -> None:
    Path("deep").mkdir()
    code, out, _ = losses("--plot", "deep/values.svg")
    assert (code, out) == (0, "deep/values.svg\n")
    names = labels(Path("deep/values.svg").read_text(encoding="utf-8"))
    assert names == ["PPO-Clip", "Kahneman-Tversky", "KTO", "SLiC", "DPO"], "in the order of their right ends"
    assert [path.name for path in Path("deep").iterdir()] == ["values.svg"]


def test_the_figure_of_the_docs_is_what_the_command_writes(losses: Run) -> None:
    losses("--plot", "values.svg")
    kept = REPOSITORY / "docs" / "figures" / "value_functions.svg"
    assert Path("values.svg").read_bytes() == kept.read_bytes(), (
        "prospect losses --plot docs/figures/value_functions.svg"
    )


def test_named_losses_are_drawn_ones_own_among_them(losses: Run) -> None:
    code, out, _ = losses("--plot", "v.svg", "kto", "my.py:mine", "--json")
    assert code == 0
    assert json.loads(out) == {"plot": "v.svg", "curves": ["kto", "mine"]}
    svg = Path("v.svg").read_text(encoding="utf-8")
    assert set(labels(svg)) == {"kto", "mine"}
    assert "kto from 0.02 at -4 to 0.98 at 4; mine from -0.38 at -4 to 0.38 at 4" in svg  # beta of kto is 1 there


def test_every_human_aware_loss_can_be_drawn(losses: Run) -> None:
    names = [loss.name for loss in all_losses().values() if loss.is_halo]
    assert losses("--plot", "v.svg", *names)[0] == 0
    assert sorted(labels(Path("v.svg").read_text(encoding="utf-8"))) == names


def test_a_loss_without_a_value_function_is_refused_with_the_reason(losses: Run) -> None:
    code, _, error = losses("--plot", "v.svg", "kto", "ipo")
    assert code == 2
    assert "ConfigError: loss ipo has no value function to draw: it is not declared a human-aware loss" in error
    assert not Path("v.svg").exists()


@pytest.mark.parametrize("name", ["v.jpg", "v", "svg"])
def test_a_plot_of_another_format_is_refused(losses: Run, name: str) -> None:
    code, _, error = losses("--plot", name)
    assert code == 2
    assert f"ConfigError: {name}: expected the name of a figure, which ends in .svg, .pdf, .png." in error


@pytest.mark.parametrize(("suffix", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_the_suffix_is_the_format_and_the_same_curves_are_the_same_bytes(
    losses: Run, suffix: str, begins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert losses("--plot", f"v.{suffix}", "kto")[0] == 0
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # matplotlib's date, where it writes one
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")  # a setting of the user's own
    assert losses("--plot", f"w.{suffix}", "kto")[0] == 0
    content = Path(f"v.{suffix}").read_bytes()
    assert content.startswith(begins) and content == Path(f"w.{suffix}").read_bytes()


def test_a_plot_that_cannot_be_written_leaves_what_was_there(losses: Run) -> None:
    Path("v.svg").write_text("before", encoding="utf-8")
    assert losses("--plot", "v.svg", "sft")[0] == 2
    assert Path("v.svg").read_text(encoding="utf-8") == "before"


def drawn(curves: list[Curve], path: Path) -> str:
    write_figure(path, curves, title="t", x_label="x", y_label="y")
    return path.read_text(encoding="utf-8")


def test_curves_that_coincide_share_their_look(tmp_path: Path) -> None:
    x = np.linspace(-4, 4, 9)
    svg = drawn([Curve("a", x, x), Curve("b", x, x / 2), Curve("c", x, x)], tmp_path / "v.svg")
    legend = svg[svg.index('id="legend_1"') :]
    looks = dict(zip(labels(svg), re.findall(r'style="fill: none; ([^"]*)"', legend), strict=True))
    assert looks["a"] == looks["c"] != looks["b"]


def test_a_curve_beside_another_is_thin_and_of_its_colour(tmp_path: Path) -> None:
    x = np.linspace(-4, 4, 9)
    curves = [Curve("a", x, x), Curve("b", x, x / 2), Curve("b's end", x, x / 3, beside=True), Curve("c", x, x / 4)]
    svg = drawn(curves, tmp_path / "v.svg")
    colours = re.findall(r'style="fill: none; [^"]*(?<!-)stroke: (#\w+)', svg[svg.index('id="legend_1"') :])
    found = dict(zip(labels(svg), colours, strict=True))
    assert found["b"] == found["b's end"] and len(set(found.values())) == 3


@pytest.mark.parametrize("name", ["<b>&", "_mine", "a$b$", "\\frac"])
def test_a_name_is_text_and_no_markup(name: str, tmp_path: Path) -> None:
    x = np.linspace(-4, 4, 9)
    assert labels(drawn([Curve(name, x, x)], tmp_path / "v.svg")) == [name]


def test_help_is_torch_free() -> None:
    script = "import sys\nsys.modules['torch'] = None\nfrom prospect.cli.main import main\nmain(['--help'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "losses" in done.stdout
