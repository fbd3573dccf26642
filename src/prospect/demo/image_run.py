"""`prospect demo --images`: thumbs on pictures, a model aligned on them, and what it draws before and after.

The same steps as for one's own pictures: draw, collect thumbs into a file beside the pictures, train by a recipe, and
compare before and after on prompts that neither thumbs nor the base model ever saw.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prospect import progress
from prospect.demo.customer import Rater
from prospect.demo.image_base import IMAGE_BASE, draw_images, load_image_base
from prospect.demo.image_thumbs import collect_image_thumbs
from prospect.demo.image_world import Wish, check, held_out_wishes, training_wishes
from prospect.demo.outcome import Outcome, write_pages
from prospect.demo.run import align
from prospect.demo.settings import IMAGE_METHODS
from prospect.errors import ConfigError
from prospect.feedback import class_counts, write_jsonl
from prospect.feedback.images.writing import write_image
from prospect.progress import timing
from prospect.results.before_after import BeforeAfter, BeforeAfterPictures, BeforeAfterResult
from prospect.statistics.means import rate_by_prompt
from prospect.statistics.rates import Rate
from prospect.studies.runner import one_thread
from prospect.training.memory.allocator import keep_freed_memory

PICTURES = 24  # of each of the 48 training prompts: 1,152 thumbs, three in ten of them up
NOISES = 16  # pictures of each of the 16 held-out prompts, before and after
SHOWN = 8  # of these, in the report

RULE_NAMES = {"drawn": "draws the shape as asked, where it was asked for", "empty": "leaves the rest of the page empty"}

Pictures = Sequence[Sequence[np.ndarray]]


def run_image_demo(
    output: Path, *, method: str = "kto", seed: int = 0, noise: float = 0.0, quiet: bool = False
) -> Outcome:
    """Draw, collect thumbs, align, and compare.

    Args:
        output: the run directory.
        method: kto, dpo or sft.
        seed: of pictures, thumbs and training.
        noise: share of thumbs that are flipped.
        quiet: say nothing of what is being done.

    Raises:
        ConfigError: an unknown method, or a noise that is no share.
        ModelError: the extra `diffusion` is not installed.
    """
    if method not in IMAGE_METHODS:
        raise ConfigError(f'demo method is "{method}"; expected one of {", ".join(IMAGE_METHODS)}.')
    # Layers are small and threads wait for one another in each: beside other programs two took 20 times as long as one.
    with one_thread(), progress.shown("prospect demo --images", quiet=quiet):
        return _run(output, method, seed, Rater("customer", noise), quiet)


def _run(output: Path, method: str, seed: int, rater: Rater, quiet: bool) -> Outcome:
    begun = time.monotonic()
    keep_freed_memory()
    base, wishes, asked = load_image_base(), training_wishes(), held_out_wishes()
    with progress.phase(f"drawing {PICTURES} pictures of each of {len(wishes)} prompts", part=timing.ANSWERS):
        pictures = draw_images(base, wishes, PICTURES, seed)
    with progress.phase(f"drawing {NOISES} pictures of each of {len(asked)} held-out prompts", part=timing.ANSWERS):
        before = draw_images(base, asked, NOISES, seed)
    thumbs = list(collect_image_thumbs(wishes, pictures, output, rater=rater, seed=seed))
    write_jsonl(thumbs, output / "feedback.jsonl")
    counts = class_counts(thumbs)
    progress.note(f"thumbs: {counts.desirable} up, {counts.undesirable} down; aligning by {method}")
    run = align(image_recipe(method, output, seed), quiet=quiet)
    with progress.phase("asking the aligned model for the same held-out pictures", part=timing.ANSWERS):
        after = draw_images(load_image_base(run.model_path), asked, NOISES, seed)
    rules = compare_pictures(asked, before, after)
    both = rules.pop("both")
    result = BeforeAfterResult(
        before=both[0],
        after=both[1],
        method=method,
        rules={rule: BeforeAfter(before=b, after=a) for rule, (b, a) in rules.items()},
        noise=rater.noise,
        pictures=_examples(output, asked, before, after),
    )
    run.write_evaluation("demo", result)
    report = write_pages(run)
    return Outcome(
        method=method,
        before=both[0],
        after=both[1],
        rules=rules,
        thumbs=(counts.desirable, counts.undesirable),
        seconds=time.monotonic() - begun,
        report=report,
    )


def image_recipe(method: str, output: Path, seed: int) -> dict[str, Any]:
    """Return the recipe of a method: what anyone would write for thumbs on pictures of their own."""
    settings = IMAGE_METHODS[method]
    return {
        "model": {"name_or_path": str(IMAGE_BASE)},
        "data": {"train": str(output / "feedback.jsonl"), "eval": 0.1},
        "loss": settings["loss"],
        "train": {
            "batch_size": settings["batch_size"],
            "max_steps": settings["steps"],
            "learning_rate": settings["learning_rate"],
            "images_per_micro_batch": 64,  # a model this small is fastest so
            "seed": seed,
            "eval_every": 50,
            "samples": 0,  # the pictures before and after are drawn apart, and counted
        },
        "output": str(output),
    }


def compare_pictures(asked: Sequence[Wish], before: Pictures, after: Pictures) -> dict[str, tuple[Rate, Rate]]:
    """Return the rates before and after of each rule by its name, and of "both".

    Pictures of one prompt are alike, so intervals are of draws of prompts.
    """
    sides = [
        [(wish.prompt, check(picture, wish)) for wish, drawn in zip(asked, pictures, strict=True) for picture in drawn]
        for pictures in (before, after)
    ]

    def rate(side: list[tuple[str, dict[str, bool]]], rules: Sequence[str]) -> Rate:
        kept = [float(all(checked[rule] for rule in rules)) for _, checked in side]
        return rate_by_prompt(kept, [prompt for prompt, _ in side])

    named = {**{name: [rule] for rule, name in RULE_NAMES.items()}, "both": list(RULE_NAMES)}
    return {name: (rate(sides[0], rules), rate(sides[1], rules)) for name, rules in named.items()}


def _examples(output: Path, asked: Sequence[Wish], before: Pictures, after: Pictures) -> list[BeforeAfterPictures]:
    """Write the first pictures of every held-out prompt, whatever became of them, and return where they are."""

    def write(wish: Wish, drawn: Sequence[np.ndarray]) -> tuple[list[str], int]:
        images = [write_image(picture, output / "evaluation") for picture in drawn[:SHOWN]]
        passed = sum(all(check(picture, wish).values()) for picture in drawn[:SHOWN])
        return [image.path.relative_to(output).as_posix() for image in images], passed

    found = []
    for wish, old, new in zip(asked, before, after, strict=True):
        (theirs, some), (ours, more) = write(wish, old), write(wish, new)
        found.append(
            BeforeAfterPictures(prompt=wish.prompt, before=theirs, after=ours, before_pass=some, after_pass=more)
        )
    return found
