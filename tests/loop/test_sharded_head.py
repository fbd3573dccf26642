"""The fast road under FSDP2: two processes that share the weights give the values and gradients of one."""

from __future__ import annotations

import os
import socket
import sys
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from conftest import make_model
from prospect.config import LoraSettings
from prospect.models import logps
from prospect.models.adapters import add_adapter, enable_gradient_checkpointing
from prospect.models.logps import score_hidden, score_logits
from tolerances import BACKWARD, FORWARD, assert_near

WORLD = 2
CHUNKS = (logps.CHUNK_LOGITS, 4 * 300)  # all tokens at once; 4 at a time
LENGTHS = (4, 9)  # tokens of a row, per process: unequal, as micro-batches are


class Case(NamedTuple):
    tied: bool
    own_groups: tuple[str, ...] = ()  # modules that are sharded by themselves, beside the layers and the root
    frees_root: bool = False  # whether the root's weights are given back between the passes
    recomputes: bool = False
    adapter: bool = False


CASES = {
    "tied": Case(True),
    "untied": Case(False),
    "untied, a head of its own": Case(False, own_groups=("lm_head",)),
    "tied, root freed": Case(True, frees_root=True),
    "tied, recomputing": Case(True, recomputes=True),
    "untied, adapter": Case(False, adapter=True),
}


def rows_of(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(rank)
    ids = torch.randint(300, (3, LENGTHS[rank]), generator=draw)
    scored = torch.rand(3, LENGTHS[rank] - 1, generator=draw) < 0.7
    return ids, scored


def build(case: Case) -> Any:
    model = make_model(tie_word_embeddings=case.tied)
    if case.adapter:
        torch.manual_seed(0)
        model = add_adapter(model, LoraSettings(r=2, target_modules=["q_proj", "lm_head"]))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    if case.recomputes:
        enable_gradient_checkpointing(model)
    return model


def build_sharded(case: Case) -> Any:
    from torch.distributed.fsdp import fully_shard

    model = build(case)
    causal = logps._causal_lm(model)
    for module in [*causal.model.layers, *(getattr(causal, name) for name in case.own_groups)]:
        fully_shard(module)
    return fully_shard(model, reshard_after_forward=case.frees_root)


def share(rank: int, port: int, out: Path) -> None:
    """What one process does: its own rows, for every case; the first writes the gradients that they found."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    try:
        found = {}
        ids, scored = rows_of(rank)
        for chunk, case in product(CHUNKS, CASES):
            logps.CHUNK_LOGITS = chunk
            model = build_sharded(CASES[case])
            with torch.no_grad():
                plain = score_logits(model, ids, scored)[0]
            values = score_hidden(model, ids, scored)[0]
            assert_near(values, plain, FORWARD)
            values.sum().backward()
            trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
            found[chunk, case] = {name: p.grad.full_tensor() for name, p in trained.items()}
        if rank == 0:
            torch.save(found, out)
    finally:
        dist.destroy_process_group()


def test_two_processes_that_share_the_weights_give_the_gradients_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch.distributed.is_available():
        pytest.skip("this PyTorch was built without torch.distributed")
    # The new processes find what this one does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    torch.multiprocessing.spawn(share, (port, tmp_path / "found.pt"), nprocs=WORLD)
    found = torch.load(tmp_path / "found.pt")
    for case in CASES:
        model = build(CASES[case])
        total = sum(score_logits(model, *rows_of(rank))[0].sum() for rank in range(WORLD)) / WORLD
        total.backward()
        expected = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        for chunk in CHUNKS:
            own = found[chunk, case]
            assert own.keys() == expected.keys()
            for name, gradient in expected.items():
                assert_near(own[name], gradient, BACKWARD, f"{case}, chunks of {chunk}, {name}")
