"""Names and hyperparameters of losses, parsed from the source without running it. No torch."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prospect.errors import ConfigError
from prospect.losses.hyperparameters import check_hyperparameters
from prospect.user_code import is_own

# The files of this folder that hold losses.
FILES = ("demonstration", "paired", "reference_free", "reward_model", "sampled", "scored", "token", "unpaired")
# Decorators whose loss's name is not in the file.
_MADE_UNSEEN = r"\bimport \*|\bglobals\(|\bsetattr\(|\b__getattr__\b"


@dataclass(frozen=True)
class Declared:
    """A loss as it is declared: its `hyperparameters`, and the `bounds` that are its own."""

    hyperparameters: tuple[str, ...]
    bounds: Mapping[str, str]


@cache  # a study asks for every run
def declared_losses() -> dict[str, Declared]:
    """Return the declaration under each `@loss` of this folder, by the loss's name."""
    folder = Path(__file__).parent
    texts = ((folder / f"{file}.py").read_text(encoding="utf-8") for file in FILES)
    return dict(sorted(entry for text in texts for entry in _declarations(ast.parse(text))))


def _declarations(module: ast.Module) -> Iterator[tuple[str, Declared]]:
    for function in module.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "loss":
                traits = {keyword.arg: keyword.value for keyword in decorator.keywords}
                name, bounds = (ast.literal_eval(traits[key]) if key in traits else None for key in ("name", "bounds"))
                names = tuple(argument.arg for argument in function.args.kwonlyargs)
                yield name or function.name, Declared(names, bounds or {})


def check_declared(name: str, hyperparameters: Mapping[str, Any]) -> None:
    """Refuse a loss that does not exist, and hyperparameters that it does not have, as far as the source shows it.

    One's own loss must have a file that holds its name; the rest is known once that file has run.

    Raises:
        ConfigError: the error of `get_loss` or `Loss.check`.
    """
    if is_own(name):
        path, attribute = own_file(name)
        text = path.read_text(encoding="utf-8", errors="replace")
        if not re.search(rf"\b{re.escape(attribute)}\b|{_MADE_UNSEEN}", text):
            raise no_loss(name, path, "nothing")
        return
    losses = declared_losses()
    if name not in losses:
        raise unknown_loss(name, losses)
    check_hyperparameters(name, losses[name].hyperparameters, losses[name].bounds, hyperparameters)


def own_file(address: str) -> tuple[Path, str]:
    """Return the file of one's own loss, and the name that the loss has there.

    Raises:
        ConfigError: there is no such file.
    """
    file, _, attribute = address.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"loss {address}: there is no file {path}.")
    return path, attribute


def unknown_loss(name: str, known: Collection[str]) -> ConfigError:
    """Return the refusal of a name that no loss has."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f' did you mean "{near[0]}"?' if near else ""
    return ConfigError(
        f'unknown loss "{name}";{hint} Known: {", ".join(sorted(known))}. Your own: loss: {{name: my_file.py:my_loss}}.'
    )


def no_loss(address: str, path: Path, found: str) -> ConfigError:
    """Return the refusal of a file in which the name is something else."""
    attribute = address.rpartition(":")[2]
    return ConfigError(
        f'loss {address}: "{attribute}" in {path} is {found}; expected a function under @prospect.loss(...).'
    )
