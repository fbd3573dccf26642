"""One of several processes of a test: trains recipes, or writes one gradient. Started by test_ranks.py."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

import prospect
from prospect.config import load_config
from prospect.errors import RunStopped
from prospect.models.policy import Policy
from prospect.models.reference import build_reference
from prospect.run_dir import RunDir
from prospect.training.objective import build_objective, build_policy, encode_images
from prospect.training.prepare import prepare
from prospect.training.processes.sharding import shard_policy, whole
from prospect.training.processes.world import World, join_world
from prospect.training.session import Session
from prospect.training.step import accumulate_gradient


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    if job.get("die_at"):
        _die_at(job["die_at"], job.get("ranks", [0, 1]), hard=job.get("hard", False))
    if job.get("stop_at"):
        _stop_at(job["stop_at"], job["ranks"])
    if job.get("cannot_finish"):
        Policy.save = _too_large  # type: ignore[method-assign]
    for recipe in job.get("train", []):
        try:
            callbacks = [Ends(job["ends_at"])] if "ends_at" in job else []
            prospect.train(recipe, resume=job.get("resume", False), quiet=True, callbacks=callbacks)
        except RunStopped as stop:
            sys.stderr.write(f"{stop}\n")
            sys.exit(stop.exit_code)
    for recipe, path in job.get("gradient", []):
        write_gradient(recipe, path)
    for recipe, path in job.get("start", []):
        write_shares(recipe, path)
    if job.get("sum"):
        write_sums(job["sum"])


class Ends(prospect.Callback):
    """Ends the run in a step, and says which steps it was told of."""

    def __init__(self, step: int) -> None:
        self.step, self.told = step, list[int]()

    def on_step(self, record: Any) -> None:
        self.told.append(record.step)
        if record.step == self.step:
            raise prospect.StopRun

    def on_end(self) -> None:
        sys.stderr.write(f"told of {self.told}\n")


class Stopped(Exception):
    """Stands in for the moment of death."""


def _die_at(step: int, ranks: list[int], *, hard: bool) -> None:
    count = Session.count

    def dying(self: Any, *arguments: Any) -> None:
        count(self, *arguments)
        if self.progress.step == step and self.world.rank in ranks:
            if hard:
                os._exit(9)
            raise Stopped

    Session.count = dying  # type: ignore[method-assign]


def _stop_at(step: int, ranks: list[int]) -> None:
    """Sends some of the processes SIGTERM in the middle of a step."""
    clip = Session.clip_gradient

    def interrupted(self: Any, at: int) -> float:
        if at == step and self.world.rank in ranks:
            os.kill(os.getpid(), signal.SIGTERM)
        return clip(self, at)

    Session.clip_gradient = interrupted  # type: ignore[method-assign]


def _too_large(*_: Any) -> None:
    raise MemoryError("not enough memory for the whole model")


def write_gradient(recipe: dict[str, Any], path: str) -> None:
    """The gradient of one step over all rows, of a policy that has moved away from its reference."""
    config = load_config(recipe)
    world = join_world(sharded=config.train.parallel == "fsdp")
    prepared = prepare(config)
    torch.manual_seed(0)
    encode_images(prepared, world)
    policy = build_policy(prepared, to_spread=world.lockstep)
    reference = build_reference(prepared.config.reference, policy, prepared.loss.needs_reference, Path(path).parent)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    if world.lockstep:
        shard_policy(policy, torch.device("cpu"))
        reference.change(lambda own: shard_policy(own, torch.device("cpu")))
    objective = build_objective(prepared, policy, reference, world)
    result = accumulate_gradient(objective, prepared.train.examples, step=1)
    gradient = torch.cat([whole(p.grad).flatten() for p in policy.trainable().values() if p.grad is not None])
    if world.is_main:
        torch.save({"gradient": gradient, "metrics": result.metrics, "world": _described(world)}, path)


def write_shares(recipe: dict[str, Any], path: str) -> None:
    """Of the weights of a run that has started: the share that this process holds, and whether each is in parts."""
    config = load_config(recipe)
    world = join_world(sharded=config.train.parallel == "fsdp")
    prepared = prepare(config)
    policy = build_policy(prepared, to_spread=world.lockstep)
    session = Session.start(prepared, policy, RunDir(config.output), False, world)
    models = {"policy": policy.model}
    session.reference.change(lambda own: models.update(reference=own.model))
    found: dict[str, Any] = {"kind": session.reference.kind}
    for name, model in models.items():
        weights = list(model.parameters())
        parts = [weight.to_local().numel() for weight in weights if isinstance(weight, DTensor)]
        found[name] = {"share": sum(parts) / sum(w.numel() for w in weights), "in_parts": len(parts) == len(weights)}
    if world.is_main:
        Path(path).write_text(json.dumps(found))


def write_sums(path: str) -> None:
    """What `sum_gradients` makes of a parameter that both processes use, that one uses, and that nobody uses."""
    world = join_world(sharded=False)
    both, one, nobody = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    both.grad = torch.tensor([1.0, 2.0]) * (world.rank + 1)
    if world.rank == 1:
        one.grad = torch.tensor([5.0, 7.0])
    world.sum_gradients([both, one, nobody])
    sums = world.gather([None if p.grad is None else p.grad.tolist() for p in (both, one, nobody)])
    if world.is_main:
        Path(path).write_text(json.dumps(sums))


def _described(world: World) -> list[int]:
    return [world.rank, world.size]


if __name__ == "__main__":
    main()
