"""The recipes of the training runs: of each round, and of the imitation of a teacher before round 1."""

from __future__ import annotations

from typing import Any

from prospect.losses import get_loss
from prospect.rounds.folder import RoundFolder, RoundsFolder
from prospect.rounds.recipe import RoundsRecipe


def imitation_recipe(recipe: RoundsRecipe, folder: RoundsFolder) -> dict[str, Any]:
    """Return the recipe of sft on a teacher's answers: as in the rounds, but for the loss and what belongs to it."""
    values = {**recipe.base.as_dict(), "loss": {"name": "sft"}, "reference": {}, "reference_point": "step"}
    values["data"] |= {"train": str(folder.teacher), "eval": None}
    values["train"] |= recipe.rounds.sft.model_dump()
    return {**values, "output": str(folder.teacher_run.path)}


def training_recipe(
    recipe: RoundsRecipe,
    number: int,
    model: str,
    start: str,
    folder: RoundFolder,
    weights: dict[str, float],
    default_rate: float,
) -> dict[str, Any]:
    """Return the recipe of a round's training run.

    Args:
        recipe: of the rounds.
        number: of the round, from 1.
        model: whom it starts from.
        start: the model before round 1.
        folder: of the round.
        weights: class weights.
        default_rate: the learning rate where the recipe names none.
    """
    settings, values = recipe.rounds, recipe.base.as_dict()
    values["data"] |= {"train": str(folder.rows), "eval": None}
    values["model"]["name_or_path"] = model
    values["loss"] |= weights
    values["output"] = str(folder.run.path)
    rate = recipe.base.train.learning_rate or default_rate
    values["train"] |= {
        "learning_rate": rate * settings.learning_rate_factor ** (number - 1),
        "seed": recipe.base.train.seed + number - 1,
    }
    if settings.optimizer == "carried":
        values["train"]["scheduler"] = "constant"
        values["train"]["warmup"] = values["train"]["warmup"] if number == 1 else 0.0
    if model != start:
        _go_on(recipe, values, start)
    return values


def _go_on(recipe: RoundsRecipe, values: dict[str, Any], start: str) -> None:
    """Let a later round train the same weights on, and compare with the model that was asked for."""
    config = recipe.base
    adapter = config.model.lora is not None or config.model.adapter == "continue"
    if adapter:  # one adapter is trained through all rounds
        values["model"] |= {"lora": None, "adapter": "continue"}
    if recipe.rounds.reference == "previous" or not get_loss(config.loss.name).needs_reference:
        return
    if config.reference.name_or_path is not None or config.reference.sync or config.loss.humanline:
        return  # the recipe's own, or one that follows the policy
    if adapter and config.model.lora is not None:
        values["reference"] |= {"kind": "adapter_off"}  # what the adapter sits on is the start
    else:
        values["reference"] |= {"name_or_path": start, "kind": "auto"}
