"""Judges by the kind that their names begin with. A class under `@judge` in a file of this folder is registered."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from glob import glob
from pathlib import Path
from typing import TypeVar

from prospect.errors import ConfigError
from prospect.evaluation.contest.judges.base import Judge

_REGISTRY: dict[str, type[Judge]] = {}
_FORMS: dict[str, tuple[str, ...]] = {}
Kind = TypeVar("Kind", bound=type[Judge])


def judge(*forms: str) -> Callable[[Kind], Kind]:
    """Register a class of judges.

    Its `named` makes a judge of what follows `KIND:` in a name; the keyword-only arguments of `named` are the settings
    that it takes (`rubric`, `endpoint_settings`).

    Args:
        forms: the names that it takes, for help and errors: `reward:MODEL`. What is before the first colon is its kind.

    Raises:
        ConfigError: forms of several kinds or of none, or a kind that is taken.
    """
    kinds = {form.partition(":")[0] for form in forms if form.partition(":")[2]}
    if len(kinds) != 1:
        raise ConfigError(f"@judge({', '.join(map(repr, forms))}): expected forms of one kind, such as reward:MODEL.")
    (kind,) = kinds

    def register(cls: Kind) -> Kind:
        taken = _REGISTRY.get(kind)
        if taken is not None and taken.__module__ != cls.__module__:
            raise ConfigError(f'a judge of kind "{kind}" exists already, in {taken.__module__}; choose another kind.')
        _REGISTRY[kind], _FORMS[kind] = cls, forms
        return cls

    return register


def all_judges() -> dict[str, type[Judge]]:
    """Return every registered class by its kind."""
    _import_folder()
    return dict(sorted(_REGISTRY.items()))


def forms() -> list[str]:
    """Return the forms of all names, kind by kind."""
    return [form for kind in all_judges() for form in _FORMS[kind]]


def kinds_with(setting: str) -> list[str]:
    """Return the kinds whose `named` takes a setting."""
    return [kind for kind, cls in all_judges().items() if setting in inspect.signature(cls.named).parameters]


def files_named(rest: str) -> list[str]:
    """Return the files that a name's rest stands for: those that match, where it is a glob of any, else itself."""
    return sorted(glob(rest)) or [rest]  # noqa: PTH207  the pattern may be absolute


@cache
def _import_folder() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
