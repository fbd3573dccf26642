"""Human-aware losses and their baselines: pure functions of log-ratios, registered by being decorated."""

from prospect.losses import demonstration as _demonstration
from prospect.losses import paired as _paired
from prospect.losses import unpaired as _unpaired
from prospect.losses.base import Loss, all_losses, get_loss, loss

__all__ = ["Loss", "all_losses", "get_loss", "loss"]
del _demonstration, _paired, _unpaired
