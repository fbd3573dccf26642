"""The examples of examples/theory give the paper's numbers, and docs/theory.md shows what they give."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from conftest import REPOSITORY

FOLDER = REPOSITORY / "examples" / "theory"
NAMES = ["proposition_4_1", "theorem_4_2", "theorem_4_3"]


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules, found as Python finds them when they are run: their own folder comes first."""
    sys.path.insert(0, str(FOLDER))
    yield {name: load(name) for name in NAMES}
    sys.path.remove(str(FOLDER))
    sys.modules.pop("figure_option")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"theory_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_what_the_command_prints_and_draws(
    name: str,
    scripts: dict[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figure = f"figures/{name}.svg"
    command = f"python examples/theory/{name}.py --figure docs/{figure}"
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--figure", str(tmp_path / "new.svg")])
    scripts[name].main()

    page = (REPOSITORY / "docs" / "theory.md").read_text(encoding="utf-8")
    assert f"```bash\n{command}\n```\n\n```text\n{capsys.readouterr().out}```\n" in page
    assert f"]({figure})" in page
    new = (tmp_path / "new.svg").read_text(encoding="utf-8")
    assert new == (REPOSITORY / "docs" / figure).read_text(encoding="utf-8"), f"out of date, run {command}"
    ElementTree.fromstring(new)


@pytest.mark.parametrize(("z", "value"), [(0, 0.25), (2, 0.104994), (5, 6.648e-3), (10, 4.54e-5)])
@pytest.mark.parametrize("desirable", [True, False])
def test_kto_lets_go_on_both_sides(scripts: dict[str, ModuleType], z: float, value: float, desirable: bool) -> None:
    both = scripts["proposition_4_1"].kto_pull(np.array([-z, z], float), desirable=desirable)
    assert both == pytest.approx(value, rel=1e-4)


def test_pulls_are_the_closed_forms(scripts: dict[str, ModuleType]) -> None:
    script, z = scripts["proposition_4_1"], np.linspace(-30, 30, 121)
    s = 1 / (1 + np.exp(-z))
    for beta in (0.1, 0.5):
        pull = script.kto_pull(z, desirable=True, beta=beta, weight=1.7)
        assert pull == pytest.approx(1.7 * s * s[::-1], rel=1e-12)
        assert script.dpo_pull(z, beta=beta) == pytest.approx(s[::-1], rel=1e-12)


def test_dpo_pulls_at_full_strength_on_hard_pairs(scripts: dict[str, ModuleType]) -> None:
    assert scripts["proposition_4_1"].dpo_pull(np.array([-50.0, -500.0])) == pytest.approx(1, abs=1e-15)


def test_rewards_that_differ_by_prompt_differ_in_value_alone(scripts: dict[str, ModuleType]) -> None:
    script = scripts["theorem_4_2"]
    found = script.differences()
    assert found["policy"] < 1e-15
    assert found["preference"] < 1e-15
    assert found["value"] == pytest.approx(0.27, abs=0.005)
    reward = script.REWARD
    assert script.preferences(reward) == pytest.approx(torch.sigmoid(reward[:, :, None] - reward[:, None, :]))
    assert len(set(script.SHIFT.tolist())) > 1, "h should not be constant"


def test_the_policy_is_optimal_for_its_reward(scripts: dict[str, ModuleType]) -> None:
    """E[r] - beta KL has no gradient there."""
    script = scripts["theorem_4_2"]
    logits = script.both()[0].policy.log().requires_grad_()
    policy = torch.softmax(logits, dim=1)
    goal = (policy * (script.REWARD - script.BETA * (policy / script.REFERENCE).log())).sum()
    (gradient,) = torch.autograd.grad(goal, logits)
    assert gradient.abs().max() < 1e-15


@pytest.mark.parametrize(
    ("p", "beta", "reference", "dpo", "kto", "digits"),
    [(0.6, 1.0, 0.3, 0.391304, 0.9993, 4), (0.7, 0.5, 0.1, 0.376923, 0.99999, 5)],
)
def test_dpo_ends_with_the_minority_and_kto_with_the_majority(
    scripts: dict[str, ModuleType], p: float, beta: float, reference: float, dpo: float, kto: float, digits: int
) -> None:
    script = scripts["theorem_4_3"]
    case = script.Case(p, beta, reference)
    assert script.dpo_optimum(case) == pytest.approx(dpo, abs=5e-7)
    assert script.dpo_optimum(case) == pytest.approx(script.dpo_closed_form(case), abs=1e-10)
    assert round(script.kto_after(case, (20_000,))[0], digits) == kto


@pytest.mark.parametrize(("beta", "reference"), [(1.0, 0.3), (0.5, 0.1)])
def test_a_tie_stays_at_the_reference(scripts: dict[str, ModuleType], beta: float, reference: float) -> None:
    script = scripts["theorem_4_3"]
    case = script.Case(0.5, beta, reference)
    ends = [script.dpo_optimum(case), script.dpo_closed_form(case), *script.kto_after(case, (20_000,))]
    assert ends == pytest.approx([reference] * 3, abs=1e-7)


def test_kto_has_no_stationary_policy(scripts: dict[str, ModuleType]) -> None:
    script = scripts["theorem_4_3"]
    logits = torch.linspace(-script.FAR, script.FAR, 501, dtype=torch.float64)
    for case in script.CASES[:2]:
        assert (script.kto_gradient(logits, case) < 0).all()


def test_the_time_is_that_of_gradient_descent(scripts: dict[str, ModuleType]) -> None:
    """Real steps of learning rate 1 arrive where the integral says."""
    script = scripts["theorem_4_3"]
    case = script.CASES[0]
    logit = torch.tensor([case.reference], dtype=torch.float64).logit()
    for _ in range(500):
        logit = logit - script.kto_gradient(logit, case)
    assert float(torch.sigmoid(logit)) == pytest.approx(script.kto_after(case, (500,))[0], abs=2e-4)


@pytest.mark.parametrize("row", [0, 1])
def test_gradient_through_z0_stops_at_the_least_loss(scripts: dict[str, ModuleType], row: int) -> None:
    script = scripts["theorem_4_3"]
    case = script.CASES[row]
    logits = torch.linspace(-5, 15, 4001, dtype=torch.float64)
    losses = torch.func.vmap(lambda logit: script.kto_loss(logit, case))(logits)
    best = float(torch.sigmoid(logits[losses.argmin()]))
    assert script.best_with_gradient_through_z0(case) == pytest.approx(best, abs=3e-4)
