"""What a recipe's rounds would do, in lines, before anything is sampled."""

from __future__ import annotations

from prospect.rounds.feedback import label_judge
from prospect.rounds.medium import medium_of
from prospect.rounds.prompts import read_prompts
from prospect.rounds.recipe import RoundsRecipe


def plan_rounds(recipe: RoundsRecipe) -> list[str]:
    """Return in lines what a recipe's rounds would do; nothing is loaded but prompts and judges.

    Raises:
        ProspectError: what `run_rounds` would refuse before it samples.
    """
    settings, base = recipe.rounds, recipe.base
    medium, prompts = medium_of(recipe), read_prompts(recipe)
    judge = label_judge(recipe)
    a_round = len(prompts.questions) if settings.prompts_per_round == "all" else settings.prompts_per_round
    samples = a_round * settings.samples_per_prompt
    return [
        f"protocol    {recipe.protocol.name}, loss {base.loss.name}, {settings.count} rounds at most",
        f"model       {recipe.start}",
        f"prompts     {len(prompts.questions)} to learn from, {a_round} a round; {len(prompts.held_out)} held out",
        f"samples     {samples} a round{medium.sampling}",
        f"judge       {judge.name if judge else 'none'}",
        f"reference   {'the start' if settings.reference == 'start' else 'the model before the round'}; optimizer "
        f"{settings.optimizer}",
        f"output      {recipe.output}",
    ]
