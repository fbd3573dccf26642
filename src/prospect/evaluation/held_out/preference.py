"""Held-out feedback: does the policy tell what people liked from what they did not? No judge, and nothing is trained.

Every number has its interval, and none depends on how many rows go through the model at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from prospect import progress
from prospect.data.batch import Row, flatten
from prospect.data.dataset import Dataset, encode_records
from prospect.data.render import Encoder
from prospect.errors import UsageError
from prospect.evaluation.answers.held_out import (
    ADAPTER_OFF,
    beta_of,
    data_settings,
    describe,
    has_reference_point,
    loss_name,
    notes_on_data,
    notes_on_reference,
    read_held_out,
    reference_of,
)
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import Subject, find_subject
from prospect.evaluation.held_out.feedback_measures import Models, Numbers, by_class, tell_apart, text_loss
from prospect.evaluation.held_out.scoring import (
    Compared,
    OwnSamples,
    Score,
    adapter_off,
    crossed,
    draw_own_samples,
    frozen,
    reference_point,
    score_rows,
)
from prospect.feedback.files.sources import Source
from prospect.feedback.records import Feedback
from prospect.models.loading import resolve_max_length, weights_identity
from prospect.models.logps import score_logits
from prospect.models.policy import Policy, load_for_scoring
from prospect.results.feedback import ComparedModel, Drift, FeedbackResult, Kl, ScoredModel, ScoreUsed, Threshold
from prospect.statistics.estimates import Intervals, Number, mean_of


@dataclass(frozen=True)
class Settings:
    """How held-out feedback is looked at.

    Attributes:
        beta: scale of implied rewards; None takes the run's, else 0.1, and 1 where a model's log-probs stand alone. A
            reward model's scores have none.
        kl_prompts: of how many prompts the policy writes a sample each, to estimate KL; 0 for none.
        kl_tokens: where such a sample is cut.
        max_length: the longest row, in tokens; None takes the run's, else the model's context, at most 2048.
        max_tokens: tokens that go through a model at once; changes memory and speed, never a number.
        batch_size: samples drawn at once; likewise.
        seed: of the samples, and of z0's mismatched rows where there is no run, which has its own.
        intervals: how they are made.
        rendering: how rows become text, where not as in the run.
    """

    beta: float | None = None
    kl_prompts: int = 64
    kl_tokens: int = 128
    max_length: int | None = None
    max_tokens: int | None = None
    batch_size: int = 64
    seed: int = 0
    intervals: Intervals = field(default_factory=Intervals)
    rendering: RenderingOptions = field(default_factory=RenderingOptions)


@dataclass(frozen=True)
class _Said:
    """What one model says: log-probs of the feedback, of mismatched rows and of the policy's samples, nats."""

    rows: np.ndarray
    mismatched: np.ndarray
    own: np.ndarray


@dataclass(frozen=True)
class _Asked:
    """The rows that both models are asked about."""

    rows: list[Row]
    mismatched: list[Row]
    samples: OwnSamples | None

    def score(self, score: Score, device: torch.device, settings: Settings, what: str) -> _Said:
        own = self.samples.rows if self.samples else []
        say = partial(score_rows, score, device=device, max_tokens=settings.max_tokens, what=what)
        return _Said(*(say(rows) for rows in (self.rows, self.mismatched, own)))


def evaluate_feedback(
    model: str | Path,
    data: Source | None = None,
    reference: str | None = None,
    *,
    label_map: Mapping[Any, bool] | None = None,
    limit: int | None = None,
    settings: Settings | None = None,
) -> FeedbackResult:
    """Score held-out feedback with a policy and its reference.

    r = log pi(y|x) - log ref(y|x), per token where the run's loss is length-normalised;  implied reward = beta r

    The threshold of accuracy (of thumbs) and calibration, of sigma(beta (r - threshold)), is z0 where the loss has one
    or is not known, 0 where a loss on thumbs holds it there, else the median of r.

    Without a reference (a loss that has none, or "none") the score is the policy's own log-prob per token, summed where
    the run's loss compares sums; there is then no calibration and no drift. A reward model's score is its own number.

    Args:
        model: a run directory, a model's or adapter's folder, or a hub name.
        data: held-out feedback of any kind; None takes what the run held out.
        reference: what the policy is compared with; None takes what the run used, and of an adapter the model without
            it; "none" takes none.
        label_map: label -> desirable; None takes the run's.
        limit: look at this many rows at most, the first.
        settings: see `Settings`.

    Returns:
        Every number with its interval; `low` and `high` are None where there is a single prompt.

    Raises:
        UsageError: a server or a file in place of a model, no data, or a beta for a reward model.
        DataError, ModelError: whatever is wrong with the feedback or the models.
    """
    settings = settings or Settings()
    subject = find_subject(model, images=True)
    if subject.kind in ("endpoint", "completions"):
        raise UsageError(
            f"{model}: held-out feedback needs the log-probs of a model that is loaded. Compare texts with prospect "
            "contest."
        )
    records, source = read_held_out(subject, data, label_map, limit)
    dataset: Dataset
    if subject.makes_images:
        from prospect.evaluation.held_out.image_feedback import score_image_feedback

        asked, found, dataset = score_image_feedback(
            subject, records, source, reference, beta=settings.beta, intervals=settings.intervals
        )
    elif subject.is_reward_model:
        asked, found, dataset = _by_reward_model(subject, records, source, settings)
    else:
        asked, found, dataset = _by_policy(subject, records, source, reference, settings)
    return FeedbackResult(
        model=ScoredModel(name=str(model), kind=subject.kind, identity=asked.identity, loss=loss_name(subject)),
        reference=asked.reference,
        data=describe(dataset),
        level=settings.intervals.level,
        score=found.score,
        threshold=found.threshold,
        log_loss=found.log_loss,
        drift=found.drift,
        errors=found.errors,
        notes=[*asked.notes, *notes_on_data(subject, dataset)],
        **found.apart._asdict(),
    )


def _by_policy(
    subject: Subject, records: list[Feedback], source: str, reference: str | None, settings: Settings
) -> tuple[Models, Numbers, Dataset]:
    """Both models' log-probs, and what follows from them. Only one of the two is in memory, but for an adapter's."""
    policy, encoder, dataset = load_and_encode(subject, records, source, settings)
    other = reference_of(subject, reference)
    rows = flatten(dataset.examples)
    seed = subject.config.train.seed if subject.config else settings.seed
    z0 = has_reference_point(subject, other)
    samples = _own_samples(policy, dataset, encoder, settings) if other and settings.kl_prompts else None
    asked = _Asked(rows, crossed(rows, seed, encoder.max_length) if z0 else [], samples)
    device = policy.device
    ours = asked.score(policy.logps, device, settings, f"model {subject.name}")
    theirs, compared = None, None
    if other:
        compared = load_reference(subject, policy, other)
        theirs = asked.score(compared.score, device, settings, f"reference {compared.name}")
    about = None
    if compared:
        about = ComparedModel(name=compared.name, kind=compared.kind, identity=compared.identity)
    models = Models(policy.identity, about, notes_on_reference(subject, about.identity if about else None, reference))
    return models, _measure(subject, dataset, asked, ours, theirs, settings), dataset


def load_and_encode(
    subject: Subject, records: list[Feedback], source: str, settings: Settings
) -> tuple[Policy, Encoder, Dataset]:
    """Load a policy and encode the records for it."""
    with progress.phase(f"loading {subject.name}"):
        policy = load_for_scoring(subject.settings, subject.precision)
    data = data_settings(subject)
    max_length = settings.max_length or data.max_length or resolve_max_length(None, policy.model.config)
    rendering = settings.rendering.for_scoring(subject)
    encoder = Encoder(policy.tokenizer, max_length, end_token=data.end_token, rendering=rendering)
    with progress.phase("encoding the feedback", aloud=False):
        return policy, encoder, encode_records(records, records[0].kind, encoder, data, source)


def _by_reward_model(
    subject: Subject, records: list[Feedback], source: str, settings: Settings
) -> tuple[Models, Numbers, Dataset]:
    """Return a reward model's scores; they have no zero, so thumbs are held against the median."""
    from prospect.evaluation.contest.judges.reward_model import load_scorer
    from prospect.models.reward_model import RewardModel

    if settings.beta is not None:
        raise UsageError(
            f"{subject.name}: beta is {settings.beta:g}, and a reward model's scores are taken as they are. Leave it "
            "out."
        )
    model, tokenizer = load_scorer(subject.weights)
    policy = RewardModel(model, tokenizer, score_logits, "fp32", "", has_adapter=False)
    data = data_settings(subject)
    max_length = settings.max_length or data.max_length or resolve_max_length(None, model.config)
    rendering = settings.rendering.for_scoring(subject)
    encoder = Encoder(tokenizer, max_length, end_token=data.end_token, rendering=rendering)
    with progress.phase("encoding the feedback", aloud=False):
        dataset = encode_records(records, records[0].kind, encoder, data, source)
    scores = score_rows(
        policy.logps, flatten(dataset.examples), policy.device, settings.max_tokens, f"model {subject.name}"
    )
    median = float(np.median(scores))
    apart = tell_apart(dataset.kind, dataset.examples, scores, median, settings.intervals, log_odds=False)
    note = "a reward model: its scores have no zero, and it writes no text, so there is no log-loss and no drift"
    found = Numbers(
        score=ScoreUsed(what="score of the reward model", beta=1.0),
        threshold=Threshold(kind="median", value=median),
        apart=apart,
        log_loss=None,
        drift=None,
    )
    return Models(weights_identity(model, "fp32"), None, [note]), found, dataset


def _measure(
    subject: Subject,
    dataset: Dataset,
    asked: _Asked,
    ours: _Said,
    theirs: _Said | None,
    settings: Settings,
) -> Numbers:
    """Return the numbers, from log-probs."""
    loss, how = subject.loss, settings.intervals
    log_ratio = ours.rows - theirs.rows if theirs else ours.rows
    crossed_ratio = ours.mismatched - theirs.mismatched if theirs else ours.mismatched
    # A log-prob falls with every token, so it is looked at per token, unless the loss itself compares sums.
    by_token = theirs is None and (loss is None or loss.over_units)
    by_token = by_token or (loss is not None and loss.length_normalised)
    tokens = np.array([len(row.completion_ids) for row in asked.rows], dtype=float)
    if by_token:
        log_ratio = log_ratio / tokens
        crossed_ratio = crossed_ratio / np.array([len(row.completion_ids) for row in asked.mismatched], dtype=float)
    scaled = settings.beta is not None or loss is not None or theirs is not None
    beta = beta_of(subject, settings.beta) if scaled else 1.0
    if asked.mismatched:
        kind: Literal["z0", "zero", "median"] = "z0"
        point = reference_point(crossed_ratio, clamp=theirs is not None)
    elif theirs and loss is not None and loss.feedback == "unpaired" and not loss.needs_running_mean:
        kind, point = "zero", 0.0  # these losses hold z0 at 0
    else:
        kind, point = "median", float(np.median(log_ratio))
    what = ("log-ratio" if theirs else "log-prob") + (" per completion token" if by_token else "")
    apart = tell_apart(dataset.kind, dataset.examples, beta * log_ratio, beta * point, how, log_odds=theirs is not None)
    losses: dict[str, Number | None] = {"policy": text_loss(ours.rows, dataset.examples, how)}
    if theirs:
        losses["reference"] = text_loss(theirs.rows, dataset.examples, how)
    return Numbers(
        score=ScoreUsed(what=f"beta * {what}", beta=beta),
        threshold=Threshold(kind=kind, value=beta * point),
        apart=apart,
        log_loss=losses,
        drift=_drift(dataset, asked.samples, ours, theirs, settings) if theirs else None,
    )


def _drift(dataset: Dataset, samples: OwnSamples | None, ours: _Said, theirs: _Said, settings: Settings) -> Drift:
    """How far the policy is from the reference: log-ratios of the feedback, and KL(policy || reference) by samples."""
    drift = Drift(log_ratio=by_class(ours.rows - theirs.rows, dataset.examples, settings.intervals), kl=None)
    if samples is None:
        return drift
    about = {"max_new_tokens": settings.kl_tokens, "cut": samples.cut, "left_out": samples.left_out}
    if not samples.rows:
        drift.kl = Kl(value=None, low=None, high=None, n=0, **about)
        return drift
    prompts = [row.prompt_key for row in samples.rows]
    tokens = np.array([len(row.completion_ids) for row in samples.rows], dtype=float)
    kl = mean_of(ours.own - theirs.own, prompts, settings.intervals)
    drift.kl = Kl(**kl._asdict(), tokens=float(tokens.mean()), **about)
    return drift


def _own_samples(policy: Policy, dataset: Dataset, encoder: Encoder, settings: Settings) -> OwnSamples:
    """Return a sample of the policy for each of the first distinct prompts."""
    first: dict[str, Feedback] = {}
    for record, example in zip(dataset.records, dataset.examples, strict=True):
        first.setdefault(example[0].prompt_key, record)
    return draw_own_samples(
        policy,
        list(first.values())[: settings.kl_prompts],
        max_length=encoder.max_length,
        max_new_tokens=settings.kl_tokens,
        seed=settings.seed,
        batch_size=settings.batch_size,
        rendering=encoder.renderer.settings,
    )


def load_reference(subject: Subject, policy: Policy, name: str) -> Compared:
    """Load what a policy is compared with, in place of the policy unless that is the policy without its adapter.

    Args:
        subject: the policy's.
        policy: whose log-probs are known; its model is let go.
        name: of `reference_of`.
    """
    if name == ADAPTER_OFF:
        if not subject.base:
            raise UsageError(f"--reference {ADAPTER_OFF}: {subject.name} has no adapter. Name a model.")
        return adapter_off(policy, str(subject.base))
    policy.model = None  # its log-probs are known; two models need twice the memory
    other = find_subject(name)
    if other.kind in ("endpoint", "completions"):
        raise UsageError(f"--reference {name}: log-ratios need the log-probs of a model that is loaded.")
    held = subject.settings.model_copy(update={"name_or_path": other.weights, "adapter": _as_in_the_run(subject, name)})
    return frozen(held, policy.tokenizer, subject.precision, name)


def _as_in_the_run(subject: Subject, name: str) -> Any:
    """Return what the run did to the adapter that it started from: folded in it is, to rounding, another model."""
    config = subject.config
    return config.model.adapter if config is not None and config.model.name_or_path == name else None
