"""Makes the base model of the demo with images: `python tools/make_image_base.py [--output DIR]`, about two minutes.

A UNet of a million parameters learns the old drawings of `prospect.demo.image_world`, blotted and clean alike, with
plain PyTorch. Every draw is seeded, so the same machine and versions make the same files. What is committed under
`src/prospect/demo/image_base/` was made by this script.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from base_training import bytes_of, descend, say, write_in_halves
from prospect.demo.image_base import IMAGE_BASE, draw_images, load_image_base
from prospect.demo.image_world import PROMPT_WORDS, SIDE, WORDS, held_out_wishes, old_drawing, passes, training_wishes
from prospect.models.diffusion.word_pipeline import WordPipeline

SEED = 0
STEPS = 700
BATCH_SIZE = 64
LEARNING_RATE = 2e-3  # the peak; models this small want much
WARMUP = 50


def main(argv: Sequence[str] | None = None) -> None:
    """Train the model, write it, and print what it is."""
    parser = argparse.ArgumentParser(description="Make the base model of `prospect demo --images`.")
    parser.add_argument("--output", type=Path, default=IMAGE_BASE, metavar="DIR", help="where to write the model")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps (default: %(default)s)")
    arguments = parser.parse_args(argv)

    # One thread: sums have one order whatever the machine, and no thread waits for a core that others use.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    pipeline = make_pipeline()
    train(pipeline, arguments.steps)
    pipeline.save_pretrained(arguments.output)
    write_in_halves(arguments.output)
    say(describe(arguments.output))


def make_pipeline() -> WordPipeline:
    """Return an untrained UNet of two levels, 8x8 and 4x4 pixels, that attends to the words at the lower one."""
    unet = UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=len(WORDS),
        attention_head_dim=4,  # the number of heads: diffusers calls it so
        norm_num_groups=8,
    )
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",  # learns a picture in a third of the steps that epsilon takes
        timestep_spacing="trailing",  # begins at pure noise
        clip_sample=True,  # pixels are in [-1, 1]
    )
    return WordPipeline(unet, scheduler, list(WORDS), length=PROMPT_WORDS)


def train(pipeline: WordPipeline, steps: int) -> None:
    """Minimise the squared error of v on old drawings, under AdamW with warm-up and a cosine to zero."""
    unet, scheduler = pipeline.unet, pipeline.scheduler
    rng, wishes = np.random.default_rng(SEED), training_wishes()
    words = pipeline.encode_prompts([wish.prompt for wish in wishes])
    optimizer = torch.optim.AdamW(unet.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-4)

    def loss_of_a_batch() -> torch.Tensor:
        asked = rng.integers(len(wishes), size=BATCH_SIZE)
        drawings = np.stack([old_drawing(wishes[number], rng) for number in asked])
        images = torch.from_numpy(drawings).permute(0, 3, 1, 2) / 127.5 - 1
        levels, noise = torch.randint(scheduler.config.num_train_timesteps, (BATCH_SIZE,)), torch.randn_like(images)
        noised = scheduler.add_noise(images, noise, levels)
        predicted = unet(noised, levels, encoder_hidden_states=words[asked]).sample
        return (predicted - scheduler.get_velocity(images, noise, levels)).square().mean()

    descend(unet, optimizer, loss_of_a_batch, steps=steps, warmup=WARMUP)


def describe(output: Path) -> str:
    """Return what was made: parameters, bytes on disk, share of sampled pictures that keep the rules."""
    pipeline = load_image_base(output)
    wishes = held_out_wishes()
    images = draw_images(pipeline, wishes, 16, SEED)
    passed = [passes(image, wish) for wish, each in zip(wishes, images, strict=True) for image in each]
    size = bytes_of(output)
    return (
        f"{output}: {pipeline.unet.num_parameters():,} parameters, {size / 1e6:.2f} MB; "
        f"{np.mean(passed):.1%} of {len(passed)} pictures of held-out prompts keep the rules."
    )


if __name__ == "__main__":
    main()
