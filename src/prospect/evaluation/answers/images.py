"""Prompts -> images, by a pipeline from disk or the hub, in a file of rows beside the images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prospect import progress
from prospect.errors import DataError, UsageError
from prospect.feedback.files.sources import load_prompts
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.images.writing import write_image
from prospect.feedback.records import Demonstration, Text
from prospect.model_source import ModelSource
from prospect.models.diffusion.pipelines import read_pipeline
from prospect.models.diffusion.sampling import ImageSampling, load_pipeline, sample_images
from prospect.outputs import output_file

PIXELS_TOGETHER = 4 * 512 * 512  # of a batch: four images of Stable Diffusion, one of SDXL, thousands of tiny ones


def generate_images(
    source: ModelSource,
    prompts: str | Path,
    output: str | Path,
    *,
    adapter: Path | None = None,
    samples_per_prompt: int = 1,
    sampling: ImageSampling | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> int:
    """Draw images of every prompt of a file and write them as rows of `prompt, image`.

    The images go into `images/` beside the file, as PNG. The rows load as images to imitate, and as thumbs once
    somebody adds a `label`.

    Args:
        source: a pipeline.
        prompts: rows with a prompt that is text.
        output: a .jsonl file, written whole or not at all.
        adapter: the folder of weights that are put on the pipeline.
        samples_per_prompt: images of each prompt.
        sampling: how an image is drawn.
        seed: another seed, other images.
        batch_size: images that are drawn together, fewer where they have more than `PIXELS_TOGETHER`: speed and memory,
            never the result but for rounding.

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
    pipeline, sampling = read_pipeline(source), sampling or ImageSampling()
    if sampling.guidance is not None and pipeline.family.vocabulary:
        raise UsageError(f"--guidance: {source.name} was not trained without its prompt, so has none. Leave it out.")
    asked = [_as_text(prompt, number) for number, prompt in enumerate(load_prompts(prompts), start=1)]
    images = sample_images(
        load_pipeline(source, adapter),
        asked,
        sampling,
        samples_per_prompt=samples_per_prompt,
        seed=seed,
        batch_size=max(1, min(batch_size, PIXELS_TOGETHER // pipeline.resolution**2)),
    )

    def rows() -> Iterator[Demonstration]:
        names = [(i, j) for i in range(len(asked)) for j in range(samples_per_prompt)]
        counted = progress.counted(names, "images", len(names))
        for (i, j), pixels in zip(counted, images, strict=True):
            image = write_image(pixels, output.parent)
            yield Demonstration(prompt=asked[i], completion=image, id=f"{i}-{j}", where=f"{i}-{j}")

    return write_jsonl(rows(), output)


def _as_text(prompt: Text, number: int) -> str:
    if isinstance(prompt, str):
        return prompt
    raise DataError(f"prompt {number}: a conversation; expected text, which an image is made from.")
