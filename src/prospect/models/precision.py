"""What a model computes in: float32 or bfloat16, and bfloat16 by copies of its weights or by autocast."""

from __future__ import annotations

from typing import NamedTuple

import torch

from prospect.config import Config, ModelSettings
from prospect.models.loading import width_of
from prospect.models.working_copy import multiplies_bf16

# On a CPU, numbers of a hidden state from which on bf16 is the faster of the two; in narrower models what lies between
# the products costs more than they do.
NARROWEST_IN_BF16 = 256


def resolve_precision(precision: str, device: torch.device, width: int = 0) -> str:
    """Turn "auto" into bf16 where that is multiplied in hardware and is the faster one, else fp32.

    Args:
        precision: as the recipe has it.
        device: where is computed.
        width: numbers of a hidden state, of a model whose weights are cast once for all passes of a step
            (`WorkingCopy`); 0 of others. On a CPU autocast, which casts them in each, costs more than it saves.
    """
    if precision != "auto":
        return precision
    return "bf16" if multiplies_bf16(device) and (device.type != "cpu" or width >= NARROWEST_IN_BF16) else "fp32"


class Arithmetic(NamedTuple):
    """What forward and backward passes compute in.

    Attributes:
        precision: "fp32" or "bf16".
        in_copies: whether that is bf16 by `WorkingCopy`; else it is autocast's.
    """

    precision: str
    in_copies: bool


def choose_arithmetic(precision: str, settings: ModelSettings, device: torch.device, *, whole: bool) -> Arithmetic:
    """Choose what a language model computes in.

    Args:
        precision: fp32, bf16 or auto.
        settings: how its weights are held; none of another half precision, or of fewer bits, meets the copies.
        device: where is computed; copies are a CPU's.
        whole: whether weights are on one device, and layers run as they are.

    Raises:
        ModelError: there is no such model.
    """
    held_whole = settings.dtype != "float16" and settings.quantization is None
    copied = whole and held_whole and device.type == "cpu"
    found = resolve_precision(precision, device, width_of(settings) if copied else 0)
    return Arithmetic(found, copied and found == "bf16")


def arithmetic_of_run(config: Config, device: torch.device) -> Arithmetic:
    """Return what the language model of a run computes in: sharded weights and compiled layers have no copies."""
    whole = config.train.parallel != "fsdp" and not config.train.compile
    return choose_arithmetic(config.train.precision, config.model, device, whole=whole)
