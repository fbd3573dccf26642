"""Which held-out rows, which reference, which scale: what a run says of how it is to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prospect.config import DataSettings
from prospect.data.dataset import Dataset
from prospect.errors import DataError, UsageError
from prospect.evaluation.answers.subject import Subject
from prospect.feedback.files.sources import Source, load_feedback
from prospect.feedback.records import Feedback
from prospect.feedback.split import split_by_prompt
from prospect.results.feedback import HeldOutData

NONE = "none"
ADAPTER_OFF = "adapter_off"
DEFAULT_BETA = 0.1


def read_held_out(
    subject: Subject, data: Source | None, label_map: Mapping[Any, bool] | None, limit: int | None = None
) -> tuple[list[Feedback], str]:
    """Return held-out records of one kind, and where they come from; without `data`, what the run held out."""
    config = subject.config
    if label_map is None and config is not None:
        label_map = config.data.label_map
    if data is not None:
        records, source = load_feedback(data, label_map=label_map), _name(data)
    elif config is None or config.data.eval is None:
        raise UsageError(f"{subject.name}: it held nothing out. Name the feedback: --data FILE.")
    elif isinstance(config.data.eval, int | float):
        everything = load_feedback(config.data.train, label_map=label_map)
        records = split_by_prompt(everything, config.data.eval, seed=config.train.seed)[1]
        source = f"{_name(config.data.train)} (held out by prompt)"
    else:
        records, source = load_feedback(config.data.eval, label_map=label_map), _name(config.data.eval)
    kinds = sorted({record.kind for record in records})
    if len(kinds) > 1:
        raise DataError(f"{source}: holds {' and '.join(kinds)} rows; expected one kind. Evaluate them one by one.")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; expected at least 1.")
    return records[:limit], source


def describe(dataset: Dataset) -> HeldOutData:
    """Return what was looked at."""
    known = {name: value for name, value in dataset.summary().as_dict().items() if value is not None}
    return HeldOutData.model_validate(known, extra="ignore")


def reference_of(subject: Subject, asked: str | None) -> str | None:
    """Return what the policy is compared with: a name, "adapter_off", or None."""
    if asked is not None:
        return None if asked == NONE else asked
    if subject.config is None:
        return ADAPTER_OFF if subject.base else None
    assert subject.run is not None
    known = subject.run.provenance()
    has_one = (
        known.reference is not None
        if "reference" in known.model_fields_set
        else bool(subject.loss and subject.loss.needs_reference)
    )
    if not has_one:
        return None
    recipe = subject.config
    if recipe.reference.name_or_path is not None:
        return recipe.reference.name_or_path
    off = recipe.model.lora is not None or recipe.reference.kind == ADAPTER_OFF
    return ADAPTER_OFF if subject.base is not None and off else recipe.model.name_or_path


def has_reference_point(subject: Subject, reference: str | None) -> bool:
    """Whether rewards are measured from z0: where the loss does, and where nothing is known but the reference."""
    return subject.loss.needs_reference_point if subject.loss is not None else reference is not None


def beta_of(subject: Subject, asked: float | None) -> float:
    """Return the scale of rewards: asked for, the run's, or the default; 1 for a loss that has none."""
    if asked is not None:
        return asked
    if subject.config is None:
        return DEFAULT_BETA
    given = subject.config.loss.hyperparameters
    return float(given.get("beta", 1.0))


def data_settings(subject: Subject) -> DataSettings:
    """How rows are cut and ended: as in the run. A prompt that is too long is left out and counted."""
    settings = subject.config.data if subject.config else DataSettings(train="")
    return settings.model_copy(update={"overlong_prompts": "drop"})


def notes_on_reference(subject: Subject, identity: str | None, asked: str | None) -> list[str]:
    """Return what a reader must know to read the numbers right."""
    if identity is None:
        why = "as asked" if asked == NONE else "the run's loss has none" if subject.config else "none is named"
        return [f"no reference ({why}): scores are the policy's own log-probs, which tell nothing about drift"]
    notes = []
    if subject.config is not None and asked is None and subject.run is not None:
        origin = subject.run.provenance()
        known = origin.reference.identity if origin.reference else None
        # What the run merged or dequantised it wrote beside its adapter: the hash of the source is not of those files.
        written = subject.base is not None and "base" in origin.policy.model_fields_set and origin.policy.base is None
        if known and known != identity and not written:
            notes.append("the reference's weights or settings are not those that the run was trained against")
        if subject.config.reference.follows:
            notes.append("the run's reference moved while it trained; here it is the model that the run started from")
    if subject.loss is not None and subject.loss.needs_running_mean:
        notes.append("the run's running mean of rewards is not stored with its model: the threshold is the median")
    return notes


def notes_on_data(subject: Subject, dataset: Dataset) -> list[str]:
    """Return what a reader must know about the rows."""
    notes = []
    if subject.run is not None:
        trained_on = subject.run.provenance().data.train.sha256
        if trained_on == dataset.digest:
            notes.append("these are the rows that the run was trained on, not held-out feedback")
    if dataset.dropped:
        notes.append(f"{dataset.dropped} rows were left out: their prompt alone fills max_length")
    for reason, places in dataset.unrenderable.items():
        notes.append(f"{len(places)} rows were left out: {reason}")
    return notes


def loss_name(subject: Subject) -> str | None:
    """Return the name of a run's loss."""
    return subject.config.loss.name if subject.config is not None else None


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else ", ".join(map(str, source))
