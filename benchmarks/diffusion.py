"""A step of Diffusion-KTO and of Diffusion-DPO, written as the official scripts have it, and the same steps here.

    python benchmarks/diffusion.py [--repeats 3] [--steps 8] [--json FILE]

On one small Stable Diffusion with random weights: all weights, float32, 8 pictures a step in one micro-batch. The plain
loops encode pictures and prompts in every step, or, `cached`, have latents and embeddings from before. z0 of the plain
KTO is that of the step's own rows, the script's default, or, `rolled`, that of every picture with another row's prompt;
ours are `reference_point: matched` and the default, which is of mismatched rows. `kto_no_z0` has none.

Seconds are of the processor, so that what else the machine does counts little: the arms of a comparison take turns,
step by step in one process, and the median over processes is printed. Peak memory is the largest resident size of a
process of its own for each arm, less what was resident before there was a model. `speed_ratio` is plain's seconds over
ours, 1 or more where ours is no slower; `memory_ratio` is our memory over plain's. Passes are counted, not computed.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PAIRS = {  # ours to the plain loops that do the same
    "ours, kto_no_z0": ("plain", "plain, cached"),
    "ours, kto matched": ("plain", "plain, cached"),
    "ours, kto": ("plain, rolled", "plain, rolled, cached"),
    "ours, dpo": ("plain, dpo", "plain, dpo, cached"),
}
ARMS = tuple(dict.fromkeys(arm for ours, plain in PAIRS.items() for arm in (*plain, ours)))
BATCH, SIDE, BETA, WARM_UP = 8, 64, 0.5, 2

Step = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--repeats", type=int, default=3, help="processes in which all arms take turns")
    parser.add_argument("--steps", type=int, default=8, help="steps of each arm that are timed in each")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.steps)))
        return
    runs = [in_a_process(ARMS, options.steps) for _ in range(options.repeats)]
    median = {arm: {name: statistics.median(run[arm][name] for run in runs) for name in runs[0][arm]} for arm in ARMS}
    for arm, found in median.items():
        found["peak_mb"] = in_a_process([arm], 1)[arm]["peak_mb"]
    ratios = show(median)
    if options.json:
        options.json.write_text(json.dumps({"ratios": ratios, "arms": median}, indent=2) + "\n")


def in_a_process(arms: Sequence[str], steps: int) -> dict[str, dict[str, float]]:
    command = [sys.executable, __file__, "--steps", str(steps), "--only", *arms]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def show(median: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Print what a step of each arm takes, and return how ours stand to the plain ones."""
    print("| step | CPU s | peak, MB | passes of the denoiser | of encoders |\n|---|---|---|---|---|")
    for arm, found in median.items():
        passes = f"{found['denoiser']:.0f} | {found['encoders']:.0f}"
        print(f"| {arm} | {found['seconds']:.3f} | {found['peak_mb']:.0f} | {passes} |")
    print("\n| ours | plain | times as fast | share of its memory |\n|---|---|---|---|")
    ratios = []
    for ours, all_plain in PAIRS.items():
        for plain in all_plain:
            speed = median[plain]["seconds"] / median[ours]["seconds"]
            memory = median[ours]["peak_mb"] / median[plain]["peak_mb"]
            ratios.append({"ours": ours, "plain": plain, "speed_ratio": speed, "memory_ratio": memory})
            print(f"| {ours} | {plain} | {speed:.2f} | {memory:.2f} |")
    return ratios


def measure(arms: Sequence[str], steps: int) -> dict[str, dict[str, float]]:
    """Let arms take turns: CPU seconds and passes of a step, and the peak of memory, which is of all arms."""
    import diffusers  # noqa: F401
    import torch
    import transformers  # noqa: F401

    torch.manual_seed(0)
    counted = count_passes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pipeline(folder / "pipeline")
        write_rows(folder / "feedback")
        before = resident_mb()
        made = {arm: build(folder, arm) for arm in arms}
        taken: dict[str, list[float]] = {arm: [] for arm in arms}
        passes = {}
        for number in range(steps + WARM_UP):
            for arm, step in made.items():
                counted.clear()
                begun = time.process_time()
                step(number + 1)
                taken[arm].append(time.process_time() - begun)
                passes[arm] = {kind: counted[kind] for kind in ("denoiser", "encoders")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    return {
        arm: {"seconds": statistics.median(of[WARM_UP:]), "peak_mb": peak, **passes[arm]} for arm, of in taken.items()
    }


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def count_passes() -> Counter[str]:
    """Count from now on how often denoisers and encoders, whoever holds them, are asked."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    counted: Counter[str] = Counter()

    def count(owner: type, name: str, kind: str) -> None:
        asked = getattr(owner, name)

        @functools.wraps(asked)
        def counting(*arguments: Any, **named: Any) -> Any:
            counted[kind] += 1
            return asked(*arguments, **named)

        setattr(owner, name, counting)

    count(UNet2DConditionModel, "forward", "denoiser")
    count(AutoencoderKL, "encode", "encoders")
    count(CLIPTextModel, "forward", "encoders")
    return counted


def build(folder: Path, arm: str) -> Step:
    if arm.startswith("ours"):
        return our_step(folder, arm)
    return plain_step(folder, rolled="rolled" in arm, pairs="dpo" in arm, cached="cached" in arm)


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
    """Thumbs on pictures of random fields, as many as a step has, on two prompts; and the same as pairs."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    random, rows = np.random.default_rng(0), []
    for i in range(BATCH):
        fields = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        fields.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(folder / f"{i}.png")
        rows.append({"prompt": f"picture of kind {i // 2 % 2}", "image": f"{i}.png", "label": i % 2 == 0})
    pairs = [
        {"prompt": up["prompt"], "chosen_image": up["image"], "rejected_image": down["image"]}
        for up, down in zip(rows[::2], rows[1::2], strict=True)
    ]
    for name, of in (("thumbs", rows), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of))


def plain_step(folder: Path, *, rolled: bool, pairs: bool, cached: bool) -> Step:
    """The official loops, written anew: train_kto_sd_v1.5.py (diffusion-kto) and train.py (DiffusionDPO).

    KTO's z0 is `--bce_offset` none, or original where rolled; the winner of a pair is a row, the loser the next one.
    """
    import numpy as np
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from PIL import Image

    pipe = StableDiffusionPipeline.from_pretrained(folder / "pipeline", use_safetensors=True)
    unet = pipe.unet.train()
    reference = copy.deepcopy(unet).requires_grad_(False)
    scheduler: Any = DDPMScheduler.from_config(pipe.scheduler.config)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5)
    rows = [json.loads(line) for line in (folder / "feedback" / "thumbs.jsonl").read_text().splitlines()]
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
        noise, level = torch.randn_like(latents), torch.randint(0, 1000, (BATCH,))
        if pairs:
            noise, level = (drawn[::2].repeat_interleave(2, 0) for drawn in (noise, level))
        noisy = scheduler.add_noise(latents, noise, level)

        def error(model: Any, told: torch.Tensor) -> torch.Tensor:
            return (model(noisy, level, told).sample - noise).square().mean(dim=(1, 2, 3))

        with torch.no_grad():
            theirs = error(reference, told)
            if rolled:
                other = told.roll(1, 0)
                z0 = (error(reference, other) - error(unet, other)).mean()
        ratio = theirs - error(unet, told)
        beta = BETA * latents[0].numel() / 2  # per mean squared error
        if pairs:
            loss = -torch.nn.functional.logsigmoid(beta * (ratio[::2] - ratio[1::2])).mean()
        else:
            z0 = z0 if rolled else ratio.mean().clamp(min=0).detach()
            loss = (1 - torch.sigmoid(sign * beta * (ratio - z0))).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(folder: Path, arm: str) -> Step:
    """A step of a run, between gradient and update, without what is logged and written."""
    from prospect.config import load_config
    from prospect.models.reference import build_reference
    from prospect.training.objective import build_objective, build_policy, encode_images
    from prospect.training.optimizer import build_optimizer
    from prospect.training.prepare import prepare
    from prospect.training.processes.sharding import clip_gradient
    from prospect.training.step import accumulate_gradient

    loss = arm.split()[1]
    file, batch = ("pairs", BATCH // 2) if loss == "dpo" else ("thumbs", BATCH)
    recipe = {
        "model": str(folder / "pipeline"),
        "data": {"train": str(folder / "feedback" / f"{file}.jsonl"), "eval": None},
        "loss": {"name": loss, "beta": BETA},
        "train": {"batch_size": batch, "images_per_micro_batch": BATCH, "learning_rate": 1e-5, "prompt_dropout": 0.0},
        "output": str(folder / loss),
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
