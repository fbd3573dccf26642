"""Every registered loss gives the numbers that the peers' own code gave, to 1e-9 in float64.

A loss is picked up by its name: register `ipo_summed`, say, and its cases are tested from then on.
"""

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

pytestmark = pytest.mark.skipif(ABSENT, reason="../shared/golden/losses.json with the peers' numbers is not here")


def cases(section: str) -> list[Any]:
    """The cases of registered losses; a name of its own for each, so that a failure says which."""
    found = [case for case in GOLDEN.get(section, {}).get("cases", []) if case["loss"] in all_losses()]
    return [pytest.param(case, id=f"{i}-{case['loss']}-{case['peer'][:5].strip()}") for i, case in enumerate(found)]


def tensor(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def leaf(values: list[float]) -> torch.Tensor:
    return tensor(values).requires_grad_()


def close(ours: torch.Tensor | None, theirs: list[float]) -> None:
    assert ours is not None
    torch.testing.assert_close(ours.detach(), tensor(theirs), rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", cases("paired"))
def test_a_paired_loss_gives_the_peers_values_and_gradients(case: dict[str, Any]) -> None:
    inputs, loss = GOLDEN["paired"]["inputs"], get_loss(case["loss"])
    chosen, rejected = leaf(inputs["policy_chosen_logps"]), leaf(inputs["policy_rejected_logps"])
    against = 1.0 if loss.needs_reference else 0.0
    values = loss(
        chosen - against * tensor(inputs["reference_chosen_logps"]),
        rejected - against * tensor(inputs["reference_rejected_logps"]),
        **case["hyper"],
    )
    close(values, case["expected"])
    values.sum().backward()
    for side, name in ((chosen, "grad_policy_chosen"), (rejected, "grad_policy_rejected")):
        if name in case:
            close(side.grad, case[name])


@pytest.mark.parametrize("case", cases("unpaired"))
def test_an_unpaired_loss_gives_the_peers_values_and_gradients(case: dict[str, Any]) -> None:
    inputs, loss = GOLDEN["unpaired"]["inputs"], get_loss(case["loss"])
    policy = leaf(inputs["policy_logps"])
    arguments = [policy - tensor(inputs["reference_logps"]), torch.tensor(inputs["desirable"])]
    if loss.needs_reference_point:
        arguments.append(tensor([case["z0"]])[0])
    values = loss(*arguments, **case["hyper"])
    close(values, case["expected"])
    values.sum().backward()
    close(policy.grad, case["grad_policy"])


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
    loss = get_loss(case["loss"])
    assert not loss.needs_reference
    chosen, rejected = (leaf(side) for side in reference_free_inputs(case["inputs"]))
    values = loss(chosen, rejected, **case["hyper"])
    close(values, case["expected"])
    values.sum().backward()
    for side, name in ((chosen, "grad_policy_chosen"), (rejected, "grad_policy_rejected")):
        if name in case:
            close(side.grad, case[name])


def test_the_file_holds_both_signs_of_z0_and_the_losses_that_we_have() -> None:
    """An empty parametrisation would pass unseen."""
    named = {case.values[0]["loss"] for section in GOLDEN if section != "about" for case in cases(section)}
    assert {"kto", "dpo"} <= named
    raw = [case.values[0]["z0_raw"] for case in cases("unpaired") if "z0_raw" in case.values[0]]
    assert min(raw) < 0 < max(raw)
