"""A pipeline's folder, read and checked before a weight is: what it is made of, and what it was trained to predict.

A folder is as diffusers saves it: `model_index.json` names its class and parts, each part has a subfolder. A pipeline
without a text encoder says in model_index.json which prompts it knows: class-conditional ones by `id2label`, with the
prompts of each class separated by commas, as DiTPipeline has them; a WordPipeline by its `words`. A DDPMPipeline and a
WordPipeline have no VAE either: their images are pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prospect.errors import ConfigError, ModelError
from prospect.model_source import MODEL_INDEX, ModelSource, read_json
from prospect.models.diffusion.families import FAMILIES, Family
from prospect.models.diffusion.library import reading, require_diffusers
from prospect.models.diffusion.noising import Noising, Shift, Target

# What few-step models call themselves. They were distilled to some noise levels, and errors at all others, on which a
# step here would train them, say nothing about the images that they make.
_FEW_STEPS = ("turbo", "lightning", "schnell", "hyper-sd", "lcm", "latent-consistency", "flash")
_FEW_STEP_SCHEDULERS = ("LCMScheduler", "TCDScheduler")
_LIBRARIES = ("diffusers", "transformers")
# The factor of Stable Diffusion 1 and 2, whose first folders were saved before there was a place for it.
_SD_SCALING = 0.18215
# Of Diffusion-KTO's and Diffusion-DPO's scripts.
USUAL_DROPOUT = 0.2


@dataclass(frozen=True)
class Pipeline:
    """What a pipeline's folder says.

    Attributes:
        name: as the user wrote it.
        folder: with all parts.
        family: how its prompts are encoded and its denoiser is called.
        index: model_index.json.
        denoiser: configuration of the part that is trained.
        vae: that of the VAE; None where images are pixels.
        scheduler: that of the scheduler.
    """

    name: str
    folder: Path
    family: Family
    index: Mapping[str, Any]
    denoiser: Mapping[str, Any]
    vae: Mapping[str, Any] | None
    scheduler: Mapping[str, Any]

    @property
    def target(self) -> Target:
        """What the denoiser predicts."""
        of_flow = [name for name in self.schedulers if name.startswith("FlowMatch")]
        if len(of_flow) != (len(self.schedulers) if self.family.flow else 0):
            raise ModelError(
                f"{self.name}: its scheduler is {' or '.join(self.schedulers)}, and {self.index['_class_name']} "
                f"{'predicts flow' if self.family.flow else 'does not predict flow'}. Expected "
                f"{'FlowMatchEulerDiscreteScheduler' if self.family.flow else 'one such as DDIMScheduler'}, in "
                "model_index.json and in scheduler/scheduler_config.json."
            )
        if self.family.flow:
            return "flow"
        found = self.scheduler.get("prediction_type", "epsilon")
        if found not in ("epsilon", "v_prediction"):
            raise ModelError(
                f"{self.name}: scheduler/scheduler_config.json has prediction_type {found!r}; expected epsilon or "
                "v_prediction. What else the denoiser may predict has no error to compare here."
            )
        return found

    @property
    def schedulers(self) -> list[str]:
        """Classes that the folder names for its scheduler: one, unless its two files disagree."""
        entry = self.index.get("scheduler")
        said = [self.scheduler.get("_class_name"), entry[-1] if isinstance(entry, list) and entry else None]
        return [*dict.fromkeys(str(name) for name in said if name)]

    @property
    def scaling(self) -> tuple[float, float]:
        """Factor and shift of latents: a denoiser sees (z - shift) * factor."""
        if self.vae is None:
            return 1.0, 0.0
        needed = ("scaling_factor", "shift_factor") if self.family.flow else ("scaling_factor",)
        values = {"scaling_factor": _SD_SCALING, **self.vae} if self.family.old_scaling else self.vae
        for key in needed:
            if not isinstance(values.get(key), int | float):
                raise ModelError(
                    f"{self.name}: vae/config.json has no {key}, and without it latents have another scale than the "
                    "denoiser was trained on. Write it there, as the model's card has it."
                )
        return float(values["scaling_factor"]), float(values.get("shift_factor") or 0.0)

    @property
    def cell(self) -> int:
        """Pixels to a latent's side."""
        return 1 if self.vae is None else int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def step(self) -> int:
        """Pixels of which sides are multiples: a denoiser halves latents, or cuts them into patches."""
        blocks = self.denoiser.get("block_out_channels")
        patch = self.denoiser.get("patch_size") or 1
        return self.cell * (2 ** (len(blocks) - 1) if blocks else max(int(patch), 2 if self.family.packed else 1))

    @property
    def channels(self) -> int:
        """Channels of latents, or of pixels."""
        return 3 if self.vae is None else int(self.vae["latent_channels"])

    @property
    def resolution(self) -> int:
        """Side of the square images that it was made for, in pixels."""
        side = self.denoiser.get("sample_size") or self.family.side
        return self.cell * int(side[0] if isinstance(side, list | tuple) else side)

    def check_resolution(self, resolution: int) -> None:
        """Refuse a resolution that the denoiser cannot take.

        Raises:
            ConfigError: naming the setting.
        """
        if resolution % self.step:
            raise ConfigError(
                f"data.resolution is {resolution}; {self.name} takes multiples of {self.step} pixels, and was made for "
                f"{self.resolution}."
            )

    def check_steps(self, steps: int | None, setting: str) -> None:
        """Refuse more steps of sampling than the scheduler has noise levels.

        Raises:
            ConfigError: naming the setting.
        """
        levels = int(self.scheduler.get("num_train_timesteps", 1000))
        if steps is not None and steps > levels:
            raise ConfigError(f"{setting} is {steps}; {self.name} has {levels} noise levels. Set fewer, such as 20.")

    def noising(self, levels: str | None) -> Noising:
        """Return how it sees noise.

        Args:
            levels: "shifted" for those that its scheduler says of a flow model; others are drawn alike.
        """
        if self.family.flow:
            return Noising("flow", shift=self._shift() if levels == "shifted" else None)
        from diffusers import DDPMScheduler

        with reading(self.name, "scheduler"):
            scheduler: Any = DDPMScheduler.from_config(dict(self.scheduler))
        return Noising(self.target, scheduler.alphas_cumprod.sqrt().float())

    def _shift(self) -> Shift:
        """Return what the scheduler says; where it is silent, what diffusers takes."""
        said = self.scheduler
        patch = 2 if self.family.packed else int(self.denoiser.get("patch_size") or 1)
        if not said.get("use_dynamic_shifting"):
            return Shift(float(said.get("shift", 1.0)), patch=patch)
        low, high = (float(said.get(name, usual)) for name, usual in (("base_shift", 0.5), ("max_shift", 1.15)))
        few, many = int(said.get("base_image_seq_len", 256)), int(said.get("max_image_seq_len", 4096))
        slope = (high - low) / (many - few)
        return Shift(slope=slope, start=low - slope * few, patch=patch)

    @property
    def prompt_dropout(self) -> float:
        """Return the usual share of prompts that it is not told in training; 0 where guidance needs no such prompts."""
        return 0.0 if self.family.vocabulary or self.denoiser.get("guidance_embeds") else USUAL_DROPOUT

    @property
    def encoder_parts(self) -> list[str]:
        """VAE, text encoders and tokenizers that model_index.json has, by name; SD3 may be without T5."""
        has = {name for name, entry in self.index.items() if isinstance(entry, list) and entry and entry[0]}
        return sorted(name for name in has if name == "vae" or name.startswith(("text_encoder", "tokenizer")))

    @cached_property
    def encoders(self) -> str:
        """Hash of all that decides latents and text embeddings: files of VAE, text encoders and tokenizers."""
        said = [self.index.get(key) for key in (self.family.vocabulary, "force_zeros_for_empty_prompt")]
        digest = hashlib.blake2b(json.dumps([self.scaling, *said]).encode(), digest_size=16)
        for part in self.encoder_parts:
            for file in sorted((self.folder / part).glob("*")):
                if file.suffix in (".json", ".safetensors", ".txt", ".model"):
                    digest.update(file.name.encode())
                    with file.open("rb") as opened:
                        digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()


def read_pipeline(source: ModelSource) -> Pipeline:
    """Read and check a pipeline's folder; of one on the hub, fetch it, safetensors only.

    Raises:
        ModelError: a class that is not known here, code of its own, a part or a number missing, or a few-step model.
    """
    folder = Path(source.place) if source.is_local else _fetch(source)
    index = _read(source.name, folder / MODEL_INDEX)
    name = index.get("_class_name")
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        raise ModelError(
            f"{source.name}: its pipeline is {name!r}; known here are {', '.join(FAMILIES)}. Others cannot be trained."
        )
    for part, entry in index.items():
        foreign = isinstance(entry, list) and entry and entry[0] is not None and entry[0] not in _LIBRARIES
        if foreign and part not in (*family.unused, family.vocabulary):
            raise ModelError(
                f"{source.name}: its {part} is of {entry[0]!r}, code that comes with the model; none is run. Expected "
                "parts of diffusers and transformers."
            )
    expected = ["diffusers", family.denoiser]
    if index.get(family.part) != expected:
        raise ModelError(f"{source.name}: its {family.part} is {index.get(family.part)}; expected {expected}.")
    vae = _read(source.name, folder / "vae" / "config.json") if family.has_vae else None
    pipeline = Pipeline(
        source.name,
        folder,
        family,
        index,
        denoiser=_read(source.name, folder / family.part / "config.json"),
        vae=vae,
        scheduler=_read(source.name, folder / "scheduler" / "scheduler_config.json"),
    )
    _check(pipeline)
    return pipeline


def _check(pipeline: Pipeline) -> None:
    """Refuse what training would only stumble over."""
    for part in pipeline.encoder_parts:
        config = "config.json" if part.startswith("text_encoder") else "tokenizer_config.json"
        if part != "vae" and not (pipeline.folder / part / config).is_file():
            raise _missing(pipeline.name, f"{part}/{config}")
    _refuse_few_steps(pipeline)
    _ = pipeline.target, pipeline.scaling
    channels = pipeline.channels * (4 if pipeline.family.packed else 1)
    found = pipeline.denoiser.get("in_channels")
    if found != channels:
        raise ModelError(
            f"{pipeline.name}: its {pipeline.family.part} takes {found} channels, and images have {channels}. One for "
            "inpainting or editing takes a picture beside the noise, and cannot be trained here."
        )
    listed = pipeline.family.vocabulary
    if listed and not isinstance(pipeline.index.get(listed), dict if listed == "id2label" else list):
        raise ModelError(
            f"{pipeline.name}: model_index.json has no {listed}, so its prompts are unknown. Write it there: "
            '{"id2label": {"0": "a red square", "1": "a blue ring"}}, or {"words": ["red", "ring"], "length": 2}.'
        )


def _refuse_few_steps(pipeline: Pipeline) -> None:
    names = (pipeline.name.rstrip("/").rpartition("/")[2], str(pipeline.index.get("_name_or_path") or ""))
    word = next((word for word in _FEW_STEPS for name in names if word in name.lower()), None)
    scheduler = next((name for name in pipeline.schedulers if name in _FEW_STEP_SCHEDULERS), None)
    distilled = pipeline.denoiser.get("time_cond_proj_dim") is not None
    if word is None and scheduler is None and not distilled:
        return
    why = f"its name has {word!r}" if word else f"its scheduler is {scheduler}" if scheduler else "it is distilled"
    raise ModelError(
        f"{pipeline.name}: a model that makes images in a few steps ({why}). It was distilled to a few noise levels, "
        "and what training at all levels would change is not what it shows. Train the model that it was distilled "
        "from. (If the name misleads, rename the folder.)"
    )


def _read(name: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _missing(name, f"{path.parent.name}/{path.name}")
    return read_json(path)


def _missing(name: str, file: str) -> ModelError:
    return ModelError(
        f"{name}: the pipeline's folder has no {file}; expected one as `pipeline.save_pretrained` writes it. Fetch or "
        "save the pipeline again."
    )


def _fetch(source: ModelSource) -> Path:
    """Return the folder in the hub's cache, with the files that diffusers would load."""
    require_diffusers()
    from diffusers import DiffusionPipeline

    with reading(source.name, "pipeline"):
        return Path(DiffusionPipeline.download(source.place, use_safetensors=True))
