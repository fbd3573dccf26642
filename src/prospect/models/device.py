"""Where models compute: the one place that chooses, by PyTorch's device-neutral API.

PyTorch is imported inside the functions: a command states its choice before it has loaded anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prospect.errors import ConfigError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
_chosen = "auto"


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Let models that are loaded within compute there.

    Args:
        name: one of `DEVICES`; auto leaves the choice to what is around, and in the end to `default_device`.
    """
    global _chosen
    outer = _chosen
    _chosen = outer if name == "auto" else name
    try:
        yield
    finally:
        _chosen = outer


def default_device() -> torch.device:
    """Return the device that was chosen; else the accelerator that PyTorch finds (CUDA, MPS or another), else the CPU.

    Raises:
        ConfigError: the device that was chosen is not there.
    """
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    here = "cpu" if found is None else found.type
    if _chosen not in ("auto", "cpu", here):
        raise ConfigError(
            f"device {_chosen} was asked for, and PyTorch {torch.__version__} finds "
            f"{'no accelerator' if here == 'cpu' else here} here. Install a PyTorch that is built for it, or set "
            "train.device (--device of other commands) to auto or cpu."
        )
    return torch.device(here if _chosen == "auto" else _chosen)


def synchronize() -> None:
    """Wait for what an accelerator still has to do."""
    import torch

    if default_device().type != "cpu":
        torch.accelerator.synchronize()


def free_unused() -> None:
    """Give back memory that an accelerator's allocator holds and nothing uses."""
    import torch

    if default_device().type != "cpu":
        torch.accelerator.empty_cache()


def random_state() -> dict[str, torch.Tensor]:
    """Return the state of the random numbers by type of device: of the CPU, and of the accelerator that is used."""
    import torch

    state, device = {"cpu": torch.get_rng_state()}, default_device()
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state().cpu()
    return state


def set_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Put back what `random_state` returned; what it does not name stays."""
    import torch

    device = default_device()
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if device.type != "cpu" and device.type in state:
        torch.get_device_module(device).set_rng_state(state[device.type])


def has_float64(device: torch.device) -> bool:
    """Whether numbers of 64 bits exist there; Apple's GPUs have none."""
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def limits(device: torch.device) -> str | None:
    """Return in one line what is done elsewhere or not at all on a device; None of a CPU and of CUDA."""
    if device.type in ("cpu", "cuda"):
        return None
    return (
        f"computing on {device.type}: what PyTorch lacks there (float64, some operators) is computed on the CPU or "
        "refused. train.device: cpu leaves it alone."
    )
