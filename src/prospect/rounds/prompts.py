"""The prompts of rounds: which are held out, which a round asks, and what a teacher answers to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from prospect.atomic import write_text
from prospect.errors import CheckpointError, ConfigError, DataError
from prospect.evaluation.answers.asked import Question, read_questions
from prospect.feedback.convert.verdicts import to_demonstrations
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.write import as_columns, encoded
from prospect.feedback.records import Demonstration
from prospect.feedback.split import number_held_out, prompt_key, prompt_rank
from prospect.rounds.folder import RoundsFolder
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
    wanted, seed = settings.evaluate.prompts, recipe.base.train.seed
    if isinstance(wanted, str):
        held_out = read_questions(wanted, target=settings.target)
        chosen, found = {one.key for one in held_out}, f"a file of {len(held_out)}"
    else:
        number = number_held_out(int(wanted) if wanted >= 1 else wanted, len(questions))
        chosen = set(sorted((one.key for one in questions), key=lambda key: prompt_rank(key, seed))[:number])
        held_out, found = [one for one in questions if one.key in chosen], f"{number} of {len(questions)}"
    if len(held_out) < 2:
        raise ConfigError(
            f"rounds.evaluate.prompts is {wanted!r}, which is {found} prompts; expected at least 2 to say what a round "
            "has brought. Hold out more."
        )
    return [one for one in questions if one.key not in chosen], held_out


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
    seed = recipe.base.train.seed + 1  # another order than that of the held-out prompts
    ranked = sorted(questions, key=lambda one: prompt_rank(one.key, seed))
    return ranked[(number - 1) * wanted : number * wanted]


def freeze_prompts(folder: RoundsFolder, prompts: Prompts) -> None:
    """Write the prompts into the folder of the rounds; where they are there, refuse others.

    Raises:
        CheckpointError: the files have changed since the rounds were begun.
    """
    answers = [one for some in prompts.teacher.values() for one in some]
    texts = {
        folder.prompts: _as_text(prompts.questions),
        folder.held_out: _as_text(prompts.held_out),
        folder.teacher: b"".join(encoded(answers, folder.teacher)).decode(),
    }
    for path, text in texts.items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise CheckpointError(
                f"{path}: the rounds were begun with these prompts or answers, and the files of the recipe hold others "
                "now. What was held out might be learnt from. Put them back, or choose another --output."
            )
    for path, text in texts.items():
        if text:
            write_text(path, text)


def _as_text(questions: Sequence[Question]) -> str:
    """Return lines of `prompt`, and `target` where there is one."""
    lines = []
    for one in questions:
        row = Demonstration(prompt=one.prompt, completion="", id=one.key, where=one.key)
        line = {"prompt": as_columns(row)["prompt"], **({} if one.target is None else {"target": one.target})}
        lines.append(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    return "".join(lines)
