"""What the encoders say of images and prompts, made once and kept in safetensors beside a run.

VAE and text encoders are loaded for what is missing alone, and leave memory before training. An entry is known by the
content of its image or prompt and by the encoders' own files, so it can never stand for another.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prospect import progress
from prospect.atomic import atomic_file
from prospect.data.image_rows import ImageRow
from prospect.errors import CheckpointError, TrainingError
from prospect.feedback.images.pixels import load_image
from prospect.models.device import default_device, free_unused
from prospect.models.diffusion.library import reading
from prospect.models.diffusion.pipelines import Pipeline

FOLDER = "encodings"
# Entries to a file: few enough that a stopped run loses little, many enough that files stay few.
_TO_A_FILE = 64

Tensors = dict[str, torch.Tensor]
E = TypeVar("E")


class Encodings:
    """Latents of images and embeddings of prompts, read as they are asked for.

    Args:
        folder: where the files are; it need not exist.
        pipeline: whose encoders they are of.
        dtype: of the text encoders, as recipes name it; latents are float32.
    """

    def __init__(self, folder: Path, pipeline: Pipeline, dtype: str) -> None:
        self._folder, self._pipeline, self._dtype = folder, pipeline, dtype
        self.identity = hashlib.blake2b(f"{pipeline.encoders} {dtype}".encode(), digest_size=16).hexdigest()
        self._where: dict[str, Any] = {}
        self.reload()

    def reload(self) -> None:
        """Find out what is there, other ranks' entries too.

        Raises:
            CheckpointError: a file that is damaged.
        """
        self._where.clear()
        for path in sorted(self._folder.glob(f"{self.identity}-*.safetensors")):
            try:
                opened = safe_open(path, "pt")
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"{path}: cannot be read ({error}). Delete it: it is made again.") from error
            self._where |= dict.fromkeys(opened.keys(), opened)

    def image(self, row: ImageRow) -> torch.Tensor:
        """Return the latents of a row's image, or its pixels without a VAE: float32 (C, H, W)."""
        return self._read(_image_key(row))

    def conditions(self, prompt: str) -> Tensors:
        """Return what the denoiser is told of a prompt, by name."""
        key = f"{_prompt_key(prompt)} "
        return {name.removeprefix(key): self._read(name) for name in self._names(key)}

    def _names(self, key: str) -> list[str]:
        return [name for name in (f"{key}text", f"{key}pooled", f"{key}class") if name in self._where]

    def _read(self, name: str) -> torch.Tensor:
        return self._where[name].get_tensor(name)

    def add(self, rows: Sequence[ImageRow], rank: int = 0, size: int = 1, *, prompts: Sequence[str] = ()) -> None:
        """Encode what of the rows is missing: images in float32, one by one, so that no entry depends on others.

        Args:
            rows: any.
            prompts: of no row.
            rank: of this process, which encodes its share.
            size: the number of processes.

        Raises:
            DataError: an image that can no longer be read.
            ModelError: an encoder that cannot be loaded.
            TrainingError: an entry that is not finite.
        """
        # The share comes first: what is missing differs between processes while one of them writes already.
        told = _share({_prompt_key(prompt): prompt for prompt in (*prompts, *(row.prompt for row in rows))}, rank, size)
        told = {key: prompt for key, prompt in told.items() if not self._names(f"{key} ")}
        images = _share({_image_key(row): row for row in rows}, rank, size)
        images = {key: row for key, row in images.items() if key not in self._where}
        family, index = self._pipeline.family, self._pipeline.index
        with torch.no_grad():
            if told:
                pipe = index if family.vocabulary else self._load_text_encoders()
                each = ((key, family.encode(pipe, prompt)) for key, prompt in self._shown(told, "prompts encoded"))
                self._write({f"{key} {name}": value for name, value in found.items()} for key, found in each)
                del pipe
            if images:
                encode = _as_pixels if self._pipeline.vae is None else self._vae_encoder()
                self._write({key: encode(_pixels(row))} for key, row in self._shown(images, "images encoded"))
                del encode
        if told or images:
            self.reload()
            gc.collect()
            free_unused()

    def _shown(self, missing: Mapping[str, E], what: str) -> Iterator[tuple[str, E]]:
        return progress.counted(list(missing.items()), what, len(missing))

    def _load_text_encoders(self) -> Any:
        import diffusers

        pipeline = self._pipeline
        left_out = (pipeline.family.part, "vae", *pipeline.family.unused)
        absent = {name: None for name in left_out if name in pipeline.index}
        with reading(pipeline.name, "text encoders"):
            loaded = getattr(diffusers, str(pipeline.index["_class_name"])).from_pretrained(
                pipeline.folder,
                dtype=getattr(torch, self._dtype),
                use_safetensors=True,
                local_files_only=True,
                **absent,
            )
            return loaded.to(default_device())

    def _vae_encoder(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the mode of what the VAE says of an image, as the denoiser sees it; in float32, which SDXL's needs."""
        import diffusers

        pipeline, device = self._pipeline, default_device()
        factor, shift = pipeline.scaling
        with reading(pipeline.name, "VAE"):
            vae = diffusers.AutoencoderKL.from_pretrained(
                pipeline.folder,
                subfolder="vae",
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
            )
            vae = vae.to(device).eval()
        return lambda pixels: (vae.encode(pixels[None].to(device)).latent_dist.mode()[0] - shift) * factor

    def _write(self, entries: Iterable[Tensors]) -> None:
        """Write entries as they come, some to a file; a file is whole or not there."""
        waiting: Tensors = {}
        for count, entry in enumerate(entries, start=1):
            for name, value in entry.items():
                if value.is_floating_point() and not bool(value.isfinite().all()):
                    raise TrainingError(
                        f"{self._pipeline.name}: what its encoders say is not finite (entry {name}). Set model.dtype: "
                        "float32, and check their weights."
                    )
                waiting[name] = value.detach().cpu().contiguous()
            if count % _TO_A_FILE == 0:
                self._write_file(waiting)
                waiting = {}
        if waiting:
            self._write_file(waiting)

    def _write_file(self, tensors: Tensors) -> None:
        content = hashlib.blake2b("".join(sorted(tensors)).encode(), digest_size=8).hexdigest()
        path = self._folder / f"{self.identity}-{content}.safetensors"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                file.write(save(tensors))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror}). Free some space.") from error


def _share(entries: dict[str, E], rank: int, size: int) -> dict[str, E]:
    return dict(list(entries.items())[rank::size])


def _image_key(row: ImageRow) -> str:
    return f"{row.image.sha256} {row.size[0]}x{row.size[1]}"


def _prompt_key(prompt: str) -> str:
    return hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest()


def _pixels(row: ImageRow) -> torch.Tensor:
    """Return a row's image as float32 (3, H, W) in [-1, 1]."""
    pixels = torch.tensor(load_image(row.image, row.size, row.id))
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def _as_pixels(pixels: torch.Tensor) -> torch.Tensor:
    return pixels
