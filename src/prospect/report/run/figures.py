"""Which figures a run gets, with the words that go with them; a figure without data is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from prospect.report.charts.bars import stacked_bars, whiskers
from prospect.report.charts.drawing import Figure
from prospect.report.charts.plots import Line, histogram_pair, line_chart, running_mean, thin, trend
from prospect.report.page.wording import percent
from prospect.report.run.facts import MetricCurve, RunFacts
from prospect.report.run.findings import clamped_share

REWARD = "implied reward (β · nats)"
CLASS_LOOKS = ("desirable", "undesirable")
BEFORE_AFTER = (("before", "before"), ("after", "after training"))
SMALL = 150
PALE = "The pale band spans single steps, the line is their running mean."


def result_figures(facts: RunFacts) -> list[Figure]:
    """Pass rates and win rate."""
    compared = facts.comparison
    if not compared:
        return []
    pairs = {
        "all rules together" if compared.rules else "all": (compared.before, compared.after),
        **{name: (rule.before, rule.after) for name, rule in compared.rules.items()},
    }
    passes = whiskers(
        [(name, (("before", before), ("after", after))) for name, (before, after) in pairs.items()],
        title=f"Share of {facts.noun}s that pass{', rule by rule' if compared.rules else ''}",
        reading="A dot is the share, its bar the 95% interval. Bars that do not touch differ clearly.",
        x_label=f"{facts.noun}s that pass",
        keys=BEFORE_AFTER,
    )
    wins = compared.win_rate and whiskers(
        [("after training against before", (("after", compared.win_rate),))],
        title="Win rate of the trained model against its start",
        reading="Right of the dashed 50% line the trained model wins more often. The bar is the 95% interval.",
        x_label="comparisons won, ties counting half",
        guide=0.5,
    )
    return [passes, *([wins] if wins else [])]


def learning_curves(facts: RunFacts) -> list[Figure]:
    """Return what happened step by step."""
    of_step = (_loss(facts), _rewards(facts), _margins(facts), _logps(facts), _reference_point(facts))
    return _present(*_rollouts(facts), *of_step)


def optimizer_curves(facts: RunFacts) -> list[Figure]:
    """Learning rate and gradient norm, small."""
    return _present(_rate(facts), _norm(facts))


def held_out_figures(facts: RunFacts) -> list[Figure]:
    """How well the policy separates the classes on held-out feedback."""
    return _present(_ranking(facts), _held_out_rewards(facts), *_held_out_errors(facts))


def data_figures(facts: RunFacts) -> list[Figure]:
    """Label balance and lengths."""
    return _present(_balance(facts), _lengths(facts))


def _held_out_errors(facts: RunFacts) -> tuple[Figure | None, Figure | None]:
    """Return log-ratios and errors of both classes, which runs that make images log."""
    names = facts.class_names
    ratios = line_chart(
        [
            *_exact(facts, names[0], "desirable", "eval_log_ratios/chosen", dots=True),
            *_exact(facts, names[1], "undesirable", "eval_log_ratios/rejected", dots=True),
        ],
        title="Held-out log-ratios of both classes",
        reading=f"At fixed noise. {names[0].capitalize()} images should stay near 0 or above: where they fall below"
        " -5 nats, the model forgets how to make them.",
        y_label="nats per image",
        guide=0.0,
    )
    errors = line_chart(
        [
            *_exact(facts, names[0], "desirable", "eval_errors/chosen", dots=True),
            *_exact(facts, names[1], "undesirable", "eval_errors/rejected", dots=True),
        ],
        title="Held-out errors beside the reference's",
        reading="The policy's squared error over that of the reference: 1 at the start, below it where the policy"
        " makes such images more readily.",
        y_label="share of the reference's",
        guide=1.0,
    )
    return ratios, errors


def _present(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure]


def _noisy(facts: RunFacts, label: str, look: str, key: str) -> list[Line]:
    """Return a metric of single steps as a line, no line where it was not logged."""
    curve = facts.curve(key)
    return [trend(label, look, *curve)] if curve else []


def _exact(facts: RunFacts, label: str, look: str, key: str, *, dots: bool = False) -> list[Line]:
    """Return a metric without a running mean, no line where it was not logged."""
    curve = facts.curve(key)
    return [Line(label, look, *thin(*curve)[:2], dots=dots)] if curve else []


def _rollouts(facts: RunFacts) -> tuple[Figure | None, Figure | None]:
    """Return the judge's score of the policy's own answers, and how far it has gone from the reference."""
    score = line_chart(
        [
            *_exact(facts, "mean score", "main", "rollout/reward", dots=True),
            *_exact(facts, "lower end", "second", "rollout/reward_low"),
            *_exact(facts, "upper end", "second", "rollout/reward_high"),
        ],
        title="The judge's score of each rollout",
        reading="The mean with its 95% interval over prompts. It shows that the judge is pleased, no more.",
        y_label="score",
    )
    kl = line_chart(
        _exact(facts, "KL", "main", "rollout/kl", dots=True),
        title="KL from the reference",
        reading="A score that no longer rises while this does is a judge's weakness that is being found.",
        y_label="nats per answer",
        guide=0.0,
    )
    return score, kl


def _loss(facts: RunFacts) -> Figure | None:
    return line_chart(
        [
            *_noisy(facts, "training", "main", "loss"),
            *_exact(facts, "held out", "second", "eval_loss", dots=True),
        ],
        title="Loss",
        reading=f"Lower is better. {PALE} Held-out loss rising while training falls is overfitting.",
        y_label="nats per token" if facts.feedback == "demonstration" else "mean loss per example",
    )


def _rewards(facts: RunFacts) -> Figure | None:
    names = facts.class_names
    return line_chart(
        [
            *_noisy(facts, names[0], "desirable", "rewards/chosen"),
            *_noisy(facts, names[1], "undesirable", "rewards/rejected"),
        ],
        title="Rewards of both classes",
        reading="Above 0 is likelier than under the reference. The lines should part, not fall together.",
        y_label=REWARD,
        guide=0.0,
    )


def _margins(facts: RunFacts) -> Figure | None:
    names = facts.class_names
    return line_chart(
        [
            *_noisy(facts, "training", "main", "rewards/margins"),
            *_exact(facts, "held out", "second", "eval_rewards/margins", dots=True),
        ],
        title="Reward margin",
        reading=f"Reward of {names[0]} minus {names[1]}: it should rise from 0, held out as well.",
        y_label=REWARD,
        guide=0.0,
    )


def _logps(facts: RunFacts) -> Figure | None:
    """Only where there are no rewards, which are the same relative to the reference."""
    return line_chart(
        [] if facts.curve("rewards/chosen") else _noisy(facts, "training", "main", "logps/chosen"),
        title="Log-probability of the completions",
        reading=f"Higher is likelier. {PALE}",
        y_label="nats per completion",
    )


def _reference_point(facts: RunFacts) -> Figure | None:
    z0, error, share = facts.curve("kl"), facts.curve("kl_stderr"), clamped_share(facts)
    on_clamp = f" It was clamped to 0 on {percent(share)} of the steps." if share is not None else ""
    sampled = facts.recipe("reference_point", "kind") == "sampled"
    by = "by completions of its own" if sampled else f"by other prompts' {facts.noun}s"
    return line_chart(
        [_with_error(z0, error), *_exact(facts, "before the clamp", "faint", "kl_raw")] if z0 else [],
        title="Reference point z0",
        reading=f"How far the policy has drifted, estimated {by}: gains and losses count from here."
        f" The band is one standard error.{on_clamp}",
        y_label="nats",
        guide=0.0,
    )


def _with_error(z0: MetricCurve, error: MetricCurve) -> Line:
    """z0 as its running mean, with the running mean of its standard error as a band where that was logged."""
    steps, mean = thin(*z0)[:2]
    smooth = running_mean(mean)
    if not np.array_equal(z0.steps, error.steps):
        return Line("z0, running mean", "main", steps, smooth)
    spread = running_mean(thin(*error)[1])
    return Line("z0, running mean", "main", steps, smooth, np.maximum(0.0, smooth - spread), smooth + spread)


def _balance(facts: RunFacts) -> Figure | None:
    counts, weights = facts.class_counts, facts.class_weights
    if not counts:
        return None
    weighted = tuple(n * w for n, w in zip(counts, weights, strict=True))
    labels = list(zip(CLASS_LOOKS, facts.class_names, strict=True))
    rows: list[tuple[str, tuple[float, ...]]] = [(f"{facts.noun.capitalize()}s", counts)]
    if sum(weighted) > 0:
        rows.append((f"Weight in the loss, at {weights[0]:.3g} and {weights[1]:.3g} each", weighted))
    return stacked_bars(
        [
            (name, [(look, label, n) for (look, label), n in zip(labels, amounts, strict=True)])
            for name, amounts in rows
        ],
        title="Label balance",
        reading="The lower bar is what the loss sees: counts times class weights. KTO wants it about even.",
    )


def _lengths(facts: RunFacts) -> Figure | None:
    histogram = facts.train_data.completion_histogram
    if histogram is None or len(histogram.edges) < 2 or histogram.edges[0] >= histogram.edges[-1]:
        return None
    edges = histogram.edges
    names = ("demonstrations", "") if facts.feedback == "demonstration" else facts.class_names
    classes = zip(CLASS_LOOKS, names, (histogram.desirable, histogram.undesirable), strict=True)
    counts = [(look, name, n) for look, name, n in classes if n and len(n) == len(edges) - 1 and any(n)]
    if not counts:
        return None
    sides = f" {names[0].capitalize()} upwards, {names[1]} downwards." if len(counts) > 1 else ""
    return histogram_pair(
        edges,
        counts,
        title="Length of completions",
        reading=f"Share of each class by length.{sides} Where they differ, length itself is learnt.",
        x_label="tokens",
    )


def _rate(facts: RunFacts) -> Figure | None:
    return line_chart(
        _exact(facts, "learning rate", "main", "learning_rate"),
        title="Learning rate",
        reading="The schedule as it was applied.",
        y_label="learning rate",
        height=SMALL,
    )


def _norm(facts: RunFacts) -> Figure | None:
    return line_chart(
        _noisy(facts, "gradient norm", "main", "grad_norm"),
        title="Gradient norm",
        reading="Before clipping. A rise that stays is a warning; single spikes are not.",
        y_label="L2 norm",
        height=SMALL,
    )


def _ranking(facts: RunFacts) -> Figure | None:
    return line_chart(
        [
            *_exact(facts, "AUROC", "main", "eval_rewards/auroc", dots=True),
            *_exact(facts, "accuracy", "second", "eval_rewards/accuracies", dots=True),
        ],
        title="Telling good from bad on held-out feedback",
        reading="1 is perfect. For AUROC the dashed 0.5 is a coin toss, whatever the balance of the classes.",
        y_label="share",
        guide=0.5,
    )


def _held_out_rewards(facts: RunFacts) -> Figure | None:
    names = facts.class_names
    return line_chart(
        [
            *_exact(facts, names[0], "desirable", "eval_rewards/chosen", dots=True),
            *_exact(facts, names[1], "undesirable", "eval_rewards/rejected", dots=True),
        ],
        title="Held-out rewards of both classes",
        reading=f"The gap is the margin. {names[0].capitalize()} should lie above {names[1]}.",
        y_label=REWARD,
        guide=0.0,
    )


CURVES: Mapping[str, Callable[[RunFacts], Figure | None]] = {
    "loss": _loss,
    "rewards": _rewards,
    "margins": _margins,
    "logps": _logps,
    "z0": _reference_point,
    "learning_rate": _rate,
    "grad_norm": _norm,
    "held_out": _ranking,
    "held_out_rewards": _held_out_rewards,
    "score": lambda facts: _rollouts(facts)[0],
    "kl": lambda facts: _rollouts(facts)[1],
}
"""The figures of lines, by the names that they have in Python."""
