"""Held-out feedback on images: how much more readily a run's denoiser makes them than the one that it started from.

Both see each image at the fixed noise of training's evaluations, so that the numbers are those of the run's last one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from prospect import progress
from prospect.config import Config
from prospect.data.batch import flatten
from prospect.data.draw import Draw
from prospect.data.image_dataset import ImageDataset, encode_images
from prospect.data.image_rows import ImageRow
from prospect.errors import ModelError, UsageError
from prospect.evaluation.answers.held_out import NONE, beta_of, data_settings, notes_on_reference
from prospect.evaluation.answers.subject import Subject
from prospect.evaluation.held_out.feedback_measures import Models, Numbers, by_class, errors_by_class, tell_apart
from prospect.evaluation.held_out.scoring import reference_point
from prospect.feedback.records import Feedback
from prospect.losses import Loss, get_loss
from prospect.model_source import LORA_WEIGHTS, find_model
from prospect.models.diffusion.denoiser import Denoiser, load_frozen
from prospect.models.diffusion.encodings import Encodings
from prospect.models.diffusion.pipelines import Pipeline, read_pipeline
from prospect.results.feedback import ComparedModel, Drift, ScoreUsed, Threshold
from prospect.statistics.estimates import Intervals
from prospect.training.image_medium import ImageMedium
from prospect.training.image_recipe import image_encoder


def score_image_feedback(
    subject: Subject,
    records: list[Feedback],
    source: str,
    reference: str | None,
    *,
    beta: float | None,
    intervals: Intervals,
) -> tuple[Models, Numbers, ImageDataset]:
    """Return what a run that makes images thinks of feedback, beside the pipeline that it started from.

    r = log p(policy) - log p(reference), at the same noise;  implied reward = beta r

    Args:
        subject: the run.
        records: of one kind.
        source: where they come from.
        reference: another pipeline in place of the start; with the same encoders and prediction.
        beta: scale of implied rewards; None takes the run's.
        intervals: how they are made.

    Raises:
        UsageError: no run, or no reference: of an image only what two models differ by is known.
        DataError, ModelError: whatever is wrong with the feedback or the pipelines.
    """
    config = subject.config
    if config is None or subject.source is None:
        raise UsageError(
            f"{subject.name}: no run, which would say how images are looked at. Name one, or hold a contest."
        )
    if reference == NONE:
        raise UsageError("--reference none: of an image only what two models differ by is known. Leave it out.")
    start = reference or config.reference.name_or_path or config.model.name_or_path
    policy, other = read_pipeline(subject.source), read_pipeline(find_model(start))
    if (policy.encoders, policy.target) != (other.encoders, other.target):
        raise ModelError(f"{start}: other encoders or another prediction than those of {subject.name}; name its start.")
    loss = get_loss(config.loss.name)
    dataset = encode_images(
        records, records[0].kind, image_encoder(config, policy, loss), data_settings(subject), source
    )
    rows: list[ImageRow] = flatten(dataset.examples)  # type: ignore[arg-type]
    with TemporaryDirectory() as folder:
        encodings = Encodings(Path(folder), policy, config.model.dtype)
        with progress.phase("encoding images and prompts"):
            encodings.add(rows)
        medium = ImageMedium(encodings)
        asked = [*rows, *_crossed(medium, rows, config, loss)]
        compared = _load(config, other, start)
        theirs = _logps(compared, medium, asked, config, start)
        about = ComparedModel(name=start, kind="frozen", identity=compared.identity)
        del compared  # one of the two is in memory at a time
        found = _load(config, policy, subject.name, subject.lora)
        ours = _logps(found, medium, asked, config, subject.name)
    models = Models(found.identity, about, notes_on_reference(subject, about.identity, reference))
    beta = beta_of(subject, beta)
    return models, _measure(dataset, ours, theirs, beta, loss, intervals), dataset


def _crossed(medium: ImageMedium, rows: Sequence[ImageRow], config: Config, loss: Loss) -> list[ImageRow]:
    """Return the rows that z0 is estimated from, as in the run's own evaluations; none without z0, or of one prompt."""
    several = len({row.prompt_key for row in rows}) > 1
    return medium.mismatched(rows, config.train.seed) if loss.needs_reference_point and several else []


def _load(config: Config, pipeline: Pipeline, name: str, lora: Path | None = None) -> Denoiser:
    """Return a pipeline's denoiser, with an adapter's weights on it where there are some."""
    with progress.phase(f"loading {name}"):
        found = load_frozen(config, pipeline)
    if lora is not None:
        found.model.load_lora_adapter(
            lora, prefix=pipeline.family.part, weight_name=LORA_WEIGHTS, local_files_only=True
        )
        found.model.eval().requires_grad_(False)
        digest = hashlib.blake2b(found.identity.encode() + (lora / LORA_WEIGHTS).read_bytes(), digest_size=16)
        found.identity = digest.hexdigest()
    return found


def _logps(denoiser: Denoiser, medium: ImageMedium, rows: Sequence[ImageRow], config: Config, what: str) -> np.ndarray:
    """Return the log-prob of each row in nats, float64 (N,), those of one size together."""
    at_once, draw = config.train.images_per_micro_batch or 1, Draw(config.train.seed, 0)
    ordered = sorted(range(len(rows)), key=lambda i: rows[i].key)
    batches: list[list[int]] = []
    for i in ordered:
        full = not batches or len(batches[-1]) == at_once or rows[batches[-1][0]].size != rows[i].size
        batches += [[i]] if full else []
        if not full:
            batches[-1].append(i)
    found = np.empty(len(rows))
    with torch.no_grad(), progress.phase(f"scoring with {what}"):
        for batch in progress.counted(batches, "micro-batches", len(batches)):
            found[batch] = denoiser.logps(replace(medium.collate([rows[i] for i in batch]), draw=draw)).cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise ModelError(f"{what}: the error on row {rows[bad[0]].id} is not finite ({bad.size} of {len(rows)} rows).")
    return found


def _measure(
    dataset: ImageDataset, ours: np.ndarray, theirs: np.ndarray, beta: float, loss: Loss, how: Intervals
) -> Numbers:
    count = len(flatten(dataset.examples))
    ratios, crossed = (ours - theirs)[:count], (ours - theirs)[count:]
    threshold = Threshold(kind="zero", value=0.0)
    if crossed.size:
        threshold = Threshold(kind="z0", value=beta * reference_point(crossed, clamp=True))
    elif loss.feedback != "unpaired" or loss.needs_running_mean:
        threshold = Threshold(kind="median", value=beta * float(np.median(ratios)))
    return Numbers(
        score=ScoreUsed(what="beta * log-ratio", beta=beta),
        threshold=threshold,
        apart=tell_apart(dataset.kind, dataset.examples, beta * ratios, threshold.value, how, log_odds=True),
        log_loss=None,
        drift=Drift(log_ratio=by_class(ratios, dataset.examples, how), kl=None),
        errors=errors_by_class(ours[:count], theirs[:count], dataset.examples, how),
    )
