"""A model as it is, for a while: in eval mode, or without compiled layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode within, so no dropout and no router noise; afterwards every module in the mode it had."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def draws_random_numbers(model: torch.nn.Module) -> bool:
    """Whether a forward pass, in the mode that each module has, draws random numbers: two would differ."""
    random = ("p", "jitter_noise", "router_jitter_noise")  # of dropout, and of routers
    return any(module.training and any(getattr(module, name, 0) for name in random) for module in model.modules())


@contextmanager
def uncompiled(model: torch.nn.Module) -> Iterator[None]:
    """Let compiled layers run uncompiled within.

    While a model generates each layer has a cache of its own, and so a variant of its own to compile. PyTorch compiles
    8 variants of a function, and policy and reference share it: samples would leave none for the steps.
    """
    compiled = any(module._compiled_call_impl is not None for module in model.modules())
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield
