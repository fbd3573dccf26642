"""A first recipe for given feedback: what the advice chose, each line with its reason in a few words."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect.config import flat
from prospect.errors import DataError
from prospect.feedback.advice.advice import Advice, Facts, Method, advise_method
from prospect.feedback.advice.recipe import LARGE, count_parameters

_BY_KIND: Mapping[str, Method] = {"unpaired": "kto", "paired": "dpo", "scored": "nca", "demonstration": "sft"}
_IN_NAME = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z])", re.IGNORECASE)  # 7B, 0.5B, 135M
_UNITS = {"b": 1e9, "m": 1e6}
_LONGEST, _HEAD = 84, 96  # characters of a comment behind a line, and of a line of the head
_USUAL = {
    "model.name_or_path": "a folder, run, adapter, .gguf file or hub name",
    "data.train": "paths, globs or hub datasets: prospect data inspect",
    "data.max_length": "prompt and completion, in tokens; null: the model's context, at most 2048",
    "loss.name": "prospect losses lists the others",
    "train.eval_every": "steps; null: before the first and after the last",
    "train.seed": "of shuffling, pairing, dropout and sampling",
    "output": "the run directory: model, metrics, report.html",
}


class FirstRecipe(NamedTuple):
    """A recipe as it is written for people.

    Attributes:
        method: the advice's.
        settings: dotted keys with their values.
        comments: dotted keys -> what stands behind them.
        head: lines above.
    """

    method: Method
    settings: dict[str, Any]
    comments: dict[str, str]
    head: list[str]


def first_recipe(
    facts: Facts,
    advice: Advice,
    *,
    model: str,
    files: Sequence[str],
    method: Method | None = None,
    lora: bool | None = None,
    output: str | None = None,
) -> FirstRecipe:
    """Return a recipe that trains as it is written.

    Args:
        facts: what is in the feedback.
        advice: which method suits it.
        model: name or path.
        files: where the feedback is.
        method: another than the advised one.
        lora: whether an adapter is trained; None: from a billion parameters on.
        output: the run directory; None: one under runs that is free.

    Raises:
        DataError: nothing can be learnt from the feedback by any method.
    """
    chosen = method or (advice.method if advice.method != "collect" else _BY_KIND[facts.kind])
    if chosen == "kto" and facts.kind == "unpaired" and not (facts.desirable and facts.undesirable):
        raise DataError(f"nothing to train on yet: {' '.join(advice.reasons)}")
    made = advise_method(chosen, advice.reasons, facts, model=model, data=files)
    assert made.recipe is not None
    settings = {**flat(made.recipe), "data.max_length": None, "train.eval_every": None, "train.seed": 0}
    settings["output"] = output or _free(settings["output"])
    comments = {**_USUAL, **{key: _short(why) for key, why in made.settings.items()}}
    if "data.class_weights" in comments:
        up, down = made.desirable_weight, made.undesirable_weight
        comments["data.class_weights"] = f"from the counts of both classes, here {up:.4g} and {down:.4g}"
    wanted, why = _adapter(model, lora)
    if wanted:
        settings |= {"model.lora.r": 16, "model.lora.alpha": 32}
        comments |= {
            "model.lora": why,
            "model.lora.r": "rank of the adapter",
            "model.lora.alpha": "its output is multiplied by alpha / r",
        }
        comments["train.learning_rate"] += "; adapters often want ten times as much"
    elif why:
        comments["model.name_or_path"] = why
    return FirstRecipe(chosen, settings, comments, _head(chosen, advice))


def _head(method: Method, advice: Advice) -> list[str]:
    lines = [f"{method}, because:"]
    for reason in advice.reasons:
        lines += textwrap.wrap(reason, _HEAD, initial_indent="- ", subsequent_indent="  ")
    if advice.method == "collect":
        lines.append("The advice is to collect more feedback first: this recipe is to try things with.")
    elif advice.method != method:
        lines.append(f"(The reasons are those for {advice.method}; {method} was asked for.)")
    return [*lines, "", "prospect train RECIPE --dry-run shows what would be trained on. Every key: docs/recipe.md."]


def _adapter(model: str, asked: bool | None) -> tuple[bool, str]:
    """Return whether an adapter is trained, and why."""
    count = count_parameters(model) or _count_in_name(model)
    if asked is not None:
        return asked, "asked for" if asked else "all weights are trained"
    if count is None:
        return False, "all weights are trained; with a billion parameters or more, model.lora: true"
    if count < LARGE:
        return False, f"about {count / 1e6:,.0f} million parameters: all weights are trained"
    return True, f"about {count / 1e9:.3g} billion parameters: train an adapter alone"


def _count_in_name(model: str) -> float | None:
    found = [*_IN_NAME.finditer(Path(model).name)]
    return float(found[-1][1]) * _UNITS[found[-1][2].lower()] if found else None


def _free(output: str) -> str:
    number, name = 1, output
    while Path(name).exists():
        number += 1
        name = f"{output}-{number}"
    return name


def _short(why: str) -> str:
    """Return the first clause of a reason."""
    return textwrap.shorten(re.split(r"; |\. ", why, maxsplit=1)[0], _LONGEST, placeholder=" ...")
