"""Sampling against Transformers' `generate`, in one process with the same threads: new tokens per second.

    python benchmarks/generation.py [--models stories smol] [--repeats 3] [--tokens 64]
                                    [--precision fp32|bf16] [--json FILE]

Both sample at temperature 1 with the same limits, in turn; the median of the repeats counts. 32 short prompts are asked
for one completion each, and 4 long prompts for eight each, which `generate` does with `num_return_sequences`.
Tokens up to and with a completion's end count, padding does not. "stories" is a model of 260 thousand parameters in
../shared/models, "smol" SmolLM2-135M-Instruct (`make smol`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from real_model import weights as smol_weights

from prospect.config import ModelSettings
from prospect.models.loading import load_tokenizer
from prospect.models.policy import load_for_scoring
from prospect.models.sampling import generate

STORIES = Path(__file__).resolve().parents[2] / "shared" / "models" / "stories260K"
SEED = "Once upon a time there was a little {} who lived near the river. "
NAMES = (
    "girl",
    "boy",
    "dog",
    "cat",
    "bear",
    "bird",
    "fox",
    "frog",
    "duck",
    "mouse",
    "horse",
    "cow",
    "pig",
    "hen",
    "bee",
)
LONG = 12  # sentences of a long prompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["stories"], choices=["stories", "smol"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64, help="most new tokens of a completion")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"], help="of both")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    rows = [row for name in options.models for row in measure(name, options)]
    print("| model | prompts | ours, tokens/s | `generate`, tokens/s | ratio |\n|---|---|--:|--:|--:|")
    for row in rows:
        print(f"| {row['model']} | {row['prompts']} | {row['ours']:.0f} | {row['theirs']:.0f} | {row['ratio']:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(name: str, options: Any) -> list[dict[str, Any]]:
    settings = ModelSettings(name_or_path=weights(name))
    tokenizer = load_tokenizer(settings)
    model = load_for_scoring(settings, options.precision, tokenizer).model.eval()
    short = [SEED.format(NAMES[i % len(NAMES)]) + "One day" * (i // len(NAMES)) for i in range(32)]
    long = ["".join(SEED.format(NAMES[i + j]) for j in range(LONG)) for i in range(4)]
    rows = []
    for prompts, samples, label in ((short, 1, "32 short, 1 each"), (long, 8, "4 long, 8 each")):
        sides: dict[str, Callable[[int], int]] = {
            "ours": lambda seed, p=prompts, k=samples: ours(model, tokenizer, p, k, seed, options),  # type: ignore[misc]
            "theirs": lambda seed, p=prompts, k=samples: theirs(model, tokenizer, p, k, seed, options),  # type: ignore[misc]
        }
        speeds: dict[str, list[float]] = {side: [] for side in sides}
        for seed in range(options.repeats + 1):
            for side, run in sides.items():
                begun = time.perf_counter()
                tokens = run(seed)
                if seed:  # the first is warm-up
                    speeds[side].append(tokens / (time.perf_counter() - begun))
        found = {side: statistics.median(values) for side, values in speeds.items()}
        rows.append({"model": name, "prompts": label, **found, "ratio": found["ours"] / found["theirs"]})
    return rows


def ours(model: Any, tokenizer: Any, prompts: list[str], samples: int, seed: int, options: Any) -> int:
    drawn = generate(
        model,
        tokenizer,
        prompts,
        samples_per_prompt=samples,
        max_new_tokens=options.tokens,
        temperature=1.0,
        top_p=options.top_p,
        seed=seed,
    )
    return sum(completion.tokens for row in drawn for completion in row)


def theirs(model: Any, tokenizer: Any, prompts: list[str], samples: int, seed: int, options: Any) -> int:
    torch.manual_seed(seed)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    given = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    output = model.generate(
        **given,
        do_sample=True,
        temperature=1.0,
        top_p=options.top_p,
        top_k=0,
        num_return_sequences=samples,
        max_new_tokens=options.tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    drawn = output[:, given["input_ids"].shape[1] :].tolist()
    ends = [i for i in (tokenizer.eos_token_id,) if i is not None]
    return sum(next((i + 1 for i, token in enumerate(row) if token in ends), len(row)) for row in drawn)


def weights(name: str) -> str:
    return str(STORIES) if name == "stories" else smol_weights()


if __name__ == "__main__":
    main()
