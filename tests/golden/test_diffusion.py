"""Registered losses on the medium's log-probs give the numbers of the official scripts, values and gradients.

`PROSPECT_GOLDEN_DIFFUSION` names another file of the same shape. The scripts' betas are per mean squared error, ours in
nats: with D numbers to an image, beta = 2 b / D where the script has no factor 1/2 (Diffusion-KTO, diffusers' script
for SD), and b / D where it has one (Diffusion-DPO). z0 is in nats too, D / 2 times theirs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SHARED
from prospect.losses import get_loss
from prospect.losses.reference_point import estimate_reference_point
from prospect.models.diffusion.noising import image_logps

FILE = Path(os.environ.get("PROSPECT_GOLDEN_DIFFUSION") or SHARED / "golden" / "diffusion.json")
GOLDEN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in GOLDEN.get("cases", [])}

pytestmark = pytest.mark.skipif(not GOLDEN, reason=f"{FILE.name} with the official scripts' numbers is not here")

EXACT = 1e-9
KTO = [name for name, case in CASES.items() if case.get("loss_kind") == "kto"]
DPO = [name for name, case in CASES.items() if name.startswith("dpo") or case.get("loss_type") == "sigmoid"]


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(found: torch.Tensor, theirs: Any) -> None:
    """To 1e-9, or 1e-9 of the largest number where those are large."""
    theirs = tensor(theirs)
    tolerance = EXACT * max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(found.view_as(theirs), theirs, rtol=0, atol=tolerance)


class Case:
    """What a script was given, as the step has it: log-ratios in nats, with a gradient to the policy's prediction."""

    def __init__(self, name: str) -> None:
        self.theirs = CASES[name]
        self.prediction = tensor(self.theirs["policy_prediction"]).requires_grad_()
        self.target = tensor(self.theirs["target"])
        self.size = self.target[0].numel()
        self.logps = image_logps(self.target, self.prediction)
        self.log_ratio = self.logps - image_logps(self.target, tensor(self.theirs["reference_prediction"]))

    @property
    def desirable(self) -> torch.Tensor:
        return torch.tensor(self.theirs["labels"], dtype=torch.bool)

    def z0(self) -> torch.Tensor:
        """As the script has it: of the step's own rows, of rolled prompts, or the mean of the classes' means."""
        kind = self.theirs["bce_offset"]
        if kind == "none":
            return estimate_reference_point(self.log_ratio).z0
        if kind == "original":
            models = [tensor(self.theirs[f"rolled_{model}_prediction"]) for model in ("policy", "reference")]
            policy, reference = (image_logps(self.target, predicted) for predicted in models)
            return estimate_reference_point(policy - reference, clamp=False).z0
        of_class = [self.log_ratio[self.desirable == label] for label in (True, False)]
        counts = [float(torch.tensor(len(rows)) + 1e-6) for rows in of_class]  # theirs, in float32
        return torch.stack([rows.sum() / n for rows, n in zip(of_class, counts, strict=True)]).mean().detach()

    def beta(self, factor: float) -> float:
        return factor * self.theirs["beta"] / self.size

    def check(self, loss: torch.Tensor) -> None:
        close(loss.detach(), self.theirs["loss"])
        loss.backward()
        assert self.prediction.grad is not None
        close(self.prediction.grad, self.theirs["gradient"])


def test_all_cases_are_tried() -> None:
    others = {"sft branch", "diffusers dpo hinge", "diffusers dpo ipo"}
    assert {*KTO, *DPO, *others} == CASES.keys() and len(CASES) == 17


@pytest.mark.parametrize("name", KTO)
def test_diffusion_kto(name: str) -> None:
    case = Case(name)
    beta, z0, theirs = case.beta(2.0), case.z0(), case.theirs
    close(z0, theirs["z0"] * case.size / 2)
    close(case.log_ratio.detach(), [value * case.size / 2 for value in theirs["log_ratio_mean_mse"]])
    arguments = (case.log_ratio, case.desirable, z0)
    weights = {"desirable_weight": theirs["lambda_d"], "undesirable_weight": theirs["lambda_u"]}
    halo, concave = theirs["halo"], get_loss("kto_concave")
    if halo == "sigmoid":
        values = get_loss("kto")(*arguments, beta=beta, **weights)
    elif halo == "loss_averse":  # ours is without the 1 that theirs is subtracted from
        values = 1 + concave(*arguments, beta=beta, **weights)
    else:
        values = _other_utility(halo, beta * (case.log_ratio - z0), case.desirable)
    close(values.detach(), theirs["per_example"])
    case.check(values.mean())


def _other_utility(halo: str, distance: torch.Tensor, desirable: torch.Tensor) -> torch.Tensor:
    """Utilities of the script that no registered loss has: none is bounded below, or none is the paper's."""
    sign = torch.where(desirable, 1.0, -1.0)
    x, log = sign * distance, torch.nn.functional.logsigmoid
    if halo == "risk_seeking_3":
        return 1 + log(-x)
    if halo == "risk_seeking_1":
        return 1 - torch.where(desirable, -log(-x), log(x))
    assert halo == "risk_seeking_2"
    return 2 - sign * torch.exp(distance / 100)


@pytest.mark.parametrize("name", DPO)
def test_diffusion_dpo(name: str) -> None:
    case = Case(name)
    chosen, rejected = case.log_ratio.chunk(2)
    beta = case.beta(2.0 if "loss_type" in case.theirs else 1.0)
    if "inside" in case.theirs:
        close((beta * (chosen - rejected)).detach(), case.theirs["inside"])
    case.check(get_loss("dpo")(chosen, rejected, beta=beta).mean())


def test_diffusers_hinge() -> None:
    case = Case("diffusers dpo hinge")
    case.check(get_loss("hinge")(*case.log_ratio.chunk(2), beta=case.beta(2.0)).mean())


def test_diffusers_ipo() -> None:
    """Theirs is of mean squared errors, ours of nats: (2 / D)^2 times ours, whose margin is D / 2 times theirs."""
    case = Case("diffusers dpo ipo")
    values = get_loss("ipo")(*case.log_ratio.chunk(2), tau=case.beta(2.0))
    case.check(((2 / case.size) ** 2 * values).mean())


def test_sft_branch() -> None:
    """Theirs is the mean squared error of desirable images over all rows; ours is half the sum."""
    case = Case("sft branch")
    values = get_loss("sft")(case.logps[case.desirable])
    case.check((2 / case.size * values).sum() / len(case.logps))
