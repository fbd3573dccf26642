"""Weights spread over the processes of a run, by PyTorch's own FSDP2 (`fully_shard`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from prospect.errors import ConfigError
from prospect.models.spreading import spread as spread
from prospect.models.trained import TrainedModel


def shard_policy(policy: TrainedModel, device: torch.device) -> None:
    """Spread a policy that lies on the CPU over all processes, and chooses how it scores there."""
    shard_model(policy.model, policy.layers(), device)
    if policy.value_head is not None:
        policy.value_head.to(device)
    policy.choose_scorer()


def shard_model(model: Any, layers: Sequence[torch.nn.Module], device: torch.device) -> None:
    """Spread a model's weights over all processes: each layer is put together only while it is used.

    A model on the CPU comes to the device a layer at a time, of which this process's part stays.

    Args:
        model: Transformers' or diffusers' own, or wrapped by PEFT.
        layers: of the model, in its order; layers may hold others.
        device: where the parts will be; one device of its kind to a process.

    Raises:
        ConfigError: there are no layers to shard one by one, or weights that cannot be sharded together.
    """
    if not layers:
        raise ConfigError(
            f"train.parallel is fsdp and {type(model).__name__} has no layers that its library marks as such. Use ddp."
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    try:
        for layer in reversed(layers):  # inner ones first
            fully_shard(layer, mesh=mesh)
        # What is left is put away after each forward too: while it lies whole, its parameters are other objects, and
        # an optimizer or a checkpoint that is made then would hold those.
        fully_shard(model, mesh=mesh, reshard_after_forward=True)
    except (AssertionError, ValueError) as error:
        raise ConfigError(
            f"train.parallel is fsdp and the weights cannot be sharded together ({error}). Set model.dtype: float32, "
            "or use ddp."
        ) from error
    if hasattr(model, "get_base_model"):
        # PEFT's wrapper is the root, and `generate` passes it by: what the root holds must be gathered for it too.
        register_fsdp_forward_method(model, "generate")


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor put together from everybody's part, on the CPU; all processes must ask."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


def clip_gradient(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> float:
    """Scale gradients down to a norm, sharded ones too.

    Returns:
        the norm before, of all gradients together.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    sharded = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    if not sharded:
        return float(torch.nn.utils.clip_grad_norm_(list(parameters), max_norm))
    plain = [g for g in gradients if not isinstance(g, DTensor)]
    squares = torch.stack([g.float().square().sum() for g in sharded if g.numel()] or [gradients[0].new_zeros(())])
    total = squares.sum()
    dist.all_reduce(total)
    norm = float((total + sum(g.float().square().sum() for g in plain)) ** 0.5)
    if norm > max_norm:
        for gradient in (*sharded, *plain):
            gradient.mul_(max_norm / (norm + 1e-6))
    return norm


def save_sharded(tensors: Mapping[str, torch.Tensor], path: str) -> None:
    """Write each process's part of the tensors, as safetensors; any number of processes can read them."""
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save

    save(dict(tensors), storage_writer=HuggingFaceStorageWriter(path, save_distributed=True))


def load_sharded(targets: dict[str, torch.Tensor], path: str) -> None:
    """Fill tensors, whole ones or this process's parts, from what `save_sharded` wrote."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    load(targets, storage_reader=HuggingFaceStorageReader(path), no_dist=not dist.is_initialized())
