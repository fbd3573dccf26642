"""What every loss must hold, and holds by being registered (DESIGN, section 7); and what each is by its own equation.

Letters: N examples, T tokens, K completions of one prompt; everything in nats.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import prospect.losses
from prospect.losses import Loss, get_loss, values
from prospect.losses.checks.arguments import (
    Arguments,
    CheckError,
    NotApplicableError,
    call,
    gradients,
    takes_logps,
    with_step,
)
from prospect.losses.checks.check import CHECKS, Check
from prospect.losses.reference_point import estimate_reference_point

LOSSES = list(prospect.losses.all_losses().values())
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)


def numbers(*entries: Any) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def random_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return 4 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@every_check
@every_loss
def test_every_loss_holds_what_all_must(loss: Loss, check: Check) -> None:
    try:
        check(loss)
    except NotApplicableError as reason:
        assert applies(check, loss) is False, reason
    except CheckError as error:
        pytest.fail(f"{loss.name}: {error}")
    else:
        assert applies(check, loss) is True


def applies(check: Check, loss: Loss) -> bool:
    """Written out once more, so that no check is skipped in silence."""
    if check.__name__ == "only_what_is_there_counts":
        return loss.level == "token" or loss.feedback == "scored"
    if "value" in check.__name__.split("_") and check.__module__.endswith("checks.value"):
        return loss.is_halo
    if check.__name__ in ("every_hyperparameter_has_an_effect", "every_legal_hyperparameter_works") or (
        check.__name__ == "illegal_hyperparameters_are_refused"
    ):
        return bool(loss.hyperparameters)
    return True


def test_the_family_is_here_in_every_kind() -> None:
    assert len(LOSSES) >= 30
    assert {(loss.feedback, loss.level) for loss in LOSSES} == {
        ("unpaired", "sequence"),
        ("unpaired", "token"),
        ("paired", "sequence"),
        ("scored", "sequence"),
        ("demonstration", "sequence"),
        ("sampled", "token"),
    }


@every_loss
def test_every_loss_says_what_it_is(loss: Loss) -> None:
    assert loss.learning_rate > 0
    assert loss.paper
    text = loss.function.__doc__ or ""
    assert "loss = " in text
    assert not [name for name in loss.hyperparameters if f"{name}: " not in text]
    assert loss.resolve({}) == loss.hyperparameters
    assert all(isinstance(default, float) for default in loss.hyperparameters.values())


# -- the start: policy = reference; where there is no reference, every token and completion has probability 1/2 --

HALF = math.log(2.0)  # the surprise of a probability of 1/2

# One number for all, or one for desirable and one for undesirable completions. A new loss adds its own here.
AT_STEP_ZERO: dict[str, float | tuple[float, float]] = {
    "kto": 0.5,
    "kto_no_z0": 0.5,
    "kto_concave": HALF,
    "kto_risk_neutral": 1.0,
    "kto_no_reference": (1.75 / 2, 0.5),
    "apo_zero_unpaired": 0.5,
    "bco": HALF,
    "csft": HALF,
    "unlikelihood": HALF,
    # One token: reward +-1, whitened advantage +-1 over a step with as many of both, value head at 0.
    "offline_ppo": (-1 + 0.01, 1 + 0.01),
    "dpo": HALF,
    "dpop": HALF,
    "robust_dpo": HALF,
    "ipo": 25.0,  # 1 / (4 tau^2)
    "hinge": 1.0,
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "nca_pair": 2 * HALF,
    "bco_pair": 2 * HALF,
    "sppo_hard": 0.5e6,  # 1 / (2 beta^2)
    "exo_pair": HALF * -1 - (math.log(0.999) + math.log(0.001)) / 2,
    "discopop": (HALF + 1) / 2,
    "slic": 1 + 0.1 * HALF,
    "simpo": math.log1p(math.e),
    "orpo": HALF + 0.1 * HALF,
    "cpo": HALF + HALF,
    "bradley_terry": HALF,
    "nca": 2 * HALF,
    "infonca": math.log(3.0),
    "sft": HALF,
    # One token of advantage +-1, values at 0 and a return of +-1.
    "ppo": (-1 + 0.1 / 2, 1 + 0.1 / 2),
    "grpo": (-1.0, 1.0),
    "rloo": (-1.0, 1.0),
    "gspo": (-1.0, 1.0),
}


def step_zero(loss: Loss) -> Arguments:
    """Four examples of one token each, or of three completions each, where the policy is its own reference."""
    at = -HALF if takes_logps(loss) else 0.0
    shape = {"token": (4, 1), "scored": (4, 3)}.get(loss.level if loss.level == "token" else loss.feedback, (4,))
    ratio = torch.full(shape, at, dtype=torch.float64)
    everything = {
        **dict.fromkeys(("log_ratio", "token_log_ratio", "chosen", "rejected", "logps", "token_logps"), ratio),
        "desirable": torch.tensor([True, False, True, False]),
        "completion": torch.ones(shape, dtype=torch.bool),
        "present": torch.ones(shape, dtype=torch.bool),
        "score": random_numbers(*shape),
        **dict.fromkeys(("advantage", "returns"), numbers(1.0, -1.0, 1.0, -1.0).view(-1, 1)),
        **dict.fromkeys(("values", "old_values", "log_q"), torch.zeros(shape, dtype=torch.float64)),
        "z0": numbers(at)[0],
        "running_mean": numbers(0.0)[0],
    }
    return with_step(loss, {n: everything[n] for n in loss.argument_names if n not in loss.over_step})


@every_loss
def test_the_value_at_step_zero_is_the_closed_form(loss: Loss) -> None:
    assert loss.name in AT_STEP_ZERO, f"add the value of {loss.name} at its start to AT_STEP_ZERO"
    expected = AT_STEP_ZERO[loss.name]
    of_each = expected if isinstance(expected, tuple) else (expected, expected)
    torch.testing.assert_close(call(loss, step_zero(loss)), numbers(*of_each, *of_each), rtol=1e-14, atol=0)


def test_no_loss_that_is_gone_has_a_value_at_step_zero() -> None:
    assert set(AT_STEP_ZERO) == {loss.name for loss in LOSSES}


# -- identities: two losses, or one at two settings, that are the same numbers --

CHOSEN, REJECTED = random_numbers(9, seed=1), random_numbers(9, seed=2)
RATIO, DESIRABLE, ZERO = random_numbers(9, seed=3), torch.arange(9) % 2 == 0, numbers(0.0)[0]
TWO = torch.stack([CHOSEN, REJECTED], 1)
CLEAR = numbers(500.0, -500.0).expand(9, 2)  # softmax gives the first everything
BOTH = torch.ones(9, 2, dtype=torch.bool)


def dpo(**hyperparameters: float) -> torch.Tensor:
    return get_loss("dpo")(CHOSEN, REJECTED, **hyperparameters)


def kto(z0: torch.Tensor = ZERO, **hyperparameters: float) -> torch.Tensor:
    return get_loss("kto")(RATIO, DESIRABLE, z0, **hyperparameters)


IDENTITIES = {
    "dpo is -log s(beta h)": (dpo(beta=0.3), -F.logsigmoid(0.3 * (CHOSEN - REJECTED))),
    "conservative dpo without smoothing is dpo": (dpo(label_smoothing=0.0), dpo()),
    "robust dpo without flips is dpo": (get_loss("robust_dpo")(CHOSEN, REJECTED, label_smoothing=0.0), dpo()),
    "infonca of two with one clear winner is dpo": (get_loss("infonca")(TWO, CLEAR, BOTH, beta=0.1), dpo()),
    "nca of two with one clear winner is nca_pair": (
        get_loss("nca")(TWO, CLEAR, BOTH, beta=0.1),
        get_loss("nca_pair")(CHOSEN, REJECTED, beta=0.1),
    ),
    "kto without z0 is kto at z0 = 0": (get_loss("kto_no_z0")(RATIO, DESIRABLE), kto()),
    "apo_zero_unpaired is kto at z0 = 0": (get_loss("apo_zero_unpaired")(RATIO, DESIRABLE), kto()),
    "apo_zero is apo_zero_unpaired on both sides": (
        get_loss("apo_zero")(CHOSEN, REJECTED),
        get_loss("apo_zero_unpaired")(CHOSEN, torch.ones(9, dtype=torch.bool))
        + get_loss("apo_zero_unpaired")(REJECTED, torch.zeros(9, dtype=torch.bool)),
    ),
    "bco_pair is bco on both sides": (
        get_loss("bco_pair")(CHOSEN, REJECTED, numbers(0.7)[0], beta=0.1),
        get_loss("bco")(CHOSEN, torch.ones(9, dtype=torch.bool), numbers(0.7)[0], beta=0.1)
        + get_loss("bco")(REJECTED, torch.zeros(9, dtype=torch.bool), numbers(0.7)[0], beta=0.1),
    ),
    "kto without a reference moves with its z0": (
        get_loss("kto_no_reference")(RATIO - 50, DESIRABLE, ZERO - 50, desirable_weight=1.0),
        kto(),
    ),
    "cpo without imitation is dpo": (get_loss("cpo")(CHOSEN, REJECTED, alpha=0.0), dpo()),
    "simpo without margin is dpo": (get_loss("simpo")(CHOSEN, REJECTED, beta=0.1, gamma=0.0), dpo()),
    "a reward model of beta r is dpo": (get_loss("bradley_terry")(0.1 * CHOSEN, 0.1 * REJECTED), dpo()),
    "sft and csft are one cross-entropy": (get_loss("sft")(-RATIO.abs()), get_loss("csft")(-RATIO.abs(), DESIRABLE)),
    "slic without imitation is a hinge": (
        get_loss("slic")(CHOSEN, REJECTED, delta=1.0, lam=0.0),
        get_loss("hinge")(CHOSEN, REJECTED, beta=1.0),
    ),
    "smoothing mixes both directions": (
        dpo(label_smoothing=0.2),
        0.8 * dpo() + 0.2 * get_loss("dpo")(REJECTED, CHOSEN),
    ),
    "dpo depends on the margin alone": (get_loss("dpo")(CHOSEN + 9, REJECTED + 9), dpo()),
}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_identity(identity: str) -> None:
    assert_same(*IDENTITIES[identity])


def test_robust_dpo_is_dpo_on_average_over_flips() -> None:
    """Without bias: with a share e of pairs turned round, its mean is DPO's loss on the true ones."""
    kept, turned = (
        get_loss("robust_dpo")(*pair, label_smoothing=0.2) for pair in ((CHOSEN, REJECTED), (REJECTED, CHOSEN))
    )
    assert_same(0.8 * kept + 0.2 * turned, dpo())


# -- kto --


def test_kto_weights_scale_their_own_class_alone() -> None:
    plain, heavy = kto(), kto(desirable_weight=3.0)
    assert_same(heavy[DESIRABLE], 3 * plain[DESIRABLE])
    assert torch.equal(heavy[~DESIRABLE], plain[~DESIRABLE])
    assert not kto(undesirable_weight=0.0)[~DESIRABLE].any()


def test_kto_is_lambda_minus_the_human_value() -> None:
    z0 = numbers(0.7)[0]
    found = kto(z0, beta=0.2, desirable_weight=1.33, undesirable_weight=0.8)
    up = 1.33 - 1.33 * torch.sigmoid(0.2 * (RATIO - z0))
    down = 0.8 - 0.8 * torch.sigmoid(0.2 * (z0 - RATIO))
    assert_same(found, torch.where(DESIRABLE, up, down))


@pytest.mark.parametrize(("z", "coefficient"), [(0.0, 0.25), (2.0, 0.104994), (5.0, 6.648e-3), (10.0, 4.54e-5)])
def test_kto_gradient_is_proposition_4_1(z: float, coefficient: float) -> None:
    """lambda beta s(z) s(-z): hard rows, far on the wrong side, are let go."""
    for sign, desirable in ((1.0, True), (-1.0, False)):
        ratio = numbers(-sign * z / 0.1 + 0.5).requires_grad_()
        get_loss("kto")(ratio, torch.tensor([desirable]), numbers(0.5)[0], beta=0.1).sum().backward()
        assert ratio.grad is not None
        assert -sign * ratio.grad.item() / 0.1 == pytest.approx(coefficient, rel=1e-4)


def test_kto_still_learns_where_one_minus_sigmoid_would_be_exactly_zero() -> None:
    ratio = torch.tensor([400.0], requires_grad=True)
    value = get_loss("kto")(ratio, torch.tensor([True]), torch.tensor(0.0))
    value.sum().backward()
    assert value.item() > 0
    assert ratio.grad is not None
    assert ratio.grad.item() < 0


def test_bco_is_shifted_by_the_running_mean() -> None:
    at_mean = get_loss("bco")(numbers(3.0, 3.0), torch.tensor([True, False]), numbers(3.0)[0])
    assert_same(at_mean, numbers(HALF, HALF))
    moved = get_loss("bco")(RATIO + 3, DESIRABLE, ZERO + 3)
    assert_same(moved, get_loss("bco")(RATIO, DESIRABLE, ZERO))


# -- pairs --


def slopes_of(loss: str, chosen: torch.Tensor, rejected: torch.Tensor, **hyperparameters: float) -> torch.Tensor:
    """The gradient in chosen and rejected, (2, N)."""
    found = gradients(get_loss(loss), {"chosen": chosen, "rejected": rejected}, **hyperparameters)[1]
    return torch.stack([found["chosen"], found["rejected"]])


def test_dpo_gradient_tends_to_beta_on_hard_pairs_and_never_vanishes() -> None:
    assert slopes_of("dpo", numbers(-500.0), numbers(0.0), beta=0.1)[0].item() == pytest.approx(-0.1, rel=1e-9)


def test_ipo_has_its_minimum_of_0_at_the_margin() -> None:
    margin = numbers(1 / (2 * 0.25))
    assert get_loss("ipo")(margin + 1, numbers(1.0), tau=0.25).item() == 0.0
    assert not slopes_of("ipo", margin + 1, numbers(1.0), tau=0.25).any()
    for off in (-0.1, 0.1):
        assert get_loss("ipo")(margin + off, numbers(0.0), tau=0.25).item() == pytest.approx(0.01)


@pytest.mark.parametrize(("h", "loss"), [(0.0, 1.0), (5.0, 0.5), (9.999, 1e-4), (10.0, 0.0), (20.0, 0.0), (-10.0, 2.0)])
def test_hinge_is_straight_to_its_margin_and_0_beyond(h: float, loss: float) -> None:
    assert get_loss("hinge")(numbers(h), numbers(0.0), beta=0.1).item() == pytest.approx(loss, abs=1e-12)


def test_slic_beyond_its_margin_is_imitation_alone() -> None:
    found = get_loss("slic")(numbers(-4.0, -4.0), numbers(-9.0, -4.5), delta=2.0, lam=0.1)
    assert_same(found, numbers(0.4, 2.0 - 0.5 + 0.4))
    assert slopes_of("slic", numbers(-4.0), numbers(-9.0), delta=2.0).flatten().tolist() == [-0.1, 0.0]


def test_exo_has_its_minimum_of_0_where_the_policy_prefers_as_the_label_does() -> None:
    h = numbers(math.log(0.95 / 0.05) / 0.1)
    assert get_loss("exo_pair")(h, numbers(0.0), label_smoothing=0.05).item() == pytest.approx(0.0, abs=1e-15)
    assert slopes_of("exo_pair", h, numbers(0.0), label_smoothing=0.05).abs().max() < 1e-15
    for off in (-1.0, 1.0):
        assert get_loss("exo_pair")(h + off, numbers(0.0), label_smoothing=0.05).item() > 1e-5


def test_sppo_has_its_minimum_of_0_at_both_targets() -> None:
    assert get_loss("sppo_hard")(numbers(5.0), numbers(-5.0), beta=0.1).item() == 0.0


def test_apo_down_lowers_both_and_the_rejected_further() -> None:
    chosen, rejected = slopes_of("apo_down", numbers(10.0), numbers(10.0)).flatten().tolist()
    assert get_loss("apo_down")(numbers(0.0), numbers(0.0)).item() == 1.0
    lowered = slopes_of("apo_down", numbers(2.0), numbers(-9.0)).flatten()
    assert chosen < rejected
    assert (lowered > 0).all()


def test_discopop_is_exponential_far_on_one_side_and_logistic_on_the_other() -> None:
    loss = get_loss("discopop")
    right, wrong = numbers(200.0), numbers(-200.0)
    assert_same(loss(right, numbers(0.0)), torch.exp(-0.05 * right))
    assert_same(loss(wrong, numbers(0.0)), -F.logsigmoid(0.05 * wrong))


def test_discopop_is_its_textbook_form_where_that_does_not_overflow() -> None:
    rho = 0.05 * (CHOSEN - REJECTED)
    blend = torch.sigmoid(rho / 0.7)
    assert_same(
        get_loss("discopop")(CHOSEN, REJECTED, tau=0.7), -F.logsigmoid(rho) * (1 - blend) + torch.exp(-rho) * blend
    )


def test_orpo_is_its_textbook_form() -> None:
    chosen, rejected = -CHOSEN.abs() - 0.01, -REJECTED.abs() - 0.01
    odds = [lp.exp() / (1 - lp.exp()) for lp in (chosen, rejected)]
    expected = -chosen - 0.3 * torch.log(torch.sigmoid(torch.log(odds[0] / odds[1])))
    assert_same(get_loss("orpo")(chosen, rejected, lam=0.3), expected)


# -- scored --


def test_nca_and_infonca_are_their_textbook_forms() -> None:
    ratio, score = random_numbers(5, 4), random_numbers(5, 4, seed=1)
    present = torch.arange(4) < torch.tensor([4, 3, 2, 1, 4])[:, None]
    for row in range(5):
        size = int(present[row].sum())
        s, p = 0.3 * ratio[row, :size], torch.softmax(score[row, :size] / 0.7, 0)
        both = [x[row : row + 1] for x in (ratio, score, present)]
        share = torch.log(s.exp() / s.exp().sum())
        assert_same(get_loss("infonca")(*both, beta=0.3, alpha=0.7), -(p * share).sum()[None])
        noise = torch.log(torch.sigmoid(-s)).mean()
        expected = -(p * torch.log(torch.sigmoid(s))).sum() - noise
        assert_same(get_loss("nca")(*both, beta=0.3, alpha=0.7), expected[None])


# -- human-aware losses --

HALOS = {
    "kto", "kto_no_z0", "kto_concave", "kto_risk_neutral", "apo_zero_unpaired", "bco", "offline_ppo",
    "dpo", "robust_dpo", "hinge", "apo_zero", "bco_pair",
}  # fmt: skip


def test_human_aware_are_those_of_log_ratios_whose_value_is_that_of_a_prospect() -> None:
    """The paper's: KTO, DPO, offline PPO are; SFT, CSFT, SLiC, ORPO, SimPO, IPO are not."""
    assert {loss.name for loss in LOSSES if loss.is_halo} == HALOS


def test_the_value_of_ppo_clip_is_concave_in_the_ratio_and_convex_in_its_logarithm_below_the_cap() -> None:
    """The one human-aware loss that the paper's own definition does not fit: exactly from z = 0 to log 4."""
    z = torch.linspace(0, 3, 3001, dtype=torch.float64)
    bends = values.ppo_clip(z).diff().diff()
    below = z[1:-1] < math.log(4.0) - 1e-3  # their right neighbour is not yet capped
    assert (bends[below] > 0).all()
    assert (bends[~below] <= 0).all()
    q = torch.linspace(1, 20, 3001, dtype=torch.float64)
    assert (values.ppo_clip(q.log()).diff().diff() <= 1e-12).all()


def test_conservative_dpo_with_smoothing_is_not_human_aware() -> None:
    """Its value falls where the policy is surer than the labels: DPO is declared one at label_smoothing 0."""
    h = torch.linspace(-60, 60, 601, dtype=torch.float64)
    value = -get_loss("dpo")(h, torch.zeros_like(h), label_smoothing=0.2)
    assert (value.diff() < 0).any()
    assert (value.diff() > 0).any()


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (values.kahneman_tversky, [-1.0, 0.0, 1.0, 2.0], [-2.25, 0.0, 1.0, 2**0.88]),
        (values.sigmoid, [0.0, 10.0], [0.5, 1 / (1 + math.exp(-1))]),
        (values.log_sigmoid, [0.0], [-HALF]),
        (values.identity, [-3.0, 3.0], [-0.3, 0.3]),
        (values.capped, [0.0, 20.0, 50.0], [-1.0, 0.0, 0.0]),
        (values.slic, [-1.0, 1.0, 5.0], [-2.0, 0.0, 0.0]),
        (values.ppo_clip, [-1.0, 0.0, 9.0, 500.0], [math.exp(-1), 1.0, 4.0, 4.0]),
        (values.robust_log_sigmoid, [0.0], [-HALF]),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_value_functions_are_those_of_the_papers_figure(function: Any, at: list[float], expected: list[float]) -> None:
    assert_same(function(numbers(*at)), numbers(*expected))


# -- the reference point --


@pytest.mark.parametrize(
    ("rows", "z0", "raw", "stderr"),
    [
        ([1.0, 3.0], 2.0, 2.0, 1.0),
        ([-4.0, 2.0], 0.0, -1.0, 3.0),  # the clamp is on the mean, not on each row: that would give 1
        ([5.0], 5.0, 5.0, 0.0),
        ([0.0, 0.0, 3.0], 1.0, 1.0, 1.0),  # zero rows count
    ],
)
def test_reference_point_is_the_clamped_mean(rows: list[float], z0: float, raw: float, stderr: float) -> None:
    point = estimate_reference_point(torch.tensor(rows))
    assert [float(v) for v in point] == pytest.approx([z0, raw, stderr])
    assert all(v.shape == () for v in point)


def test_reference_point_lets_nan_through_to_the_guard() -> None:
    """Hiding it, as `nanmean` does, would train on an estimate of other rows."""
    assert estimate_reference_point(torch.tensor([1.0, math.nan])).raw.isnan()


def test_reference_point_does_not_depend_on_the_order_of_rows() -> None:
    rows = 100 * torch.randn(999, generator=torch.Generator().manual_seed(0))
    points: list[Any] = [estimate_reference_point(rows[torch.randperm(999)]) for _ in range(5)]
    assert len({p.raw.float().item() for p in points}) == 1


def test_the_value_of_conservative_dpo_falls_where_it_is_sure() -> None:
    """With smoothed labels DPO is no human-aware loss, and says so when asked."""
    dpo = prospect.losses.get_loss("dpo")
    z = torch.linspace(-60, 60, 241, dtype=torch.float64)
    smoothed = dpo.human_value(z, label_smoothing=0.2)
    zero = torch.zeros_like(z)
    torch.testing.assert_close(smoothed, -dpo(z, zero, label_smoothing=0.2), rtol=1e-12, atol=1e-12)
    assert (dpo.human_value(z).diff() > 0).all()
    assert z[smoothed.argmax()].item() == pytest.approx(math.log(4) / 0.1, abs=0.5)
