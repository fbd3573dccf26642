"""The denoiser that is trained: loading (full or LoRA), scoring, saving."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from prospect.atomic import atomic_directory, write_text
from prospect.config import Config, LoraSettings
from prospect.data.image_rows import ImageBatch
from prospect.errors import ConfigError, ModelError
from prospect.model_card import FILE as CARD
from prospect.model_source import LORA_WEIGHTS, find_adapter_of_images
from prospect.models.adapters import add_adapter
from prospect.models.device import default_device
from prospect.models.diffusion.library import reading
from prospect.models.diffusion.noising import STRATA, Noising, draw_noise, image_logps
from prospect.models.diffusion.pipelines import Pipeline
from prospect.models.loading import weights_identity
from prospect.models.policy import require_trainable_dtype
from prospect.models.precision import resolve_precision
from prospect.models.trained import TrainedModel

# What diffusers calls the lists of a denoiser's blocks.
_BLOCKS = (".resnets", ".attentions", ".transformer_blocks", ".single_transformer_blocks")
COMFYUI_WEIGHTS = "comfyui.safetensors"
_SETTINGS = "prospect.lora"  # in the metadata of an adapter's file: what training it on needs to know
# Attention's projections, as the papers' scripts adapt them.
_ADAPTED = ["to_q", "to_k", "to_v", "to_out.0"]
# Of the other parts: their configurations, tokenizers and safetensors weights.
_COPIED = (".json", ".txt", ".model", ".safetensors")


@dataclass
class Denoiser(TrainedModel):
    """A pipeline's denoiser, ready to score images.

    Attributes:
        model: diffusers' model, wrapped by PEFT where there is an adapter.
        pipeline: what it is a part of.
        noising: how it was trained to see noise.
        precision: see `TrainedModel`, as for the others.
        identity: of encoders and noise too, which decide its log-probs.
        has_adapter: see `TrainedModel`.
        dtype: of the weights that are not an adapter's.
        base_identity: see `TrainedModel`.
    """

    model: Any
    pipeline: Pipeline
    noising: Noising
    precision: str
    identity: str
    has_adapter: bool
    dtype: torch.dtype
    base_identity: str | None = None

    @property
    def loads_with(self) -> str:
        """The class that loads what `save` writes."""
        return str(self.pipeline.index["_class_name"])

    @property
    def base(self) -> str:
        """What an adapter sits on, in any directory: a folder or a name of the hub."""
        here = Path(self.pipeline.name).expanduser().is_dir()
        return str(self.pipeline.folder.resolve()) if here else self.pipeline.name

    def layers(self) -> list[torch.nn.Module]:
        """Return the members of the denoiser's lists of blocks."""
        named = self.model.named_modules()
        return [module for name, module in named if f".{name}".rpartition(".")[0].endswith(_BLOCKS)]

    def logps(self, batch: ImageBatch) -> torch.Tensor:
        """Return log-probs of images at the noise that the batch's draw names: float64 (N,) nats.

        In an evaluation, whose step is 0, they are means over fixed draws from each part of all noise levels.
        """
        strata = range(STRATA) if batch.draw.step == 0 else (None,)
        passes = [self._logps(batch, stratum) for stratum in strata]
        return torch.stack(passes).mean(0) if len(passes) > 1 else passes[0]

    def _logps(self, batch: ImageBatch, stratum: int | None) -> torch.Tensor:
        device, keys = self.device, [row.noise_key for row in batch.rows]
        places, noise = draw_noise(batch.draw, keys, batch.images.shape[1:], stratum)
        noised = self.noising.noised(batch.images.to(device), places, noise.to(device))
        told = {
            name: value.to(device, self.dtype if value.is_floating_point() else None)
            for name, value in batch.conditions.items()
        }
        seen = noised._replace(sample=noised.sample.to(self.dtype))
        with self.arithmetic():
            predicted = self.pipeline.family.predict(self.model, seen, told, self.pipeline.cell)
        return image_logps(noised.target, predicted)

    def save(self, path: Path, card: str) -> None:
        """Write the pipeline with these weights, or the adapter, and the model card, all or nothing.

        The other parts of the pipeline are copied as they are. An adapter is written as diffusers' `load_lora_weights`
        reads it; ComfyUI reads that of a transformer, and of a UNet a second file with the names that it knows.
        """
        with atomic_directory(path) as temporary:
            if self.has_adapter:
                weights = self._lora()
                config = self.model.peft_config["default"]
                names = config.target_modules
                adapted = names if isinstance(names, str) else sorted(names)
                kept = {"r": config.r, "alpha": config.lora_alpha, "target_modules": adapted}
                save_file(weights, temporary / LORA_WEIGHTS, metadata={_SETTINGS: json.dumps(kept)})
                if self.pipeline.family.part == "unet":
                    save_file(_by_kohya_names(weights), temporary / COMFYUI_WEIGHTS)
            else:
                shutil.copytree(self.pipeline.folder, temporary, dirs_exist_ok=True, ignore=self._left_out)
                self.model.save_pretrained(temporary / self.pipeline.family.part, safe_serialization=True)
            write_text(temporary / CARD, card)

    def _left_out(self, folder: str, names: list[str]) -> set[str]:
        """Return what of a folder of the pipeline is not copied: the denoiser, and weights for other programs."""
        place, at_root = Path(folder), Path(folder) == self.pipeline.folder
        return {
            name
            for name in names
            if name.startswith(".")
            or (name == self.pipeline.family.part if (place / name).is_dir() else Path(name).suffix not in _COPIED)
            or (at_root and name.endswith(".safetensors"))
        }

    def _lora(self) -> dict[str, torch.Tensor]:
        """Return the adapter's weights by the names that diffusers has for them.

        The scale alpha / r is multiplied into lora_B: where alpha is kept, readers differ, and none of them is needed.
        """
        from peft import get_peft_model_state_dict

        config = self.model.peft_config["default"]
        scale, part = config.lora_alpha / config.r, self.pipeline.family.part
        return {
            name.replace("base_model.model", part, 1): (value * scale if "lora_B" in name else value).contiguous().cpu()
            for name, value in get_peft_model_state_dict(self.model).items()
        }


def _by_kohya_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a UNet's adapter by the names of kohya's scripts, with alpha = r, which is a scale of 1."""
    found: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        module, _, kind = name.removesuffix(".weight").rpartition(".")
        module = f"lora_{module.replace('.', '_')}"
        found[f"{module}.{'lora_down' if kind == 'lora_A' else 'lora_up'}.weight"] = value
        if kind == "lora_A":
            found[f"{module}.alpha"] = torch.tensor(float(len(value)))
    return found


def load_denoiser(config: Config, pipeline: Pipeline, *, to_spread: bool = False) -> Denoiser:
    """Load the denoiser of a recipe's pipeline, ready to train.

    Args:
        config: the recipe.
        pipeline: where it lies.
        to_spread: see `load_frozen`.

    Raises:
        ModelError: weights that are missing or cannot be loaded.
        ConfigError: settings that do not go together.
    """
    settings = config.model
    require_trainable_dtype(settings)
    found = load_frozen(config, pipeline, to_spread=to_spread)
    base = found.model
    if settings.lora is None and settings.adapter == "continue":
        _continue_adapter(found, settings.name_or_path)
        _recompute(base, config)
    else:
        found.model, found.has_adapter = to_train(base, config), settings.lora is not None
    return found


def to_train(model: Any, config: Config) -> Any:
    """Return a frozen denoiser as a recipe trains it: with a new adapter, or all of its weights."""
    _recompute(model, config)
    if config.model.lora is not None:
        return add_adapter(model, _adapted(config.model.lora), task=None)
    return model.requires_grad_(True)


def _recompute(base: Any, config: Config) -> None:
    """Let activations be made again in the backward pass, where the recipe says so."""
    if config.train.gradient_checkpointing:
        if not getattr(base, "_supports_gradient_checkpointing", False):
            raise ConfigError(
                f"train.gradient_checkpointing: {type(base).__name__} does not support it. Set it to false."
            )
        base.enable_gradient_checkpointing()


def _continue_adapter(found: Denoiser, run: str) -> None:
    """Put the adapter that a run trained on a denoiser, to be trained on, its dropout off.

    Raises:
        ModelError: a file without its settings, or of another denoiser.
    """
    from peft import set_peft_model_state_dict

    there = find_adapter_of_images(run)
    assert there is not None, "the recipe was checked"
    path, part = there[1] / LORA_WEIGHTS, found.pipeline.family.part
    with reading(str(path), "adapter"), safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get(_SETTINGS)
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    if said is None:
        raise ModelError(f"{path}: does not say its rank and scale. Train it anew, as prospect train saves it.")
    settings = LoraSettings(**json.loads(said))
    scale = settings.alpha / settings.r
    found.model = add_adapter(found.model, settings, task=None)
    state = {
        f"base_model.model{name.removeprefix(part)}": value / scale if "lora_B" in name else value
        for name, value in weights.items()
    }
    loaded = set_peft_model_state_dict(found.model, state)
    wanted = {name for name, _ in found.model.named_parameters() if "lora_" in name}
    if loaded.unexpected_keys or len(state) != len(wanted):
        raise ModelError(f"{path}: holds {len(state)} weights of an adapter; expected the {len(wanted)} of {part}.")
    found.has_adapter, found.base_identity = True, found.identity
    found.identity = hashlib.blake2b(found.identity.encode() + path.read_bytes(), digest_size=16).hexdigest()


def load_frozen(config: Config, pipeline: Pipeline, *, to_spread: bool = False) -> Denoiser:
    """Load a denoiser to score images with, in evaluation mode.

    Args:
        config: how its weights are held, arithmetic, and which noise it sees.
        pipeline: where it lies.
        to_spread: whether the weights stay on the CPU, to be spread from there over the devices of a run.

    Raises:
        ModelError: weights that are missing or cannot be loaded.
    """
    import diffusers

    settings, device = config.model, default_device()
    dtype = getattr(torch, settings.dtype)
    precision = resolve_precision(config.train.precision, device)
    with reading(pipeline.name, pipeline.family.part):
        model, info = getattr(diffusers, pipeline.family.denoiser).from_pretrained(
            pipeline.folder,
            subfolder=pipeline.family.part,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{pipeline.name}: {len(missing)} weights of its {pipeline.family.part} are missing, {missing[0]} for one, "
            "and would be random. Fetch or save the pipeline again."
        )
    noising = pipeline.noising(config.train.noise_levels)
    identity = hashlib.blake2b(
        json.dumps([weights_identity(model, precision), pipeline.encoders, settings.dtype, pipeline.target]).encode(),
        digest_size=16,
    )
    if noising.shift is not None:
        identity.update(repr(noising.shift).encode())
    if noising.signal is not None:
        identity.update(noising.signal.numpy().tobytes())
    model = model.to("cpu" if to_spread else device).eval().requires_grad_(False)
    return Denoiser(model, pipeline, noising, precision, identity.hexdigest(), False, dtype)


def _adapted(settings: LoraSettings) -> LoraSettings:
    return settings if settings.target_modules else settings.model_copy(update={"target_modules": _ADAPTED})
