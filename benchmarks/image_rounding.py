"""How much the gradient of a step on images depends on how many of them go through the denoiser at once.

    python benchmarks/image_rounding.py

The small Stable Diffusion of benchmarks/diffusion.py, all weights, moved a little from its start; 8 pictures in one
micro-batch, and by 3. In float64 the two gradients are equal but for its rounding: nothing of the step depends on the
cut. In float32 what is left has two sources: a log-prob is a sum over an image of hundreds of nats, of which kernels
for another batch size round the last digits, and a loss on log-ratios multiplies every row's gradient by a function of
the difference of two such sums; and convolutions add their weights' gradients up over another batch. `sft` has the
second alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusion import BATCH, BETA, write_pipeline, write_rows

APART = 3


def main() -> None:
    import torch

    torch.set_num_threads(1)
    print("| loss | arithmetic | log-probs, nats | log-ratios off by, nats | gradients apart, of their norm |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pipeline(folder / "pipeline")
        write_rows(folder / "feedback")
        for loss in ("sft", "kto"):
            for dtype in (torch.float32, torch.float64):
                size, off, apart = measure(folder, loss, dtype)
                print(f"| {loss} | {str(dtype).removeprefix('torch.')} | {size:.0f} | {off:.1e} | {apart:.1e} |")


def measure(folder: Path, loss: str, dtype: Any) -> tuple[float, float, float]:
    """Return the largest log-prob, how far log-ratios differ between the two cuts, and how far gradients do."""
    import torch

    from prospect.config import load_config
    from prospect.data.batch import flatten
    from prospect.data.draw import Draw
    from prospect.models.reference import build_reference
    from prospect.training.objective import build_objective, build_policy, encode_images
    from prospect.training.prepare import prepare
    from prospect.training.step import accumulate_gradient

    recipe = {
        "model": str(folder / "pipeline"),
        "data": {"train": str(folder / "feedback" / "thumbs.jsonl"), "eval": None},
        "loss": {"name": loss, **({"beta": BETA} if loss == "kto" else {})},
        "train": {"batch_size": BATCH, "samples": 0},
        "output": str(folder / loss),
    }
    prepared = prepare(load_config(recipe))
    encode_images(prepared)
    policy = build_policy(prepared)
    reference = build_reference(prepared.config.reference, policy, True, folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    for one in (policy, reference._policy):  # type: ignore[attr-defined]
        one.model.to(dtype)
        one.dtype = dtype
    objective = build_objective(prepared, policy, reference)
    rows = sorted(flatten(prepared.train.examples), key=lambda row: row.key)

    def gradient(at_once: int) -> torch.Tensor:
        policy.model.zero_grad(set_to_none=True)
        accumulate_gradient(replace(objective, max_tokens=at_once), prepared.train.examples, 1)
        return torch.cat([p.grad.flatten().double() for p in policy.trainable().values() if p.grad is not None])

    def log_ratios(at_once: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = [objective.medium.collate(rows[i : i + at_once]) for i in range(0, len(rows), at_once)]
        with torch.no_grad():
            both = [objective.medium.compare(policy, reference, b, Draw(0, 1), by_unit=False) for b in batches]
        logps = torch.cat([one.logps for one in both])
        return logps, logps - torch.cat([one.reference_logps for one in both])

    whole, (logps, ratios) = gradient(BATCH), log_ratios(BATCH)
    apart = float((gradient(APART) - whole).norm() / whole.norm())
    return float(logps.abs().max()), float((log_ratios(APART)[1] - ratios).abs().max()), apart


if __name__ == "__main__":
    main()
