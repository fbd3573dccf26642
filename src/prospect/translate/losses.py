"""Their methods and losses as ours, with their settings."""

from __future__ import annotations

from collections.abc import Sequence

from prospect.errors import ConfigError
from prospect.peers import explain_loss
from prospect.translate.rules import Became, Rule, Theirs, listed, rule, without

_METHODS = {"kto": "kto", "bco": "bco", "sft": "sft", "orpo": "orpo", "simpo": "simpo", "ipo": "ipo"}
_REWARD = ("reward", "rm", "reward_model")
_SAMPLING = ("grpo", "rloo", "ppo", "gspo", "gdpo", "online_dpo", "nash_md", "xpo", "gkd", "distillation")
_UNPAIRED = {"kto": "kto", "apo_zero_unpaired": "apo_zero_unpaired", "bco": "bco"}
_PAIRED = {
    "sigmoid": "dpo",
    "robust": "robust_dpo",
    **{name: name for name in ("hinge", "ipo", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero")},
    **{name: name for name in ("apo_down", "discopop", "orpo", "simpo")},
}
BETA = {"ipo": "tau", "orpo": "lam"}
"""Our hyperparameter where theirs is beta; of other losses it is beta too."""
WITHOUT_BETA = ("sft", "bradley_terry")


def loss_of(method: str, kinds: Sequence[str] = ()) -> str:
    """Return our loss.

    Args:
        method: theirs: kto, dpo, sft, reward, ...
        kinds: variants of its loss, where the config names some; sft beside another is a term of its own.

    Raises:
        ConfigError: there is none.
    """
    method = method.lower().replace("-", "_")
    kinds = [kind for kind in kinds if kind != "sft"] or list(kinds)
    if method in _REWARD:
        return "bradley_terry"
    if method in _SAMPLING:
        raise ConfigError(
            f"{method} samples while it trains, with a reward that is code, and is not translated. Such recipes have a "
            "section online: docs/online.md."
        )
    if method == "kto":
        return _variant("kto", kinds or ["kto"], _UNPAIRED)
    if method == "dpo":
        return _variant("dpo", kinds or ["sigmoid"], _PAIRED)
    if method == "cpo":
        return _variant("cpo", kinds or ["sigmoid"], {"sigmoid": "cpo", "simpo": "simpo"})
    if method in _METHODS:
        return _METHODS[method]
    raise _refusal(method, method)


def _variant(method: str, kinds: Sequence[str], known: dict[str, str]) -> str:
    if len(kinds) > 1:
        raise ConfigError(
            f"{method}: loss_type is {', '.join(kinds)}; here a run has one loss, to which loss.sft_weight adds sft. "
            "Choose one of them."
        )
    if kinds[0] not in known:
        raise _refusal(method, kinds[0])
    return known[kinds[0]]


def _refusal(method: str, name: str) -> ConfigError:
    what = method if name == method else f"{method}: loss_type {name}"
    why = explain_loss(name) or "there is no such loss here. prospect losses lists those that are"
    return ConfigError(f"{what}: {why}.")


@rule("beta", "rl_beta", "dpo_beta", "pref_beta", "orpo_alpha", "orpo_beta")
def beta(theirs: Theirs) -> Became:
    """Return beta, under the name that our loss has for it."""
    value = theirs.number("beta", "rl_beta", "dpo_beta", "pref_beta", "orpo_alpha", "orpo_beta")
    if value is None:
        return Became()
    if theirs.loss in WITHOUT_BETA:
        return Became(note=f"{theirs.loss} has none")
    name = BETA.get(theirs.loss, "beta")
    note = {"tau": "the same number under the paper's name", "lam": "the weight of the odds ratio"}.get(name, "")
    if theirs.loss == "bco_pair":
        note = "here the mean of rewards so far is taken off first, as in the paper"
    if theirs.loss == "kto":
        note = "the same; z0, which it scales too, is of the whole step here and not of a micro-batch"
    return Became({f"loss.{name}": value}, note)


def _weight(ours: str, *keys: str) -> Rule:
    def read(theirs: Theirs) -> Became:
        value = theirs.number(*keys)
        if value is None:
            return Became()
        if theirs.loss != "kto":
            return Became(note=f"{theirs.loss} has none; of kto alone", lost=value != 1.0)
        return Became({f"loss.{ours}": value}, "left out, data.class_weights: auto would choose it from the data")

    return Rule(keys, read)


def _setting(ours: str, losses: Sequence[str], *keys: str, note: str = "") -> Rule:
    def read(theirs: Theirs) -> Became:
        value = theirs.number(*keys)
        if value is None:
            return Became()
        if theirs.loss not in losses:
            return Became(note=f"{theirs.loss} has none")
        return Became({f"loss.{ours}": value}, note)

    return Rule(keys, read)


@rule("cpo_alpha")
def _alpha(theirs: Theirs) -> Became:
    value = theirs.number("cpo_alpha")
    if value is None or theirs.loss not in ("cpo", "simpo"):
        return Became(note=f"of cpo and simpo alone; {theirs.loss} has none")
    if theirs.loss == "cpo":
        return Became({"loss.alpha": value}, "of the sum over a completion here, of the mean over its tokens there")
    return Became({"loss.sft_weight": value})


@rule("rpo_alpha", "pref_ftx", "loss_weights")
def _sft_weight(theirs: Theirs) -> Became:
    value = theirs.number("rpo_alpha", "pref_ftx")
    weights, kinds = theirs.get("loss_weights"), listed(theirs.get("loss_type"))
    if weights:
        by_kind = dict(zip(kinds, map(float, listed(weights)), strict=False))
        others = [weight for kind, weight in by_kind.items() if kind != "sft"]
        if "sft" in by_kind and len(others) == 1 and others[0] > 0:
            return Became({"loss.sft_weight": by_kind["sft"] / others[0]}, "beside the loss, whose own weight is 1")
        return Became(note="a run has one loss here, with weight 1")
    return Became({} if value is None else {"loss.sft_weight": value})


LOSS: tuple[Rule, ...] = (
    Rule(("rl", "stage", "rlhf_type", "loss_type", "pref_loss"), lambda theirs: Became({"loss.name": theirs.loss})),
    beta,
    _weight("desirable_weight", "desirable_weight", "kto_desirable_weight", "kto_chosen_weight"),
    _weight("undesirable_weight", "undesirable_weight", "kto_undesirable_weight", "kto_rejected_weight"),
    _setting("label_smoothing", ("dpo", "robust_dpo", "exo_pair"), "label_smoothing", "dpo_label_smoothing"),
    _setting("gamma", ("simpo",), "simpo_gamma"),
    _setting("tau", ("discopop",), "discopop_tau"),
    _alpha,
    _sft_weight,
    without("not here: a pair weighs what its row says (column weight)", "use_weighting dpo_use_weighting"),
    without("not here: all tokens of a completion count alike", "ld_alpha"),
    without("not here: the divergence is the reverse KL", "f_alpha_divergence_coef"),
    Rule(
        ("f_divergence_type",),
        lambda theirs: (
            Became(note="as here")
            if theirs.get("f_divergence_type") in ("reverse_kl", "FDivergenceType.REVERSE_KL", None)
            else Became(note="the divergence is the reverse KL here", lost=True)
        ),
    ),
    without("not here: reward models are not centred", "center_rewards_coefficient"),
    without("not here: a term that balances experts", "router_aux_loss_coef moe_aux_loss_coef"),
    without("not here: nll alone", "use_dft_loss enable_dft_loss"),
    Rule(
        ("disable_dropout",),
        lambda theirs: (
            Became(note="the model's dropout is off here too")
            if theirs.on("disable_dropout")
            else Became(note="the model's dropout is always off here", lost=True)
        ),
    ),
)
