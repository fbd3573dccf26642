"""The recipe of a method for given feedback, with a reason for each setting."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prospect.feedback.convert.balance import ClassWeights

if TYPE_CHECKING:
    from prospect.feedback.advice.advice import Facts, Method

MODEL, DATA = "my/model", "feedback.jsonl"
"""What stands in a recipe for what only the user knows, as in recipes/kto.yaml."""

LOSSES = {"kto": "kto", "dpo": "dpo", "cdpo": "dpo", "ipo": "ipo", "nca": "nca", "sft": "sft"}
RATES = {"kto": 5e-6, "nca": 5e-6, "sft": 2e-5}
"""The papers'. The other methods have DPO's, a half to a tenth of KTO's."""
DPO_RATE, LOWEST_DPO_RATE, SHORT_RUN = 2.5e-6, 5e-7, 100
LARGE = 1e9
"""Parameters from which published learning rates hold as they are."""
BATCH, SMALLEST_BATCH, LARGEST_BATCH = 32, 8, 128
RARE_PER_STEP = 4
STEPS_PER_EPOCH, STEPS, MOST_EPOCHS = 20, 100, 3
HELD_OUT, MOST_HELD_OUT = 0.1, 500
TOKENS_PER_WORD = 4 / 3  # of English, with usual tokenizers


class Setting(NamedTuple):
    """A value, and why."""

    value: Any
    why: str


def write_recipe(
    method: Method,
    facts: Facts,
    weights: ClassWeights,
    *,
    model: str | None = None,
    data: str | Sequence[str] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a recipe that trains as it is once the model, data and output are the user's, and setting -> why.

    Args:
        method: kto, dpo, cdpo, ipo, nca or sft.
        facts: what is in the feedback.
        weights: as `class_weights: auto` will set them, for the reason; the recipe leaves them to `auto`, which counts
            the rows that are left after the split.
        model: name or path.
        data: path or paths.
    """
    count, batch = examples(method, facts), batch_size(method, facts)
    passes = epochs(count, batch.value)
    steps = passes.value * -(-count // batch.value)
    chosen: dict[str, Setting] = {
        "data.eval": _held_out(facts),
        **({"data.class_weights": _class_weights(facts, weights)} if method == "kto" else {}),
        **_hyperparameters(method, facts),
        "train.batch_size": batch,
        "train.epochs": passes,
        "train.learning_rate": learning_rate(method, steps, model),
        "train.warmup": Setting(0.1, "a tenth of the steps, the paper's: the first steps see few rows"),
    }
    recipe: dict[str, Any] = {
        "model": {"name_or_path": model or MODEL},
        "data": {"train": _paths(data)},
        "loss": {"name": LOSSES[method]},
        "train": {},
        "output": f"runs/{method}",
    }
    for key, setting in chosen.items():
        section, _, name = key.partition(".")
        recipe[section][name] = setting.value
    return recipe, {key: setting.why for key, setting in chosen.items()}


def examples(method: Method, facts: Facts) -> int:
    """Return how many examples an epoch has: thumbs for kto (two of a pair), pairs, prompts with scores, answers."""
    counts = {"kto": facts.desirable + facts.undesirable, "nca": facts.comparable, "sft": facts.desirable or facts.rows}
    pairs = facts.rows if facts.kind == "paired" else facts.comparable if facts.kind == "scored" else facts.pairable
    return counts.get(method, pairs)


def batch_size(method: Method, facts: Facts) -> Setting:
    """Return examples per step: 32, fewer of little feedback, more where a step would hardly meet the rarer class."""
    count = examples(method, facts)
    size = max(SMALLEST_BATCH, min(BATCH, _power_of_two_up_to(count / STEPS_PER_EPOCH)))
    why = f"usual for {'KTO (the paper names 8 to 128)' if method == 'kto' else 'this method'}"
    if size < BATCH:
        why = f"small, so that {count} examples make about {-(-count // size)} steps an epoch"
    if method != "kto":
        return Setting(size, why)
    rarer = min(facts.desirable, facts.undesirable)
    share = rarer / count
    wanted = RARE_PER_STEP / share
    if wanted <= size:
        return Setting(size, f"{why}; z0 is a mean over it, so it should not be smaller")
    size = min(LARGEST_BATCH, 2 * _power_of_two_up_to(math.ceil(wanted) - 1))
    rare = size * share
    why = f"large, so that a step holds about {rare:.1f} of the rarer class, of which there are {rarer} in {count}"
    return Setting(size, why if rare >= RARE_PER_STEP else f"{why}; {LARGEST_BATCH} is the most the paper names")


def epochs(count: int, batch: int) -> Setting:
    """Return passes over the feedback: one, more where that would be less than 100 steps, three at most."""
    per_epoch = -(-count // batch)
    number = min(MOST_EPOCHS, max(1, -(-STEPS // per_epoch)))
    if number == 1:
        return Setting(1, f"one pass is {per_epoch} steps; a second would mostly teach the rows by heart")
    why = f"a pass is {per_epoch} steps, and about {STEPS} are wanted"
    return Setting(number, f"{why}; more than {MOST_EPOCHS} passes teach the rows by heart" if number == 3 else why)


def learning_rate(method: Method, steps: int, model: str | None) -> Setting:
    """Return the peak learning rate: the papers', times sqrt(1e9 / parameters) for a local model smaller than that.

    Of DPO's range, KTO's rate / 10 to KTO's / 2, a run of 100 steps gets the upper end and one of 2500 the lower, where
    published runs of that length are: 2.5e-6 sqrt(100 / steps). Both square roots are rules of thumb of ours.
    """
    rate, why = _rate(method, steps)
    count = count_parameters(model)
    if count is None:
        return Setting(rate, f"{why}. For models of billions of parameters; smaller ones want more")
    if count >= LARGE:
        return Setting(rate, why)
    scale = math.sqrt(LARGE / count)
    smaller = f"times {scale:.2g} because the model has only {count:,} parameters: a rule of thumb"
    return Setting(float(f"{rate * scale:.2g}"), f"{rate:.2g}, {smaller}. {why[0].upper()}{why[1:]}")


def _rate(method: Method, steps: int) -> tuple[float, str]:
    if method == "kto":
        return RATES[method], "the paper's, for AdamW; 2 to 10 times DPO's. If both rewards fall, take a third of it"
    if method == "nca":
        return RATES[method], "the paper's. If the samples grow strange, take a third of it"
    if method == "sft":
        return RATES[method], "usual for full fine-tuning"
    rate = DPO_RATE * math.sqrt(SHORT_RUN / max(steps, SHORT_RUN))
    rate = float(f"{max(LOWEST_DPO_RATE, rate):.2g}")
    why = f"KTO's 5e-6 is 2 to 10 times DPO's: here {5e-6 / rate:.2g} times, for about {steps} steps. "
    return rate, f"{why}If answers grow long or strange, halve it"


def count_parameters(model: str | None) -> int | None:
    """Return how many parameters the safetensors files of a local model hold; None where there are none to look at."""
    if model is None or not Path(model).is_dir():
        return None
    try:
        shapes = [shape for file in Path(model).glob("*.safetensors") for shape in _shapes(file)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None  # loading the model will say what is wrong with it
    return sum(math.prod(shape) for shape in shapes) or None


def _shapes(file: Path) -> list[list[int]]:
    """Return the shapes in a safetensors header: 8 bytes of length, then that much JSON."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > 100_000_000:  # the format's own limit
            raise ValueError(f"{file}: header of {length} bytes")
        header = json.loads(stream.read(length))
    return [entry["shape"] for name, entry in header.items() if name != "__metadata__"]


def _hyperparameters(method: Method, facts: Facts) -> dict[str, Setting]:
    if method == "sft":
        return {}
    if method == "ipo":
        why = "asks for a margin of 1 / (2 tau) = 0.1 nats a token; the usual 0.1 asks for 5, out of all reach"
        return {"loss.tau": Setting(5.0, why)}
    if method == "nca":
        return {"loss.beta": _nca_beta(facts), "loss.alpha": _alpha(facts)}
    why = "the usual one; (0.1, 0.5] where the model is aligned already, so that it keeps what it can"
    if method == "kto":
        why += ", [0.01, 0.1) after SFT on the same feedback"
    beta = {"loss.beta": Setting(0.1, why)}
    if method != "cdpo":
        return beta
    rate = min(0.45, max(0.01, round(float(facts.flip_rate if facts.flip_rate is not None else 0.2), 2)))
    rests = (
        f"the estimated share of flipped pairs, from {facts.votes} votes" if facts.flip_rate is not None else "usual"
    )
    return {**beta, "loss.label_smoothing": Setting(rate, rests)}


def _nca_beta(facts: Facts) -> Setting:
    """Default to a larger beta than the paper's 0.01, which draws a good answer up by log 2 / beta = 69 nats."""
    tokens = facts.completion_words * TOKENS_PER_WORD
    if not tokens:
        return Setting(0.01, "the paper's; shorter completions than its 300 tokens want a larger one")
    beta = float(f"{min(0.3, max(0.01, 0.01 * 300 / tokens)):.2g}")
    why = "the paper's" if beta == 0.01 else "the paper's 0.01 is for answers of some 300 tokens"
    return Setting(beta, f"{why}; about {tokens:.0f} tokens each here, and the target is log 2 / beta nats an answer")


def _alpha(facts: Facts) -> Setting:
    """Default to a third of the usual spread: the best completion then has e^3 = 20 times the worst's target."""
    if not facts.score_spread:
        return Setting(1.0, "in units of the score; a third of the usual difference between a prompt's best and worst")
    alpha = float(f"{facts.score_spread / 3:.2g}")
    spread = f"{facts.score_spread:.3g}"
    return Setting(alpha, f"a third of {spread}, the median difference between a prompt's best and worst score: ours")


def _class_weights(facts: Facts, weights: ClassWeights) -> Setting:
    quotient = weights.desirable * facts.desirable / (weights.undesirable * facts.undesirable)
    why = f"auto gives desirable_weight {weights.desirable:.4g} and undesirable_weight {weights.undesirable:.4g}, with "
    return Setting("auto", f"{why}which lambda_D n_D / (lambda_U n_U) is {quotient:.2f}, within [1, 4/3]")


def _held_out(facts: Facts) -> Setting:
    if facts.prompts < 2:
        return Setting(None, "there is one prompt only, so none can be held out")
    if facts.prompts * HELD_OUT > MOST_HELD_OUT:
        return Setting(MOST_HELD_OUT, "prompts held out: enough to see a change of a few points")
    return Setting(HELD_OUT, "a tenth of the prompts is held out, with all their rows, to see whether it helped")


def _paths(data: str | Sequence[str] | None) -> str | list[str]:
    if data is None:
        return DATA
    paths = [data] if isinstance(data, str) else [str(path) for path in data]
    return paths[0] if len(paths) == 1 else paths


def _power_of_two_up_to(number: float) -> int:
    """Return the largest power of two that is at most the number; 1 at least."""
    return 2 ** max(0, math.floor(math.log2(max(number, 1))))
