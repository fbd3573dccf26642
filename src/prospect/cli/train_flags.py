"""The commonest keys of a recipe as flags of `prospect train`, of one table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

from prospect import yaml_text
from prospect.config import named_section, set_key
from prospect.errors import UsageError


class Flag(NamedTuple):
    """A flag, and the key that it sets.

    Attributes:
        name: without its dashes.
        key: dotted.
        help: what is said of it.
        choices: values, where there are few.
        several: whether it takes several words, which become a list.
        as_text: whether its value is a name as it stands; others are read as YAML, as those of --set.
    """

    name: str
    key: str
    help: str
    choices: tuple[str, ...] | None = None
    several: bool = False
    as_text: bool = False

    @property
    def dest(self) -> str:
        """What argparse calls it."""
        return self.name.replace("-", "_")


FLAGS = (
    Flag("model", "model.name_or_path", "a folder, run, adapter, .gguf file or hub name", as_text=True),
    Flag("data", "data.train", "paths, globs or a hub dataset", several=True, as_text=True),
    Flag("output", "output", "the run directory (default runs/LOSS)", as_text=True),
    Flag("eval", "data.eval", "held-out feedback: paths, a share (0.1), a number of prompts, or null", several=True),
    Flag("loss", "loss.name", "in place of the recipe's", as_text=True),
    Flag("beta", "loss.beta", "how far the policy may move from the reference: higher is closer"),
    Flag("epochs", "train.epochs", "passes over the feedback"),
    Flag("batch-size", "train.batch_size", "examples of an optimizer step, over all processes"),
    Flag("learning-rate", "train.learning_rate", "the peak"),
    Flag("max-length", "data.max_length", "prompt and completion together, in tokens"),
    Flag("precision", "train.precision", "arithmetic of the passes", choices=("auto", "fp32", "bf16")),
    Flag("seed", "train.seed", "of shuffling, pairing, dropout and sampling"),
)
LORA = Flag("lora", "model.lora", "train an adapter (model.lora.r=16 and so on with --set)")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    for flag in FLAGS:
        nargs = "+" if flag.several else None
        parser.add_argument(
            f"--{flag.name}", dest=flag.dest, nargs=nargs, choices=flag.choices, help=f"{flag.key}: {flag.help}"
        )
    parser.add_argument("--lora", action="store_true", help=f"{LORA.key}: {LORA.help}")


def with_flags(values: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return a recipe with what the flags say; an adapter that the recipe describes stays as it is.

    Raises:
        UsageError: --set says the same key.
    """
    said = dict(values)
    for flag in FLAGS:
        words = getattr(options, flag.dest)
        if words is None:
            continue
        found = [_value(flag, word) for word in (words if flag.several else [words])]
        _refuse_twice(flag, options.set)
        said = set_key(said, flag.key, found[0] if len(found) == 1 else found)
    if options.lora:
        _refuse_twice(LORA, options.set)
        model = named_section("model", said.get("model"))
        if not (isinstance(model, Mapping) and isinstance(model.get("lora"), Mapping)):
            said = set_key(said, LORA.key, True)
    return said


def _value(flag: Flag, word: str) -> Any:
    return word if flag.as_text else yaml_text.parse(word, f"--{flag.name} {word}", flag.key.split("."), lines=False)


def _refuse_twice(flag: Flag, overrides: list[str]) -> None:
    for override in overrides:
        key = override.partition("=")[0]
        if flag.key == key or flag.key.startswith(f"{key}."):
            raise UsageError(f"{flag.key} is said twice: --{flag.name} and --set {override}. Leave one out.")
