"""The prompts of rounds: which are held out, which a round asks, and what a teacher answers to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from prospect.atomic import write_text
from prospect.errors import CheckpointError, ConfigError, DataError
from prospect.evaluation.answers.asked import Question, read_questions
from prospect.feedback.convert.verdicts import to_demonstrations
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.write import as_columns
from prospect.feedback.records import Demonstration
from prospect.feedback.split import number_held_out, prompt_key, prompt_rank
from prospect.rounds.recipe import RoundsRecipe


class Prompts(NamedTuple):
    """The prompts of all rounds.

    Attributes:
        questions: to learn from.
        held_out: never sampled for training.
        teacher: a teacher's answers, by the prompt's key; none to held-out prompts.
    """

    questions: list[Question]
    held_out: list[Question]
    teacher: dict[str, list[Demonstration]]


def read_prompts(recipe: RoundsRecipe) -> Prompts:
    """Return the prompts of a recipe, split once for all rounds.

    Raises:
        ConfigError: fewer than two prompts would be held out.
        DataError: files that cannot be read, no prompts to learn from, or fewer than the rounds ask.
    """
    questions, held_out = _split(recipe)
    teacher = _teacher(recipe, held_out)
    if recipe.protocol.needs_teacher and recipe.rounds.label.judge is None:
        questions = [one for one in questions if one.key in teacher]  # nobody says anything of the others' samples
    _require_enough(recipe, questions)
    return Prompts(questions, held_out, teacher)


def _split(recipe: RoundsRecipe) -> tuple[list[Question], list[Question]]:
    """Return the prompts to learn from and the held-out ones; which are held out depends on their text and the seed."""
    settings = recipe.rounds
    questions = read_questions(settings.prompts, target=settings.target)
    wanted = settings.evaluate.prompts
    if isinstance(wanted, str):
        held_out = read_questions(wanted, target=settings.target)
        kept = {one.key for one in held_out}
        return [one for one in questions if one.key not in kept], held_out
    count = int(wanted) if wanted >= 1 else wanted
    number = number_held_out(count, len(questions))
    if number < 2:
        raise ConfigError(
            f"rounds.evaluate.prompts is {wanted!r}, which is {number} of {len(questions)} prompts; expected at "
            "least 2 to say what a round has brought. Hold out more."
        )
    ranked = sorted(questions, key=lambda one: prompt_rank(one.key, recipe.base.train.seed))
    chosen = {one.key for one in ranked[:number]}
    return [one for one in questions if one.key not in chosen], [one for one in questions if one.key in chosen]


def _teacher(recipe: RoundsRecipe, held_out: Sequence[Question]) -> dict[str, list[Demonstration]]:
    """Return a teacher's answers by prompt, without those to held-out prompts."""
    if recipe.rounds.teacher is None:
        return {}
    hidden = {one.key for one in held_out}
    found: dict[str, list[Demonstration]] = {}
    for row in to_demonstrations(load_feedback(recipe.rounds.teacher)):
        key = prompt_key(row.prompt)
        if key not in hidden:
            found.setdefault(key, []).append(row)
    if not found:
        raise DataError(
            f"{recipe.rounds.teacher}: holds no good answer to a prompt that is not held out; expected some."
        )
    return found


def _require_enough(recipe: RoundsRecipe, questions: Sequence[Question]) -> None:
    settings = recipe.rounds
    if not questions:
        raise DataError(f"{settings.prompts}: no prompt is left to learn from. Bring more, or hold out fewer.")
    wanted = settings.prompts_per_round
    if wanted != "all" and wanted * settings.count > len(questions):
        raise DataError(
            f"{settings.prompts}: {len(questions)} prompts are there to learn from, and {settings.count} rounds of "
            f"{wanted} fresh ones take {wanted * settings.count}. Bring more, lower rounds.prompts_per_round or "
            "rounds.count, or set prompts_per_round: all."
        )


def prompts_of_round(recipe: RoundsRecipe, questions: Sequence[Question], number: int) -> list[Question]:
    """Return a round's share of the prompts: all, or fresh ones in an order that depends on their text and the seed."""
    wanted = recipe.rounds.prompts_per_round
    if wanted == "all":
        return list(questions)
    ranked = sorted(questions, key=lambda one: prompt_rank(one.key, recipe.base.train.seed + 1))
    return ranked[(number - 1) * wanted : number * wanted]


def write_prompts(path: Path, questions: Sequence[Question]) -> None:
    """Write rows of `prompt`, and `target` where there is one.

    Raises:
        CheckpointError: other prompts were written there before: rounds of two sets of prompts would be mixed.
    """
    lines = []
    for one in questions:
        row = Demonstration(prompt=one.prompt, completion="", id=one.key, where=one.key)
        line = {"prompt": as_columns(row)["prompt"], **({} if one.target is None else {"target": one.target})}
        lines.append(json.dumps(line, ensure_ascii=False))
    text = "".join(f"{line}\n" for line in lines)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise CheckpointError(
            f"{path}: holds other prompts than the recipe's files now give, and held-out prompts would change between "
            "rounds. Put the files back, or choose another --output."
        )
    write_text(path, text)
