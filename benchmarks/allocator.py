"""What settings of glibc's allocator are worth, measured on the same training steps.

    python benchmarks/allocator.py [--lora] [--repeats 3] [--json FILE]

`default` leaves it as it is, `keep` tells it to keep freed memory, `whole` to do so without caches of small blocks, as
the commands that train do. A Llama of 15 million parameters with random weights, 32 rows of thumbs of 208 tokens on
average, KTO, float32. Each setting runs in a process of its own, in turn. Peak memory is the process's
largest resident size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

STEPS, WARM_UP = 6, 2
SETTINGS = ("default", "keep", "whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each setting")
    parser.add_argument("--lora", action="store_true", help="train an adapter")
    parser.add_argument("--one", choices=SETTINGS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.lora)))
        return
    from prospect.cli.main import WAITING

    runs: dict[str, list[dict[str, float]]] = {setting: [] for setting in SETTINGS}
    command = [sys.executable, __file__, *(["--lora"] if options.lora else []), "--one"]
    for _ in range(options.repeats):
        for setting, rows in runs.items():
            told = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"} if setting == "whole" else {}
            environment = {**os.environ, **WAITING, **told}
            done = subprocess.run([*command, setting], capture_output=True, text=True, check=True, env=environment)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    median = {
        setting: {name: statistics.median(run[name] for run in rows) for name in rows[0]}
        for setting, rows in runs.items()
    }
    print("| allocator | s/step | speed | peak, MB | memory |\n|---|---|---|---|---|")
    first = median["default"]
    for setting, found in median.items():
        speed, memory = first["seconds_per_step"] / found["seconds_per_step"], found["peak_mb"] / first["peak_mb"]
        print(f"| {setting} | {found['seconds_per_step']:.3f} | {speed:.2f} | {found['peak_mb']:.0f} | {memory:.2f} |")
    if options.json:
        options.json.write_text(json.dumps({"median": median, "runs": runs}, indent=2) + "\n")


def measure(setting: str, lora: bool) -> dict[str, float]:
    from prospect.training.memory.allocator import keep_freed_memory

    if setting != "default":
        assert keep_freed_memory()
    import torch

    from prospect.training.step import accumulate_gradient

    objective, examples = build(lora)
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


def build(lora: bool) -> tuple[Any, Any]:
    """A policy, its reference, and one step of rows with log-normal lengths."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from prospect.config import LoraSettings
    from prospect.data.batch import Row
    from prospect.losses import get_loss
    from prospect.models.adapters import add_adapter
    from prospect.models.logps import choose_scorer
    from prospect.models.policy import Policy
    from prospect.models.reference import AdapterOffReference, FrozenReference
    from prospect.training.step import Objective
    from prospect.training.text_medium import TextMedium

    torch.manual_seed(0)
    shape = {"hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 6}
    model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=32_000, max_position_embeddings=1024, **shape)).eval()
    if lora:
        model = add_adapter(model, LoraSettings())
    draw = np.random.default_rng(0)
    rows = []
    for i in range(32):
        prompt, completion = (int(n) for n in np.clip(draw.lognormal(np.log([110, 65]), 0.5), 8, 400))
        ids = draw.integers(3, 32_000, prompt + completion).astype(np.int32)
        rows.append((Row(ids[:prompt], ids[prompt:], prompt_key=str(i), id=str(i), desirable=i % 2 == 0),))
    loss = get_loss("kto")
    policy = Policy(model, None, choose_scorer(model), "fp32", "benchmark", lora)
    reference = AdapterOffReference(policy) if lora else FrozenReference(policy)
    return Objective(loss, loss.hyperparameters, policy, reference, max_tokens=1024, medium=TextMedium(1024)), rows


if __name__ == "__main__":
    main()
