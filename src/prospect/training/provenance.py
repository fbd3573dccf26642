"""Where a run comes from, written beside it; and the model card, from the same facts."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import time
from typing import Any

from prospect.losses.registry import source_digests
from prospect.model_card import (
    Card,
    front_matter,
    held_out_table,
    how_to_load,
    loss_name,
    plain_markdown,
    shown_name,
)
from prospect.models.reference import Reference
from prospect.results.run import DataOrigin, ImageOrigin, LossOrigin, PolicyOrigin, Provenance, ReferenceOrigin
from prospect.run_dir import RunDir
from prospect.training.image_recipe import numbers_of
from prospect.training.prepare import Prepared

PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy")


def describe_run(
    prepared: Prepared, policy: Any, reference: Reference, start: dict[str, float] | None = None
) -> Provenance:
    """Return versions, git commit, and hashes of data, policy and reference.

    Args:
        prepared: the run.
        policy: as it was loaded.
        reference: what it is compared with.
        start: log-ratios before the first step, where they need not be 0.
    """
    parameters = list(policy.model.parameters())
    held_out = prepared.held_out.summary() if prepared.held_out else None
    packages = PACKAGES if prepared.pipeline is None else (*PACKAGES, "diffusers", "pillow")
    if held_out is not None:
        held_out.files = prepared.files.get("eval")
    return Provenance(
        prospect=importlib.metadata.version("prospect-align"),
        python=platform.python_version(),
        versions={name: importlib.metadata.version(name) for name in packages},
        git=git_commit(),
        device=str(policy.device),
        precision=policy.precision,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        policy=PolicyOrigin(
            name_or_path=prepared.config.model.name_or_path,
            identity=policy.identity,
            adapter=prepared.config.model.adapter,
            base=policy.base if policy.has_adapter else None,
            loads_with=policy.loads_with,
            parameters=sum(p.numel() for p in parameters),
            trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        ),
        reference=ReferenceOrigin(
            kind=reference.kind, identity=reference.identity, name_or_path=reference.name, start=start
        )
        if reference.identity
        else None,
        loss=LossOrigin(
            name=prepared.loss.name,
            feedback=prepared.loss.feedback,
            hyperparameters=prepared.hyperparameters,
            sources=source_digests(prepared.config.loss.name),
        ),
        data=DataOrigin(
            train=prepared.train.summary().model_copy(update={"files": prepared.files["train"]}), eval=held_out
        ),
        images=_images(prepared),
        steps=prepared.total_steps,
        epochs=round(prepared.total_steps / prepared.steps_per_epoch, 4),
    )


def _images(prepared: Prepared) -> ImageOrigin | None:
    pipeline, resolution = prepared.pipeline, prepared.config.data.resolution
    if pipeline is None or resolution is None:
        return None
    return ImageOrigin(target=pipeline.target, resolution=resolution, numbers=numbers_of(pipeline, resolution))


def git_commit() -> str | None:
    """Return the commit of the folder that the run was started in, if that is a git repository."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607  whichever git is on the path
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def model_card(prepared: Prepared, run: RunDir) -> str:
    """Return the card of the saved model: what it is, what it learned from, how it did on held-out feedback."""
    config, known, metrics = run.config(), run.provenance(), run.metrics()
    data, loss = known.data.train, loss_name(config, known)
    hyperparameters = ", ".join(f"{name} {value:g}" for name, value in prepared.hyperparameters.items())
    verdicts = f" ({data.desirable} desirable, {data.undesirable} undesirable)" if data.undesirable is not None else ""
    sections = [
        f"# {plain_markdown(shown_name(prepared.config.model.name_or_path))}, aligned with {loss}",
        f"Trained by Prospect on {data.rows} {data.kind} examples of {data.prompts} prompts{verdicts} with "
        f"the loss `{loss}`{f' ({hyperparameters})' if hyperparameters else ''} for {prepared.total_steps} steps of up "
        f"to {prepared.config.train.batch_size} examples, learning rate {prepared.config.train.learning_rate:g}.",
        held_out_table(metrics),
        how_to_load(known.policy.loads_with or "", known.policy.base),
        "The recipe is `config.yaml` in the run directory; it runs again as it is.",
    ]
    body = "\n\n".join(section for section in sections if section)
    return Card(front_matter(config, known, metrics), ours=body).text
