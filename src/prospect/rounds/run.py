"""run_rounds(recipe): sample, label, make rows, train, look, and again; each stage on disk before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect import progress
from prospect.errors import RunStopped
from prospect.models.device import on_device
from prospect.results.rounds import Ledger
from prospect.rounds.folder import RoundsFolder
from prospect.rounds.recipe import RoundsRecipe, load_rounds
from prospect.rounds.story import Story
from prospect.training.stopping import listening

After = Callable[[Path], object]
"""Told the folder before every round and at the end, to write a page of it."""


def run_rounds(
    source: str | Path | Mapping[str, Any] | RoundsRecipe,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
    after: After | None = None,
) -> Ledger:
    """Align a model in rounds on what it writes itself.

    Args:
        source: a recipe: a YAML file or a mapping; see `RoundsSettings`.
        overrides: `key.path=value` strings that win over the recipe.
        resume: go on where rounds were stopped or killed, to the same weights.
        quiet: print nothing.
        after: told the folder before every round and at the end.

    Returns:
        The ledger: what every round did, how its model does on held-out prompts, and why the rounds ended.

    Raises:
        ProspectError: one of its kinds, saying what, where, found and what to do.
        RunStopped: SIGINT or SIGTERM came; a KeyboardInterrupt.
    """
    recipe = source if isinstance(source, RoundsRecipe) else load_rounds(source, overrides)
    folder = RoundsFolder(Path(recipe.output))
    try:
        with (
            on_device(recipe.base.train.device),
            progress.shown("prospect rounds", quiet=quiet),
            listening(quiet=quiet),  # a stage keeps what it has as it comes, so it may end on the spot
            folder.claimed(recipe, resume=resume),
        ):
            return _make_all(Story.begin(recipe, folder, quiet=quiet), after)
    except RunStopped as stop:
        raise RunStopped(
            f"stopped; what is done is kept in {folder.path}. Continue with the same command and --resume.", stop.signal
        ) from None


def _make_all(story: Story, after: After | None) -> Ledger:
    """Make the rounds that are left."""
    story.prepare_start()
    number = story.next_round()
    while number is not None:
        _report(story, after)
        story.make_round(number)
        number = story.next_round()
    _report(story, after)
    return story.ledger


def _report(story: Story, after: After | None) -> None:
    if after is not None:
        after(story.folder.path)
