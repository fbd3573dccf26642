"""Which hyperparameters a loss takes, and which values they may have. No torch."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from prospect.errors import ConfigError


@dataclass(frozen=True)
class Bounds:
    """The legal values of a hyperparameter; infinities are never among them."""

    low: float
    high: float
    with_low: bool
    with_high: bool

    @classmethod
    def parse(cls, text: str) -> Bounds:
        """Read "(0, 1]": a round bracket leaves its bound out."""
        opening, closing = text.strip()[:1], text.strip()[-1:]
        try:
            low, high = (float(part) for part in text.strip()[1:-1].split(","))
        except ValueError:
            raise ConfigError(f'"{text}" is no interval; expected two bounds, such as "(0, 1]".') from None
        if opening not in "([" or closing not in ")]" or not low < high:
            raise ConfigError(f'"{text}" is no interval; expected brackets and a lower bound first: "(0, 1]".')
        return cls(low, high, opening == "[", closing == "]")

    def __contains__(self, value: float) -> bool:
        above = self.low <= value if self.with_low else self.low < value
        below = value <= self.high if self.with_high else value < self.high
        return above and below and abs(value) != float("inf")

    def __str__(self) -> str:
        """As the end of a sentence: ` >= 0 and < 0.5`."""
        parts = []
        if self.low != float("-inf"):
            parts.append(f" {'>=' if self.with_low else '>'} {self.low:g}")
        if self.high != float("inf"):
            parts.append(f" {'<=' if self.with_high else '<'} {self.high:g}")
        return " and".join(parts)


# By name, so that every loss that has a beta refuses the same betas; a loss's own `bounds` win.
BOUNDS: Mapping[str, str] = {
    "beta": "(0, inf)",
    "desirable_weight": "[0, inf)",
    "undesirable_weight": "[0, inf)",
    "label_smoothing": "[0, 0.5]",
    "tau": "(0, inf)",
}


def check_hyperparameters(
    loss: str, known: Collection[str], bounds: Mapping[str, str], given: Mapping[str, Any]
) -> None:
    """Refuse hyperparameters that a loss does not know, or whose value cannot be meant.

    Args:
        loss: its name.
        known: the hyperparameters that it takes.
        bounds: those of its own, by hyperparameter.
        given: the settings of the recipe.

    Raises:
        ConfigError: with the nearest name suggested.
    """
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else "."
            takes = ", ".join(known) or "none"
            raise ConfigError(f'loss {loss} has no hyperparameter "{name}"{hint} It takes {takes}.')
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"loss {loss}: {name} is {value!r}; expected a number.")
        interval = Bounds.parse(bounds_of(name, bounds))
        if value not in interval:
            raise ConfigError(f"loss {loss}: {name} is {value}; expected a finite number{interval}.")


def bounds_of(name: str, bounds: Mapping[str, str]) -> str:
    """Return the legal values of a hyperparameter as they are written: the loss's own, else those of its name."""
    return bounds.get(name) or BOUNDS.get(name, "(-inf, inf)")
