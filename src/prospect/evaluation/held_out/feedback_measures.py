"""Numbers of held-out feedback, from what the models say of its rows. Letters: N rows, K own samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prospect.data.batch import Example, flatten
from prospect.feedback.records import Kind
from prospect.results.feedback import ComparedModel, Drift, ScoreUsed, Threshold
from prospect.statistics.calibration import Calibration, measure_calibration
from prospect.statistics.discrimination import accuracy, auroc, auroc_delong, class_margin, log_loss
from prospect.statistics.estimates import (
    Intervals,
    Number,
    Share,
    as_number,
    as_share,
    mean_of,
    ratio_of,
    without_interval,
)


class Apart(NamedTuple):
    """How well good and bad are told apart; None what one class alone does not give."""

    rewards: dict[str, Number]
    accuracy: Share | None = None
    auroc: Number | None = None
    auroc_delong: Number | None = None
    margin: Number | None = None
    calibration: Calibration | None = None
    label_log_loss: Number | None = None


class Models(NamedTuple):
    """Which models were asked, and what a reader must know of them."""

    identity: str
    reference: ComparedModel | None
    notes: list[str]


class Numbers(NamedTuple):
    """What the scores of the feedback show."""

    score: ScoreUsed
    threshold: Threshold
    apart: Apart
    log_loss: dict[str, Number | None] | None
    drift: Drift | None
    errors: dict[str, Number] | None = None


def tell_apart(
    kind: Kind, examples: Sequence[Example], rewards: np.ndarray, threshold: float, how: Intervals, *, log_odds: bool
) -> Apart:
    """Return rewards by class, accuracy, AUROC, margin and calibration; None what one class alone does not give.

    Accuracy is, of thumbs, the share of rows on the right side of the threshold; of pairs, that of pairs whose chosen
    side has the higher reward; of scored completions, that of prompts whose best one has. Margin is, of thumbs, the
    difference of the classes' means; else the mean lead of the chosen or best one.

    Args:
        kind: of the feedback.
        examples: whose rows, in their order.
        rewards: shape (N,).
        threshold: on the scale of rewards.
        how: see `Intervals`.
        log_odds: whether reward - threshold can be read as log-odds, and so calibrated.
    """
    rows = flatten(examples)
    labels, prompts = np.array([row.desirable for row in rows]), [row.prompt_key for row in rows]
    found = Apart(by_class(rewards, examples, how) if kind != "demonstration" else {})
    if labels.all() or not labels.any():
        return found
    if kind == "unpaired":
        right = accuracy(rewards.tolist(), labels.tolist(), prompts, threshold=threshold, **how.options())
        margin = _class_margin(rewards, labels, prompts, how)
    else:
        leads, of = _leads(examples, rewards), [example[0].prompt_key for example in examples]
        right = accuracy(leads.tolist(), [True] * leads.size, of, **how.options())
        margin = mean_of(leads, of, how)
    logits = rewards - threshold
    return found._replace(
        accuracy=as_share(right, how),
        auroc=as_number(auroc(rewards.tolist(), labels.tolist(), prompts, **how.options()), how),
        # For whoever compares with papers: it takes rows for independent, those of one prompt too.
        auroc_delong=as_number(auroc_delong(rewards.tolist(), labels.tolist(), level=how.level), how),
        margin=margin,
        calibration=_calibration(logits, labels, how) if log_odds else None,
        label_log_loss=_label_log_loss(logits, labels, prompts, how) if log_odds else None,
    )


def by_class(values: np.ndarray, examples: Sequence[Example], how: Intervals) -> dict[str, Number]:
    """Return the mean of each class that has rows."""
    rows = flatten(examples)
    found = {}
    for name, label in (("desirable", True), ("undesirable", False)):
        inside = [i for i, row in enumerate(rows) if row.desirable is label]
        if inside:
            found[name] = mean_of(values[inside], [rows[i].prompt_key for i in inside], how)
    return found


def errors_by_class(
    ours: np.ndarray, theirs: np.ndarray, examples: Sequence[Example], how: Intervals
) -> dict[str, Number]:
    """Return the policy's squared error on images over the reference's, of each class that has rows.

    Args:
        ours: log-probs by the policy, (N,), each minus half a squared error.
        theirs: by the reference.
        examples: whose rows, in their order.
        how: see `Intervals`.
    """
    rows = flatten(examples)
    found = {}
    for name, label in (("desirable", True), ("undesirable", False)):
        inside = [i for i, row in enumerate(rows) if row.desirable is label]
        if inside:
            found[name] = ratio_of(-ours[inside], -theirs[inside], [rows[i].prompt_key for i in inside], how)
    return found


def text_loss(logps: np.ndarray, examples: Sequence[Example], how: Intervals) -> Number | None:
    """Return the loss on desirable text, nats per completion token; None where nothing is desirable."""
    rows = flatten(examples)
    inside = [i for i, row in enumerate(rows) if row.desirable]
    if not inside:
        return None
    tokens = np.array([len(rows[i].completion_ids) for i in inside], dtype=float)
    return ratio_of(-logps[inside], tokens, [rows[i].prompt_key for i in inside], how)


def _calibration(logits: np.ndarray, labels: np.ndarray, how: Intervals) -> Calibration:
    from scipy.special import expit

    return measure_calibration(expit(logits).tolist(), labels.tolist(), level=how.level)


def _label_log_loss(logits: np.ndarray, labels: np.ndarray, prompts: Sequence[str], how: Intervals) -> Number:
    if len(set(prompts)) < 2:
        return without_interval(np.logaddexp(0, np.where(labels, -logits, logits)).mean(), logits.size, how)
    return as_number(log_loss(logits.tolist(), labels.tolist(), prompts, **how.options()), how)


def _class_margin(rewards: np.ndarray, labels: np.ndarray, prompts: Sequence[str], how: Intervals) -> Number:
    if len(set(prompts)) < 2:
        return without_interval(rewards[labels].mean() - rewards[~labels].mean(), rewards.size, how)
    return as_number(class_margin(rewards.tolist(), labels.tolist(), prompts, **how.options()), how)


def _leads(examples: Sequence[Example], rewards: np.ndarray) -> np.ndarray:
    """By how much each example's best side leads the others; 0 where all are best."""
    leads, start = [], 0
    for example in examples:
        mine = rewards[start : start + len(example)]
        best = np.array([row.desirable for row in example])
        leads.append(mine[best].max() - mine[~best].max() if not best.all() else 0.0)
        start += len(example)
    return np.array(leads)
