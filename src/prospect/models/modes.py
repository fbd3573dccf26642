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


def draws_dropout(model: torch.nn.Module) -> bool:
    """Whether a forward pass drops at random, each module in the mode that it has: two passes would differ."""
    shares = (getattr(module, "p", 0) for module in model.modules() if module.training)
    return any(isinstance(share, (int, float)) and share > 0 for share in shares)


@contextmanager
def uncompiled(model: torch.nn.Module) -> Iterator[None]:
    """Let compiled layers run uncompiled within.

    While a model generates each layer has a cache of its own, and so a variant of its own to compile. PyTorch compiles
    8 variants of a function, and policy and reference share it: samples would leave none for the steps.
    """
    compiled = any(module._compiled_call_impl is not None for module in model.modules())
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield
