"""Every case of the peers' own code is met, values and gradients, to 1e-9 in float64."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from conftest import SHARED
from prospect.losses import all_losses, get_loss
from prospect.losses.reference_point import estimate_reference_point

FILE = SHARED / "golden" / "losses.json"
ABSENT = not FILE.is_file()
GOLDEN: dict[str, Any] = {} if ABSENT else json.loads(FILE.read_text(encoding="utf-8"))
SECTIONS = [section for section in GOLDEN if section != "about"]
TESTED = {"paired", "unpaired", "reference_free"}  # each has its test below

pytestmark = pytest.mark.skipif(ABSENT, reason="../shared/golden/losses.json with the peers' numbers is not here")


def same(hyper: dict[str, float]) -> dict[str, float]:
    return hyper


# What a case is called there: what it is called here, and its settings in our words.
OURS = {
    # The peer squares whatever log-ratios it is given, here sums; its beta is the paper's tau. `ipo` is that square
    # too: that it wants means over tokens is a trait, which tells the trainer what to feed it.
    "ipo_summed": ("ipo", lambda hyper: {"tau": hyper["beta"]}),
    "cpo_preference_term": ("cpo", lambda hyper: {**hyper, "alpha": 0.0}),
    # The peer's term is beta * log s(log odds ratio); our loss is -chosen - lam * that logarithm.
    "orpo_odds_ratio_term": ("orpo", lambda hyper: {"lam": hyper["beta"]}),
}


def ours(case: dict[str, Any]) -> tuple[Any, dict[str, float]]:
    name, translated = OURS.get(case["loss"], (case["loss"], same))
    return get_loss(name), translated(case["hyper"])


def cases(section: str) -> list[Any]:
    """The cases of a section; a name of its own for each, so that a failure says which."""
    found = GOLDEN.get(section, {}).get("cases", [])
    return [pytest.param(case, id=f"{i}-{case['loss']}-{case['peer'][:5].strip()}") for i, case in enumerate(found)]


def tensor(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def leaf(values: list[float]) -> torch.Tensor:
    return tensor(values).requires_grad_()


def close(found: torch.Tensor | None, theirs: list[float]) -> None:
    assert found is not None
    torch.testing.assert_close(found.detach(), tensor(theirs), rtol=0, atol=1e-9)


def close_gradients(values: torch.Tensor, leaves: dict[str, torch.Tensor], case: dict[str, Any]) -> None:
    """Each gradient that the case has; the only case without one of TRL's says so by its name."""
    values.sum().backward()
    theirs = [name for name in case if name.startswith("grad_")]
    assert theirs or case["peer"].startswith("HALOs") or case["loss"] == "orpo_odds_ratio_term"
    for name in theirs:
        close(leaves[name].grad, case[name])


@pytest.mark.parametrize("case", cases("paired"))
def test_a_paired_loss_gives_the_peers_values_and_gradients(case: dict[str, Any]) -> None:
    inputs, (loss, hyperparameters) = GOLDEN["paired"]["inputs"], ours(case)
    assert loss.needs_reference
    chosen, rejected = leaf(inputs["policy_chosen_logps"]), leaf(inputs["policy_rejected_logps"])
    values = loss(
        chosen - tensor(inputs["reference_chosen_logps"]),
        rejected - tensor(inputs["reference_rejected_logps"]),
        **hyperparameters,
    )
    close(values, case["expected"])
    close_gradients(values, {"grad_policy_chosen": chosen, "grad_policy_rejected": rejected}, case)


@pytest.mark.parametrize("case", cases("unpaired"))
def test_an_unpaired_loss_gives_the_peers_values_and_gradients(case: dict[str, Any]) -> None:
    inputs, (loss, hyperparameters) = GOLDEN["unpaired"]["inputs"], ours(case)
    policy = leaf(inputs["policy_logps"])
    arguments = [policy - tensor(inputs["reference_logps"]), torch.tensor(inputs["desirable"])]
    if loss.needs_reference_point:
        arguments.append(tensor([case["z0"]])[0])
    values = loss(*arguments, **hyperparameters)
    close(values, case["expected"])
    close_gradients(values, {"grad_policy": policy}, case)


@pytest.mark.parametrize("case", [c for c in cases("unpaired") if "z0" in c.values[0]])
def test_the_reference_point_is_the_peers_before_and_after_the_clamp(case: dict[str, Any]) -> None:
    mismatched = tensor(case["mismatched_policy_logps"]) - tensor(case["mismatched_reference_logps"])
    point = estimate_reference_point(mismatched.requires_grad_())
    close(point.z0, case["z0"])
    close(point.raw, case["z0_raw"])
    assert not point.z0.requires_grad
    assert not point.raw.requires_grad


def reference_free_inputs(kind: str) -> list[list[float]]:
    """Log-probs per token ("averaged") or of whole completions ("summed")."""
    inputs, sides = GOLDEN["reference_free"]["inputs"], ("chosen", "rejected")
    if kind == "averaged":
        return [inputs[f"{side}_averaged"] for side in sides]
    return [
        [mean * tokens for mean, tokens in zip(inputs[f"{side}_averaged"], inputs[f"{side}_tokens"], strict=True)]
        for side in sides
    ]


@pytest.mark.parametrize("case", cases("reference_free"))
def test_a_loss_without_a_reference_gives_the_peers_values_and_gradients(case: dict[str, Any]) -> None:
    loss, hyperparameters = ours(case)
    assert not loss.needs_reference
    assert loss.length_normalised == (case["inputs"] == "averaged")
    chosen, rejected = (leaf(side) for side in reference_free_inputs(case["inputs"]))
    values = loss(chosen, rejected, **hyperparameters)
    close(-(values + chosen) if case["loss"] == "orpo_odds_ratio_term" else values, case["expected"])
    close_gradients(values, {"grad_policy_chosen": chosen, "grad_policy_rejected": rejected}, case)


def test_no_case_of_the_file_is_left_out() -> None:
    """An empty parametrisation would pass unseen, and so would a section that no test reads."""
    assert set(SECTIONS) == TESTED
    ran = [case.values[0] for section in TESTED for case in cases(section)]
    assert len(ran) == sum(len(GOLDEN[section]["cases"]) for section in SECTIONS) == 29
    assert {ours(case)[0].name for case in ran} == {
        "apo_down", "apo_zero", "apo_zero_unpaired", "cpo", "discopop", "dpo", "exo_pair", "hinge", "ipo", "kto",
        "nca_pair", "orpo", "robust_dpo", "simpo", "sppo_hard",
    }  # fmt: skip
    assert not [name for name in OURS if name in all_losses()]


def test_the_file_holds_both_signs_of_z0() -> None:
    raw = [case["z0_raw"] for case in GOLDEN["unpaired"]["cases"] if "z0_raw" in case]
    assert min(raw) < 0 < max(raw)
