"""A step of Diffusion-KTO, written as the official script has it, and the same step here, on one small pipeline.

    python benchmarks/diffusion.py [--repeats 3] [--steps 6] [--json FILE]

`plain` is the official loop with z0 of the step's own rows, its default: VAE and text encoder in every step, policy and
reference on one noise, one backward pass. `plain, cached` is the same on latents and embeddings that were made before.
`ours` is a step of this package with kto_no_z0, which has the same passes; `ours, matched` has z0 as the plain loop,
`ours, kto` from mismatched rows; for both, the models look at the rows once more. All weights, float32, batches of 8 in
one micro-batch. Each arm runs in a process of its own, in turn. Seconds are of the processor, so that what else the
machine does counts little; peak memory is the process's largest resident size.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ARMS = ("plain", "plain, cached", "ours", "ours, matched", "ours, kto")
BATCH, SIDE, BETA, WARM_UP = 8, 64, 0.5, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each arm")
    parser.add_argument("--steps", type=int, default=6, help="steps that are timed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.steps)))
        return
    runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for _ in range(options.repeats):
        for arm, rows in runs.items():
            command = [sys.executable, __file__, "--steps", str(options.steps), "--one", arm]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    median = {
        arm: {name: statistics.median(run[name] for run in rows) for name in rows[0]} for arm, rows in runs.items()
    }
    print("| step | CPU s | of plain | peak, MB |\n|---|---|---|---|")
    for arm, found in median.items():
        share = found["seconds"] / median["plain"]["seconds"]
        print(f"| {arm} | {found['seconds']:.3f} | {share:.2f} | {found['peak_mb']:.0f} |")
    if options.json:
        options.json.write_text(json.dumps({"median": median, "runs": runs}, indent=2) + "\n")


def measure(arm: str, steps: int) -> dict[str, float]:
    """CPU seconds of a step, and the peak of memory."""
    import torch

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pipeline(folder / "pipeline")
        write_rows(folder / "feedback")
        step = our_step(folder, arm) if arm.startswith("ours") else plain_step(folder, cached="cached" in arm)
        taken = []
        for number in range(steps + WARM_UP):
            begun = time.process_time()
            step(number + 1)
            taken.append(time.process_time() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(taken[WARM_UP:]), "peak_mb": peak}


def write_pipeline(folder: Path) -> None:
    """A Stable Diffusion of 9 million weights, with a VAE that halves sides three times, and random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=len(pieces),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=[32, 64, 64, 64],
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            latent_channels=4,
            sample_size=SIDE,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=SIDE // 8,
            block_out_channels=(64, 128, 256),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=128,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def write_rows(folder: Path) -> None:
    """Thumbs on pictures of random fields, as many as a step has, on two prompts."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    random, rows = np.random.default_rng(0), []
    for i in range(BATCH):
        fields = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        fields.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(folder / f"{i}.png")
        rows.append({"prompt": f"picture of kind {i // 2 % 2}", "image": f"{i}.png", "label": i % 2 == 0})
    (folder / "feedback.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def plain_step(folder: Path, *, cached: bool) -> Callable[[int], None]:
    """The official loop, written anew; see train_kto_sd_v1.5.py of jacklishufan/diffusion-kto, bce_offset none."""
    import numpy as np
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from PIL import Image

    pipe = StableDiffusionPipeline.from_pretrained(folder / "pipeline", use_safetensors=True)
    unet = pipe.unet.train()
    reference = copy.deepcopy(unet).requires_grad_(False)
    scheduler: Any = DDPMScheduler.from_config(pipe.scheduler.config)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5)
    rows = [json.loads(line) for line in (folder / "feedback" / "feedback.jsonl").read_text().splitlines()]
    pictures = np.stack([np.asarray(Image.open(folder / "feedback" / row["image"])) for row in rows])
    pixels = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    sign = torch.tensor([1.0 if row["label"] else -1.0 for row in rows])

    @torch.no_grad()
    def encode() -> tuple[torch.Tensor, torch.Tensor]:
        latents = pipe.vae.encode(pixels).latent_dist.sample() * pipe.vae.config.scaling_factor
        told, _ = pipe.encode_prompt([row["prompt"] for row in rows], pipe.device, 1, False)
        return latents, told

    kept = encode() if cached else None
    if cached:
        pipe.vae = pipe.text_encoder = None

    def step(number: int) -> None:
        latents, told = kept or encode()
        noise = torch.randn_like(latents)
        level = torch.randint(0, 1000, (BATCH,))
        noisy = scheduler.add_noise(latents, noise, level)
        error = (unet(noisy, level, told).sample - noise).square().mean(dim=(1, 2, 3))
        with torch.no_grad():
            theirs = (reference(noisy, level, told).sample - noise).square().mean(dim=(1, 2, 3))
        ratio = theirs - error
        z0 = ratio.mean().clamp(min=0).detach()
        beta = BETA * latents[0].numel() / 2
        loss = (1 - torch.sigmoid(sign * beta * (ratio - z0))).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(folder: Path, arm: str) -> Callable[[int], None]:
    """A step of a run, between gradient and update, without what is logged and written."""
    from prospect.config import load_config
    from prospect.models.reference import build_reference
    from prospect.training.objective import build_objective, build_policy, encode_images
    from prospect.training.optimizer import build_optimizer
    from prospect.training.prepare import prepare
    from prospect.training.processes.sharding import clip_gradient
    from prospect.training.step import accumulate_gradient

    loss = "kto_no_z0" if arm == "ours" else "kto"
    recipe = {
        "model": str(folder / "pipeline"),
        "data": {"train": str(folder / "feedback" / "feedback.jsonl"), "eval": None},
        "loss": {"name": loss, "beta": BETA},
        "train": {"batch_size": BATCH, "images_per_micro_batch": BATCH, "learning_rate": 1e-5},
        "output": str(folder / "run"),
        **({"reference_point": "matched"} if "matched" in arm else {}),
    }
    prepared = prepare(load_config(recipe))
    encode_images(prepared)
    policy = build_policy(prepared)
    objective = build_objective(prepared, policy, build_reference(prepared.config.reference, policy, True, folder))
    optimizer = build_optimizer(prepared.config.train, policy.trainable())

    def step(number: int) -> None:
        accumulate_gradient(objective, prepared.train.examples, number)
        clip_gradient(policy.trainable().values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
