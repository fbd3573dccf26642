"""The losses of `examples/` and of the page about own losses: they pass every check, and their recipes load."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import Block, blocks_of, commands, read

from conftest import REPOSITORY
from prospect.config import load_config
from prospect.losses import Loss, get_loss, registry, values
from prospect.losses.checks.check import check_loss

PAGE = "docs/own-loss.md"
EXAMPLE = "examples/kahneman_tversky.py"
RECIPES = sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("examples/*.yaml"))


@pytest.fixture(autouse=True)
def _in_the_repository(own_losses: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.fixture
def example() -> Loss:
    return get_loss(f"{EXAMPLE}:kahneman_tversky")


def file_block(name: str) -> Block:
    return next(block for block in blocks_of(PAGE) if block.note == f"file={name}")


def test_the_example_passes_every_check(example: Loss) -> None:
    results = check_loss(example)
    assert not [result for result in results if result.passed is False]
    assert [result.name for result in results if result.passed is None] == ["only_what_is_there_counts"]


def test_the_example_is_the_curve_of_kahneman_and_tversky_but_for_its_rounding(example: Loss) -> None:
    z = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    exact = values.kahneman_tversky(z)
    assert (example.human_value(z) - exact).abs().max() < 0.04
    far = z.abs() > 5
    torch.testing.assert_close(example.human_value(z)[far], exact[far], rtol=0.01, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_example_has_a_finite_slope_at_the_start(example: Loss, dtype: torch.dtype) -> None:
    ratio = torch.zeros(2, dtype=dtype, requires_grad=True)
    losses = example(ratio, torch.tensor([True, False]), torch.tensor(0.0))
    losses.sum().backward()
    assert ratio.grad is not None
    assert not losses.any()
    assert ratio.grad.tolist() == pytest.approx([-1.53, 1.53], rel=0.01)


def test_a_loss_weighs_more_than_a_gain(example: Loss) -> None:
    v = example.human_value(torch.tensor([-3.0, 3.0], dtype=torch.float64))
    assert (-v[0] / v[1]).item() == pytest.approx(2.25)
    other = example.human_value(torch.tensor([-3.0, 3.0], dtype=torch.float64), loss_aversion=1.0)
    assert (-other[0] / other[1]).item() == pytest.approx(1.0)


def test_the_page_shows_the_example_as_it_is() -> None:
    assert read(EXAMPLE).endswith(f'"""\n\n{file_block("my_loss.py").text}')


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_example_recipe_loads_and_its_loss_takes_its_settings(recipe: str) -> None:
    config: Any = load_config(recipe)
    loss = get_loss(config.loss.name)
    assert loss.resolve(config.loss.hyperparameters).keys() == loss.hyperparameters.keys()
    assert f"prospect train {recipe}" in read(recipe)


def test_there_is_an_example_recipe() -> None:
    assert "examples/kahneman_tversky.yaml" in RECIPES


@pytest.mark.parametrize("block", [b for b in blocks_of(PAGE) if b.note.startswith("file=")], ids=str)
def test_losses_on_the_page_pass_every_check(block: Block, tmp_path: Path) -> None:
    name = block.note.removeprefix("file=")
    (tmp_path / name).write_text(block.text, encoding="utf-8")
    runs = [
        words for run in blocks_of(PAGE) if run.note == "run" and run.language == "bash" for words in commands(run.text)
    ]
    checked = [words[-1] for words in runs if words[:3] == ["prospect", "losses", "check"] and name in words[-1]]
    assert checked, f"{block}: the page never checks it"
    for address in checked:
        assert not [result for result in check_loss(get_loss(f"{tmp_path}/{address}")) if result.passed is False]


def test_the_page_has_every_trait_with_its_default() -> None:
    rows = dict(
        line.split(" | ")[:2] for line in read(PAGE).splitlines() if line.startswith("| `") and line.count("|") == 4
    )
    table = {name.strip("| `"): default.strip("`") for name, default in rows.items()}
    fields = {f.name: f for f in dataclasses.fields(Loss) if f.name not in ("function", "feedback")}
    assert {name for name in table if not name.startswith('"')} == set(fields)
    shown = {True: "True", False: "False", 5e-6: "5e-6", "": "none", None: "none"}
    for name, field in fields.items():
        if name not in ("name", "over_step", "bounds"):
            expected = f'"{field.default}"' if name in ("level", "mean_over", "direction") else shown[field.default]
            assert table[name] == expected


def test_the_failure_on_the_page_is_the_one_that_comes() -> None:
    @registry.loss("unpaired")
    def saturating(log_ratio: torch.Tensor, desirable: torch.Tensor, *, beta: float = 0.1) -> torch.Tensor:
        return 1 - torch.sigmoid(beta * torch.where(desirable, log_ratio, -log_ratio))

    (failure,) = [result for result in check_loss(saturating) if result.passed is False]
    text = next(block.text for block in blocks_of(PAGE) if block.language == "text")
    assert " ".join(text.split()) == f"FAIL {failure.name.replace('_', ' ')}: {failure.message}"
