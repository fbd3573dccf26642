"""Which figures a run gets, with the words that go with them; a figure without data is left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prospect.report.facts import Curve, Facts, dig, is_number
from prospect.report.findings import clamped_share
from prospect.report.plots import (
    Figure,
    Line,
    histogram_pair,
    line_chart,
    running_mean,
    stacked_bars,
    thin,
    trend,
    whiskers,
)
from prospect.report.wording import number, percent

REWARD = "implied reward (β · nats)"
CLASS_LOOKS = ("desirable", "undesirable")
BEFORE_AFTER = (("before", "before"), ("after", "after training"))
SMALL = 150
PALE = "The pale band is single steps, the line their running mean."


def result_figures(facts: Facts) -> list[Figure]:
    """Pass rates and win rate."""
    compared = facts.comparison
    if not compared:
        return []
    pairs = {"all rules together" if compared.rules else "all": (compared.before, compared.after), **compared.rules}
    passes = whiskers(
        [(name, (("before", before), ("after", after))) for name, (before, after) in pairs.items()],
        title="Share of completions that pass, rule by rule" if compared.rules else "Share of completions that pass",
        reading="A dot is the share, its bar the 95% interval. Bars that do not touch are a clear difference.",
        x_label="completions that pass",
        keys=BEFORE_AFTER,
    )
    wins = compared.win and whiskers(
        [("after training against before", (("after", compared.win),))],
        title="Win rate of the trained model against its start",
        reading="Right of the dashed 50% line, the trained model wins more often; the bar is the 95% interval.",
        x_label="comparisons won, ties counting half",
        guide=0.5,
    )
    return [passes, *([wins] if wins else [])]


def other_rate_figures(facts: Facts) -> list[Figure]:
    """Every further rate in `evaluation/`."""
    rates = facts.other_rates()
    if not rates:
        return []
    figure = whiskers(
        [(name, (("after", rate),)) for name, rate in rates],
        title="Further evaluations",
        reading="A dot is the rate, its bar the interval that was stored with it.",
        x_label="rate",
    )
    return [figure]


def learning_curves(facts: Facts) -> list[Figure]:
    """What happened step by step."""
    return _present(_loss(facts), _rewards(facts), _margins(facts), _logps(facts), _reference_point(facts))


def optimizer_curves(facts: Facts) -> list[Figure]:
    """Learning rate and gradient norm, small."""
    rate, norm = facts.curve("learning_rate"), facts.curve("grad_norm")
    schedule = rate and line_chart(
        [Line("learning rate", "main", *thin(*rate)[:2])],
        title="Learning rate",
        reading="The schedule as it was applied.",
        y_label="learning rate",
        height=SMALL,
    )
    gradient = norm and line_chart(
        [trend("gradient norm", "main", *norm)],
        title="Gradient norm",
        reading="Before clipping. A rise that stays is a warning; single spikes are not.",
        y_label="L2 norm",
        height=SMALL,
    )
    return _present(schedule or None, gradient or None)


def held_out_figures(facts: Facts) -> list[Figure]:
    """How well the policy tells the classes apart on feedback it was not trained on."""
    wanted = (("AUROC", "main", "eval_rewards/auroc"), ("accuracy", "second", "eval_rewards/accuracies"))
    lines = _dotted(facts, wanted)
    ranking = lines and line_chart(
        lines,
        title="Telling good from bad on held-out feedback",
        reading="1 is perfect. For AUROC the dashed 0.5 is a coin toss, whatever the balance of the classes.",
        y_label="share",
        guide=0.5,
    )
    names = facts.class_names
    keys = zip(names, CLASS_LOOKS, ("eval_rewards/chosen", "eval_rewards/rejected"), strict=True)
    classes = _dotted(facts, tuple(keys))
    rewards = classes and line_chart(
        classes,
        title="Held-out rewards of both classes",
        reading=f"The gap is the margin. {names[0].capitalize()} should lie above {names[1]}.",
        y_label=REWARD,
        guide=0.0,
    )
    return _present(ranking or None, rewards or None)


def data_figures(facts: Facts) -> list[Figure]:
    """Label balance and lengths."""
    return _present(_balance(facts), _lengths(facts))


def _present(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure]


def _dotted(facts: Facts, wanted: Sequence[tuple[str, str, str]]) -> list[Line]:
    curves = [(label, look, facts.curve(key)) for label, look, key in wanted]
    return [Line(label, look, *thin(*curve)[:2], dots=True) for label, look, curve in curves if curve]


def _loss(facts: Facts) -> Figure | None:
    loss = facts.curve("loss")
    if not loss:
        return None
    return line_chart(
        [trend("training", "main", *loss), *_dotted(facts, [("held out", "second", "eval_loss")])],
        title="Loss",
        reading=f"Lower is better. {PALE} Held-out loss rising while training falls is overfitting.",
        y_label="nats per token" if facts.feedback == "demonstration" else "mean loss per example",
    )


def _rewards(facts: Facts) -> Figure | None:
    curves = [facts.curve(f"rewards/{name}") for name in ("chosen", "rejected")]
    if not all(curves):
        return None
    classes = zip(facts.class_names, CLASS_LOOKS, curves, strict=True)
    return line_chart(
        [trend(name, look, *curve) for name, look, curve in classes],
        title="Rewards of both classes",
        reading="Above 0 is likelier than under the reference. The lines should part; both falling is a bad sign.",
        y_label=REWARD,
        guide=0.0,
    )


def _margins(facts: Facts) -> Figure | None:
    margins = facts.curve("rewards/margins")
    if not margins:
        return None
    return line_chart(
        [trend("training", "main", *margins), *_dotted(facts, [("held out", "second", "eval_rewards/margins")])],
        title="Reward margin",
        reading=f"Reward of {facts.class_names[0]} minus {facts.class_names[1]}; it should rise from 0 and carry over"
        " to held-out feedback.",
        y_label=REWARD,
        guide=0.0,
    )


def _logps(facts: Facts) -> Figure | None:
    """Only where there are no rewards, which say the same relative to the reference."""
    logps = facts.curve("logps/chosen")
    if not logps or facts.curve("rewards/chosen"):
        return None
    return line_chart(
        [trend("training", "main", *logps)],
        title="Log-probability of the completions",
        reading=f"Higher is likelier. {PALE}",
        y_label="nats per completion",
    )


def _reference_point(facts: Facts) -> Figure | None:
    z0, raw, error = (facts.curve(key) for key in ("kl", "kl_raw", "kl_stderr"))
    if not z0:
        return None
    lines = [_with_error(z0, error)]
    if raw:
        lines.append(Line("before the clamp, single steps", "faint", *thin(*raw)[:2]))
    share = clamped_share(facts)
    on_clamp = f" It was clamped to 0 on {percent(share)} of the steps." if share is not None else ""
    return line_chart(
        lines,
        title="Reference point z0",
        reading="How far the policy has drifted, as KTO estimates it: gains and losses count from here."
        f" The band is one standard error.{on_clamp}",
        y_label="nats",
        guide=0.0,
    )


def _with_error(z0: Curve, error: Curve) -> Line:
    """z0 as its running mean, with the running mean of its standard error as a band where that was logged."""
    steps, mean = thin(*z0)[:2]
    smooth = running_mean(mean)
    if not np.array_equal(z0.steps, error.steps):
        return Line("z0, running mean", "main", steps, smooth)
    spread = running_mean(thin(*error)[1])
    return Line("z0, running mean", "main", steps, smooth, np.maximum(0.0, smooth - spread), smooth + spread)


def _balance(facts: Facts) -> Figure | None:
    counts, weights = facts.class_counts, facts.class_weights
    if not counts:
        return None
    weighted = tuple(n * w for n, w in zip(counts, weights, strict=True))
    labels = list(zip(CLASS_LOOKS, facts.class_names, strict=True))
    rows = [("Completions", counts)]
    if sum(weighted) > 0:
        rows.append((f"Weight in the loss, at {weights[0]:.3g} and {weights[1]:.3g} each", weighted))
    return stacked_bars(
        [(name, [(look, label, n) for (look, label), n in zip(labels, amounts, strict=True)]) for name, amounts in rows],
        title="Label balance",
        reading="The lower bar is what the loss sees: counts times class weights. About even is what KTO expects.",
    )


def _lengths(facts: Facts) -> Figure | None:
    histogram = facts.origin("data", "train", "completion_histogram")
    edges = dig(histogram, "edges")
    if not isinstance(edges, list) or len(edges) < 2 or not all(map(is_number, edges)) or edges[0] >= edges[-1]:
        return None
    names = ("demonstrations",) if facts.feedback == "demonstration" else facts.class_names
    classes = zip(CLASS_LOOKS, names, (dig(histogram, key) for key in CLASS_LOOKS), strict=False)
    counts = [(look, name, n) for look, name, n in classes if isinstance(n, list) and len(n) == len(edges) - 1 and any(n)]
    if not counts:
        return None
    sides = f" {names[0].capitalize()} upwards, {names[1]} downwards." if len(counts) > 1 else ""
    return histogram_pair(
        edges,
        counts,
        title="Length of completions",
        reading=f"Share of each class by length.{sides} Classes of different length can teach length instead of quality.",
        x_label="tokens",
    )
