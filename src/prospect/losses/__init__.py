"""Human-aware losses and their baselines: pure functions of log-ratios, registered by being decorated.

The names below are imported when first used, and every loss with them: what `declared` and `hyperparameters` know about
losses needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from prospect.losses.declared import FILES

if TYPE_CHECKING:
    from prospect.losses.base import Loss
    from prospect.losses.registry import all_losses, get_loss, loss

__all__ = ["Loss", "all_losses", "get_loss", "loss"]

_HOMES = {"Loss": "base", "all_losses": "registry", "get_loss": "registry", "loss": "registry"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for file in FILES:
        importlib.import_module(f"{__name__}.{file}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
