"""Prompts -> images, by a pipeline from disk or the hub, in a file of rows beside the images.

What a killed run has drawn is not drawn again. Images are drawn in batches of whole prompts, a batch all or not at all,
so that those of a run that was resumed are the same to the last bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from prospect import progress
from prospect.errors import DataError, UsageError
from prospect.evaluation.answers.keyed_file import KeyedFile
from prospect.feedback.files.sources import load_prompts
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.images.writing import write_image
from prospect.feedback.records import Demonstration, Image, Text
from prospect.model_source import ModelSource, find_adapter_of_images, find_model
from prospect.models.diffusion.pipelines import Pipeline, read_pipeline
from prospect.models.diffusion.sampling import ImageSampling, load_pipeline, sample_images
from prospect.outputs import output_file

PIXELS_TOGETHER = 4 * 512 * 512  # of a batch: four images of Stable Diffusion, one of SDXL, thousands of tiny ones


@dataclass(frozen=True)
class Painter:
    """A pipeline, maybe with an adapter, that draws images of prompts; its weights are read when it first has to.

    Attributes:
        source: the pipeline.
        adapter: the folder of weights that are put on it.
        sampling: how an image is drawn.
        batch_size: images that are drawn together, fewer where they have more than `PIXELS_TOGETHER`: speed and memory,
            never the result but for rounding.
    """

    source: ModelSource
    adapter: Path | None = None
    sampling: ImageSampling = field(default_factory=ImageSampling)
    batch_size: int = 64

    @classmethod
    def named(cls, name: str, sampling: ImageSampling, batch_size: int) -> Painter:
        """Return the pipeline of a name; of a run that trained an adapter, what that sits on, with it."""
        source, adapter = find_adapter_of_images(name) or (find_model(name), None)
        return cls(source, adapter, sampling, batch_size)

    def draw(
        self, prompts: Sequence[str], samples_per_prompt: int, seed: int, folder: Path, partial: Path
    ) -> list[list[Image]]:
        """Return images of every prompt, which lie in `images/` below a folder, as PNG.

        Args:
            prompts: what is asked for, each once.
            samples_per_prompt: images of each.
            seed: another seed, other images.
            folder: where they go.
            partial: file in which is kept which images are there; the caller removes it in the end.

        Raises:
            DataError: a prompt that the model does not know.
            ModelError: the pipeline cannot be loaded or sampled from, or an image is not finite.
        """
        pipeline: Any = None
        read = read_pipeline(self.source)
        for prompt in prompts if read.family.vocabulary else ():  # before an image is drawn
            read.family.encode(read.index, prompt)
        at_once = max(1, min(self.batch_size, PIXELS_TOGETHER // read.resolution**2))
        step = max(1, at_once // samples_per_prompt)
        found: list[list[Image]] = []
        with KeyedFile(partial, lambda row: _kept(row, folder), _as_kept) as kept:
            for start in range(0, len(prompts), step):
                batch = prompts[start : start + step]
                keys = [[self._key(prompt, number, seed) for number in range(samples_per_prompt)] for prompt in batch]
                if any(kept.get(key) is None for key in chain(*keys)):
                    pipeline = pipeline or load_pipeline(self.source, self.adapter)
                    drawn = sample_images(
                        pipeline,
                        batch,
                        self.sampling,
                        samples_per_prompt=samples_per_prompt,
                        seed=seed,
                        batch_size=at_once,
                    )
                    for key, pixels in zip(chain(*keys), drawn, strict=True):
                        kept.put(key, write_image(pixels, folder))
                found += [[image for key in row if (image := kept.get(key)) is not None] for row in keys]
                progress.count(len(found) * samples_per_prompt, len(prompts) * samples_per_prompt, "images")
        return found

    @cached_property
    def _weights(self) -> list[tuple[str, int, int]]:
        """What changes when the weights on disk do; nothing of a pipeline on the hub."""
        places = [Path(self.source.place)] if self.source.is_local else []
        files = [file for place in (*places, *filter(None, [self.adapter])) for file in place.rglob("*.safetensors")]
        return sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)

    def _key(self, prompt: str, number: int, seed: int) -> str:
        name = json.dumps([str(self.source), self._weights, prompt, number, seed, self.sampling.arguments()])
        return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def _kept(row: dict[str, Any], folder: Path) -> Image:
    """Return an image that was drawn; ValueError where it is not there."""
    image = Image(folder / row["image"], row["sha256"], int(row["width"]), int(row["height"]), "png")
    if not image.path.is_file():
        raise ValueError(image.path)
    return image


def _as_kept(image: Image) -> dict[str, Any]:
    return {"image": image.name, "sha256": image.sha256, "width": image.width, "height": image.height}


def generate_images(
    painter: Painter, prompts: str | Path, output: str | Path, *, samples_per_prompt: int = 1, seed: int = 0
) -> int:
    """Draw images of every prompt of a file and write them as rows of `prompt, image`.

    The images go into `images/` beside the file, as PNG. The rows load as images to imitate, and as thumbs once
    somebody adds a `label`.

    Args:
        painter: who draws.
        prompts: rows with a prompt that is text.
        output: a .jsonl file, written whole or not at all; what a killed run has drawn is in `OUTPUT.partial`.
        samples_per_prompt: images of each prompt.
        seed: another seed, other images.

    Returns:
        How many images were written.

    Raises:
        DataError: a prompt that is a conversation, or one that the model does not know.
        UsageError: the name of the output, or guidance of a model that has none.
        ModelError: the pipeline cannot be loaded or sampled from, or an image is not finite.
    """
    output = Path(output)
    if output.suffix.lower() not in (".jsonl", ".ndjson"):
        raise UsageError(f"{output}: rows of images are written to .jsonl or .ndjson. Change the name.")
    output_file(output)
    check_sampling(read_pipeline(painter.source), painter.sampling, "--")
    asked = [as_text(prompt, number) for number, prompt in enumerate(load_prompts(prompts), start=1)]
    partial = output.with_name(f"{output.name}.partial")
    distinct = [*dict.fromkeys(asked)]
    drawn = painter.draw(distinct, samples_per_prompt, seed, output.parent, partial)
    images = dict(zip(distinct, drawn, strict=True))
    count = write_jsonl(image_rows(asked, [images[prompt] for prompt in asked]), output)
    partial.unlink(missing_ok=True)
    return count


def image_rows(prompts: Sequence[str], images: Sequence[Sequence[Image]]) -> Iterator[Demonstration]:
    """Yield images as records: rows of `prompt, image`."""
    for i, (prompt, drawn) in enumerate(zip(prompts, images, strict=True)):
        for j, image in enumerate(drawn):
            yield Demonstration(prompt=prompt, completion=image, id=f"{i}-{j}", where=f"{i}-{j}")


def check_sampling(pipeline: Pipeline, sampling: ImageSampling, place: str) -> None:
    """Refuse guidance of a model that has none, and more steps than it has noise levels.

    Args:
        pipeline: that is sampled from.
        sampling: how.
        place: what stands before the settings' names: "--", or "rounds.".

    Raises:
        UsageError: guidance, naming the setting.
        ConfigError: steps, naming the setting.
    """
    pipeline.check_steps(sampling.steps, f"{place}steps")
    if sampling.guidance is not None and not pipeline.family.guided:
        raise UsageError(
            f"{place}guidance: {pipeline.name} was not trained without its prompt, so has none. Leave it out."
        )


def as_text(prompt: Text, number: int) -> str:
    """Return a prompt of images, the n-th.

    Raises:
        DataError: a conversation.
    """
    if isinstance(prompt, str):
        return prompt
    raise DataError(f"prompt {number}: a conversation; expected text, which an image is made from.")
