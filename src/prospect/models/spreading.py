"""Tensors with the layout of another: whole, or sharded over the processes of a run."""

from __future__ import annotations

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def spread(full: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a whole tensor in the layout of `like`: this process's shard, or all of it."""
    if isinstance(like, DTensor):
        return distribute_tensor(full.to(like.device, like.dtype), like.device_mesh, like.placements)
    return full.to(like.device)
