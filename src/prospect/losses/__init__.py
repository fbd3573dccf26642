"""Human-aware losses and their baselines: pure functions of log-ratios, registered by being decorated."""

from prospect.losses import demonstration as _demonstration
from prospect.losses import paired as _paired
from prospect.losses import reference_free as _reference_free
from prospect.losses import reward_model as _reward_model
from prospect.losses import scored as _scored
from prospect.losses import token as _token
from prospect.losses import unpaired as _unpaired
from prospect.losses.base import Loss
from prospect.losses.registry import all_losses, get_loss, loss

__all__ = ["Loss", "all_losses", "get_loss", "loss"]
del _demonstration, _paired, _reference_free, _reward_model, _scored, _token, _unpaired
