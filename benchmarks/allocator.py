"""What keeping freed memory is worth: the same training steps with glibc's allocator as it is, and told to keep memory.

    python benchmarks/allocator.py [--json FILE]

A Llama of 15 million parameters with random weights, 32 rows of thumbs of 208 tokens on average, KTO, float32. Each
setting runs in a process of its own, alternating, three times. Peak memory is the process's largest resident size.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

STEPS, WARM_UP, REPEATS = 6, 2, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--one", choices=["default", "keep"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    runs: dict[str, list[dict[str, float]]] = {"default": [], "keep": []}
    for _ in range(REPEATS):
        for setting in runs:
            done = subprocess.run(
                [sys.executable, __file__, "--one", setting], capture_output=True, text=True, check=True
            )
            runs[setting].append(json.loads(done.stdout.splitlines()[-1]))
    median = {s: statistics.median(run["seconds_per_step"] for run in rows) for s, rows in runs.items()}
    peak = {s: statistics.median(run["peak_mb"] for run in rows) for s, rows in runs.items()}
    result = {
        "speed_ratio": median["default"] / median["keep"],
        "memory_ratio": peak["keep"] / peak["default"],
        "runs": runs,
    }
    for setting in runs:
        print(f"{setting:8}  {median[setting]:.3f} s/step  {peak[setting]:.0f} MB peak")
    print(f"keeping memory: {result['speed_ratio']:.2f} x the speed, {result['memory_ratio']:.2f} x the peak memory")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(setting: str) -> dict[str, float]:
    from prospect.allocator import keep_freed_memory

    if setting == "keep":
        assert keep_freed_memory()
    import torch

    from prospect.training.step import accumulate_gradient

    objective, examples = build()
    optimizer = torch.optim.AdamW(objective.policy.trainable().values(), lr=1e-5, fused=True)
    times = []
    for step in range(STEPS):
        begun = time.perf_counter()
        accumulate_gradient(objective, examples, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds_per_step": statistics.median(times[WARM_UP:]), "peak_mb": peak}


def build() -> tuple[Any, Any]:
    """A policy, a frozen copy of it, and one step of rows with log-normal lengths."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from prospect.data.batch import Row
    from prospect.losses import get_loss
    from prospect.models.logps import choose_scorer
    from prospect.models.policy import Policy
    from prospect.models.reference import FrozenReference
    from prospect.training.step import Objective

    torch.manual_seed(0)
    shape = {"hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 6}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32_000, max_position_embeddings=1024, **shape)).eval()
    draw = np.random.default_rng(0)
    rows = []
    for i in range(32):
        prompt, completion = (int(n) for n in np.clip(draw.lognormal(np.log([110, 65]), 0.5), 8, 400))
        ids = draw.integers(3, 32_000, prompt + completion).astype(np.int32)
        rows.append((Row(ids[:prompt], ids[prompt:], prompt_key=str(i), id=str(i), desirable=i % 2 == 0),))
    loss = get_loss("kto")
    policy = Policy(model, None, choose_scorer(model), "fp32", "benchmark", False)
    return Objective(
        loss, loss.hyperparameters, policy, FrozenReference(policy), max_tokens=4096, max_length=1024
    ), rows


if __name__ == "__main__":
    main()
