"""What a loss is: a pure function of log-ratios with traits, one value per example.

Letters: N examples.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from prospect.errors import ConfigError

FeedbackKind = Literal["unpaired", "paired", "demonstration"]
Level = Literal["sequence", "token"]

# What a loss of each kind is called with, in this order, before its keyword-only hyperparameters.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "unpaired": ("log_ratio", "desirable"),
    "paired": ("chosen", "rejected"),
    "demonstration": ("logps",),
}


@dataclass(frozen=True)
class Loss:
    """A registered loss: the function, and the traits that tell the trainer what to feed it.

    Attributes:
        function: the pure function; (N,) tensors in, (N,) loss out.
        name: what recipes call it.
        feedback: the kind of record it learns from.
        level: whether it sees one number per completion ("sequence") or one per token ("token").
        needs_reference: whether its log-ratios are taken against a reference; otherwise they are the policy's
            own logps.
        length_normalised: whether its log-ratios are means over completion tokens, not sums.
        needs_reference_point: whether it is called with z0.
        is_halo: whether it is a human-aware loss by definition 3.4 of arXiv 2402.01306.
        learning_rate: AdamW's learning rate where the recipe names none, for a pretrained model of ordinary
            size.
        paper: where it comes from.
    """

    function: Callable[..., torch.Tensor]
    name: str
    feedback: FeedbackKind
    level: Level = "sequence"
    needs_reference: bool = True
    length_normalised: bool = False
    needs_reference_point: bool = False
    is_halo: bool = False
    learning_rate: float = 5e-6
    paper: str = ""

    def __call__(self, *arguments: torch.Tensor, **hyperparameters: Any) -> torch.Tensor:
        """Calls the function in float32 or better and checks the shape of what comes out.

        Half-precision log-ratios are widened first: in bf16, `1 - sigmoid(6.3)` is exactly 0 and learns
        nothing.

        Raises:
            ConfigError: an unknown hyperparameter, or one out of bounds.
            TypeError: arguments of wrong number or shape, or a result that is not one value per example.
        """
        names = self.argument_names
        if len(arguments) != len(names):
            raise TypeError(f"loss {self.name} takes {', '.join(names)}; got {len(arguments)} arguments")
        rows = [a for a, name in zip(arguments, names, strict=True) if name != "z0"]
        if any(row.shape != rows[0].shape or row.dim() != 1 for row in rows):
            shapes = ", ".join(f"{n} {tuple(a.shape)}" for n, a in zip(names, arguments, strict=True))
            raise TypeError(f"loss {self.name} takes one value per example, all of one shape (N,); got {shapes}")
        if self.needs_reference_point and arguments[-1].dim() != 0:
            raise TypeError(f"loss {self.name} takes one z0 for all, of shape (); got {tuple(arguments[-1].shape)}")
        self.check(hyperparameters)
        value = self.function(*(_widen(a) for a in arguments), **hyperparameters)
        if value.shape != rows[0].shape:
            raise TypeError(
                f"loss {self.name} must give one value per example, {tuple(rows[0].shape)}; it gave "
                f"{tuple(value.shape)}"
            )
        return value

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The tensors that it is called with, in order."""
        return ARGUMENTS[self.feedback] + (("z0",) if self.needs_reference_point else ())

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Name to default, read from the keyword-only part of the signature: the signature is the schema."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def check(self, given: Mapping[str, Any]) -> None:
        """Refuses hyperparameters that the signature does not know, or whose value cannot be meant.

        Raises:
            ConfigError: with the nearest name suggested.
        """
        known = self.hyperparameters
        for name, value in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f'; did you mean "{near[0]}"?' if near else "."
                takes = ", ".join(known) or "none"
                raise ConfigError(f'loss {self.name} has no hyperparameter "{name}"{hint} It takes {takes}.')
            _check_value(self.name, name, value)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All hyperparameters: the given ones over the defaults, checked."""
        self.check(given)
        return {**self.hyperparameters, **given}


# Bounds by name, so that every loss that has a beta refuses the same betas: (lowest, lowest allowed itself?,
# highest).
_BOUNDS: Mapping[str, tuple[float, bool, float]] = {
    "beta": (0.0, False, float("inf")),
    "desirable_weight": (0.0, True, float("inf")),
    "undesirable_weight": (0.0, True, float("inf")),
    "label_smoothing": (0.0, True, 0.5),
}


def _check_value(loss_name: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"loss {loss_name}: {name} is {value!r}; expected a number.")
    low, inclusive, high = _BOUNDS.get(name, (float("-inf"), True, float("inf")))
    if not (low <= value <= high) or (value == low and not inclusive) or abs(value) == float("inf"):
        sign = ">=" if inclusive else ">"
        top = "" if high == float("inf") else f" and <= {high:g}"
        bound = "a finite number" if low == float("-inf") else f"a finite number {sign} {low:g}{top}"
        raise ConfigError(f"loss {loss_name}: {name} is {value}; expected {bound}.")


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


_REGISTRY: dict[str, Loss] = {}


def loss(
    feedback: FeedbackKind, *, name: str | None = None, **traits: Any
) -> Callable[[Callable[..., torch.Tensor]], Loss]:
    """Registers a function as a loss.

    The function takes the tensors of `ARGUMENTS[feedback]` (and z0, a () tensor, where
    `needs_reference_point=True`), then keyword-only hyperparameters with defaults, and returns one loss per
    example, unreduced.

    Args:
        feedback: "unpaired", "paired" or "demonstration".
        name: what recipes call it; the function's own name if not given.
        **traits: further fields of `Loss`.
    """

    def register(function: Callable[..., torch.Tensor]) -> Loss:
        if feedback not in ARGUMENTS:
            raise ConfigError(f'a loss on "{feedback}" feedback: expected one of {", ".join(ARGUMENTS)}.')
        record = Loss(function=function, name=name or function.__name__, feedback=feedback, **traits)
        _check_signature(record)
        taken = _REGISTRY.get(record.name)
        if taken is not None and _home(taken) != _home(record):
            raise ConfigError(f'a loss named "{record.name}" exists already, in {_home(taken)}; choose another name.')
        _REGISTRY[record.name] = record
        return record

    return register


def _check_signature(record: Loss) -> None:
    """Refuses what could not be called, or would be called with one tensor in another's place."""
    parameters = inspect.signature(record.function).parameters.values()
    positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    expected = record.argument_names
    gathers = any(p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for p in positional)
    swapped = any(p.name in expected and p.name != name for p, name in zip(positional, expected, strict=False))
    if len(positional) != len(expected) or gathers or swapped:
        takes = ", ".join(p.name for p in positional)
        raise ConfigError(
            f"loss {record.name} takes ({takes}); a loss on {record.feedback} feedback with these traits is "
            f"called with ({', '.join(expected)}). Hyperparameters come after a lone `*`."
        )
    for name, default in record.hyperparameters.items():
        if default is inspect.Parameter.empty:
            raise ConfigError(f"loss {record.name}: hyperparameter {name} has no default; give it one.")


def _home(record: Loss) -> str:
    return record.function.__code__.co_filename


def all_losses() -> dict[str, Loss]:
    """Every registered loss by name."""
    return dict(sorted(_REGISTRY.items()))


def get_loss(name: str) -> Loss:
    """Finds a loss by its name, or by `file.py:function` for one's own.

    Raises:
        ConfigError: unknown, with the nearest name suggested.
    """
    if ".py:" in name:
        return _load_own(name)
    if name in _REGISTRY:
        return _REGISTRY[name]
    near = difflib.get_close_matches(name, _REGISTRY, n=1)
    hint = f' did you mean "{near[0]}"?' if near else ""
    raise ConfigError(
        f'unknown loss "{name}";{hint} Known: {", ".join(sorted(_REGISTRY))}. '
        "Your own: loss: {name: my_file.py:my_loss}."
    )


def _load_own(address: str) -> Loss:
    """Imports `file.py:function`; the file is the user's own code and runs as such."""
    file, _, attribute = address.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"loss {address}: there is no file {path}.")
    # The module's name holds the whole path: two files of one name must not stand in for each other.
    module_name = f"prospect_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"loss {address}: importing {path} failed: {type(error).__name__}: {error}") from error
    record = getattr(module, attribute, None)
    if not isinstance(record, Loss):
        found = "nothing" if record is None else type(record).__name__
        raise ConfigError(
            f'loss {address}: "{attribute}" in {path} is {found}; expected a function under @prospect.loss(...).'
        )
    return record
