"""The processes of a run: who they are, and the few things they tell each other.

One process is the usual case and needs nothing. Several are started by torchrun, accelerate launch or srun, which say
who is who in environment variables; they speak through `torch.distributed`, over gloo on CPUs and NCCL on GPUs.
"""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from prospect.errors import ConfigError, TrainingError
from prospect.models.device import default_device
from prospect.training.processes.place import find_place

# A rank that writes a large checkpoint or samples lets the others wait; a rank that is dead closes its connection.
PATIENCE = timedelta(minutes=30)
BUCKET = 32 * 2**20  # numbers summed at once: enough to fill the wire, little beside a model


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: this one, from 0.
        size: how many there are.
        local_rank: this one among those of its machine.
        lockstep: whether all must run equally many forward passes, as sharded weights need it.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    lockstep: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run directory and speaks to people."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            with _other_ranks():
                dist.barrier()

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, by rank: small objects, tensors on the CPU."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _other_ranks():
            dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is true for anybody."""
        return any(self.gather(flag)) if self.size > 1 else flag

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add up everybody's gradients, a bucket at a time.

        Where somebody has none it counts as 0. Where nobody has one there is none afterwards either: AdamW passes such
        a parameter over, and would decay and move one whose gradient is 0.

        Sharded weights are passed over: theirs are averaged as they are made, of losses that were scaled up to make
        that a sum. What is not sharded beside them, a value head, is averaged for the same reason.
        """
        if self.size == 1:
            return
        share = 1.0 / self.size if self.lockstep else 1.0
        bucket: list[torch.Tensor] = []
        for parameter in _with_gradient([p for p in parameters if not isinstance(p, DTensor)]):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(g.numel() for g in bucket) >= BUCKET:
                _sum_together(bucket, share)
                bucket = []
        _sum_together(bucket, share)


def _with_gradient(parameters: Sequence[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Those of which at least one process has a gradient; the same on all processes."""
    if not parameters:
        return []
    found = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32)
    with _other_ranks():
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return [parameter for parameter, one in zip(parameters, found.tolist(), strict=True) if one]


def _sum_together(gradients: Sequence[torch.Tensor], share: float) -> None:
    if not gradients:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    with _other_ranks():
        dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient) * share)


@contextmanager
def _other_ranks() -> Iterator[None]:
    """Say in words what a broken connection means.

    Raises:
        TrainingError: another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"rank {dist.get_rank()}: another process of this run ended or cannot be reached "
            f"({str(error).splitlines()[0]}). Its own message says why. The last checkpoint is whole: continue with "
            "--resume."
        ) from error


def join_world(*, sharded: bool) -> World:
    """Join the other processes of this run, if there are any, for as long as this one lives.

    Args:
        sharded: whether weights will be spread over the processes.

    Raises:
        ConfigError: the device cannot be shared by processes.
    """
    place = find_place(os.environ)
    if place is None:
        return World()
    rank, size, local_rank = place
    device, backend = default_device(), "gloo"
    if device.type != "cpu":
        own = dist.get_default_backend_for_device(device.type)
        if own == backend:  # which reads the CPU's memory alone
            raise ConfigError(
                f"several processes were started, and PyTorch has no way for them to share {device.type}. Start one "
                "process, or set train.device: cpu."
            )
        torch.accelerator.set_device_index(local_rank % torch.accelerator.device_count())
        backend = f"cpu:gloo,{device.type}:{own}"
    if not dist.is_initialized():
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return World(rank, size, local_rank, lockstep=sharded)


def share_cores(environment: Mapping[str, str]) -> None:
    """Give each process of this machine its part of the cores that it may use; OMP_NUM_THREADS wins.

    PyTorch counts the machine's cores. In a container that may use 2 of 64, its 64 threads would wait for each other.
    """
    if "OMP_NUM_THREADS" not in environment:
        torch.set_num_threads(own_cores(environment, allotted_cores(Path("/sys/fs/cgroup"))))


def own_cores(environment: Mapping[str, str], allotted: int) -> int:
    """Return this process's part of the cores, at least 1.

    Slurm may have bound each task to cores of its own: what it may use is its part already. Unbound, a task may run on
    all cores of the job, or of the machine.

    Args:
        environment: what the launcher has set.
        allotted: the cores that this process may use.
    """
    if "LOCAL_WORLD_SIZE" in environment:  # torchrun's processes share what it was given, also under Slurm
        return max(1, allotted // int(environment["LOCAL_WORLD_SIZE"]))
    if "SLURM_CPUS_PER_TASK" in environment:
        return max(1, min(allotted, int(environment["SLURM_CPUS_PER_TASK"])))
    tasks = int(environment.get("SLURM_NTASKS_PER_NODE", "1"))
    jobs_cores = int(environment.get("SLURM_CPUS_ON_NODE", os.cpu_count() or 1))
    return allotted if allotted < jobs_cores else max(1, jobs_cores // tasks)


def allotted_cores(control_group: Path) -> int:
    """How many cores this process may use: those it may run on, within the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((control_group / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota.isdigit() and int(quota) > 0:  # "max" or -1 where there is none
            return max(1, min(cores, math.ceil(int(quota) / int(period))))
    return cores
