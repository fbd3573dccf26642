"""What the scripts that make the demos' base models share: the loop of training, and what they say."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

MAX_BYTES = 2_500_000


def descend(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss_of: Callable[[], Tensor], *, steps: int, warmup: int
) -> None:
    """Minimise the loss of one batch after the other, with warm-up to the optimizer's rate and a cosine to zero."""

    def share_of_peak(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)
    model.train()
    began = time.monotonic()
    for step in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            say(f"step {step + 1}/{steps}  loss {loss.item():.3f}  {time.monotonic() - began:.0f} s")
    model.eval()


def write_in_halves(folder: Path) -> None:
    """Write the weights under a folder again in bfloat16, half as many bytes; configs still say float32."""
    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            said = opened.metadata()
        save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file, said)
        file.chmod(0o644)  # safetensors writes 0600, which an installed package must not have


def bytes_of(folder: Path) -> int:
    """Return the size of a model's folder, and end where it is more than the package may hold."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size > MAX_BYTES:
        raise SystemExit(f"{folder} has {size:,} bytes; the demo's base model may have {MAX_BYTES:,}.")
    return size


def say(line: str) -> None:
    """Print a line now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
