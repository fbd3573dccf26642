"""The folder of rounds: where each stage leaves its files, and the ledger that says which stages are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prospect.atomic import write_text
from prospect.config import read_yaml
from prospect.errors import CheckpointError
from prospect.results.rounds import LEDGER, Ledger, Round
from prospect.rounds.recipe import RoundsRecipe
from prospect.run_dir import RunDir
from prospect.training.run_lock import locked

# Keys that may be changed between two starts: how many rounds, when they stop, and what does not change a number.
FREE = ("rounds.count", "rounds.stop", "rounds.sample_batch", "rounds.sampler", "rounds.serve")


@dataclass(frozen=True)
class RoundFolder:
    """Where one round lies; the start is round 0."""

    path: Path

    @property
    def samples(self) -> Path:
        """What the policy wrote: rows of prompt and completion."""
        return self.path / "samples.jsonl"

    @property
    def labels(self) -> Path:
        """A line for each different sample: its score and its thumb."""
        return self.path / "labels.jsonl"

    @property
    def verdicts(self) -> Path:
        """What a judge said, kept as it came."""
        return self.path / "verdicts.jsonl"

    @property
    def rows(self) -> Path:
        """The frozen dataset that the round trains on."""
        return self.path / "rows"

    @property
    def run(self) -> RunDir:
        """The round's training run."""
        return RunDir(self.path / "run")

    @property
    def evaluation(self) -> Path:
        """The folder of what the round's model wrote to held-out prompts, and what judges say of it."""
        return self.path / "evaluation"


@dataclass(frozen=True)
class RoundsFolder:
    """Where rounds lie."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe."""
        return self.path / "rounds.yaml"

    @property
    def ledger(self) -> Path:
        """What is done."""
        return self.path / LEDGER

    @property
    def prompts(self) -> Path:
        """The prompts to learn from."""
        return self.path / "start" / "prompts.jsonl"

    @property
    def held_out(self) -> Path:
        """The prompts that are never sampled for training."""
        return self.path / "start" / "held_out.jsonl"

    @property
    def teacher_run(self) -> RunDir:
        """The run of sft on a teacher's answers, before round 1."""
        return RunDir(self.path / "start" / "run")

    def round(self, number: int) -> RoundFolder:
        """Return where a round lies."""
        return RoundFolder(self.path / ("start" if number == 0 else f"round-{number}"))

    @contextmanager
    def claimed(self, recipe: RoundsRecipe, *, resume: bool) -> Iterator[None]:
        """Hold the folder as its only writer, with this recipe in it.

        Raises:
            CheckpointError: another process writes it, it holds other rounds, or there is nothing to resume.
        """
        begun = self.ledger.exists()
        if begun and not resume:
            raise CheckpointError(
                f"{self.path} holds rounds that were begun. Go on with --resume, or choose another --output."
            )
        if resume and not begun and self.recipe.exists():
            begun = True  # killed before the first stage was done
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            if begun:
                self._require_same(recipe)
            write_text(self.recipe, yaml.safe_dump(recipe.as_dict(), sort_keys=False, allow_unicode=True))
            yield

    def _require_same(self, recipe: RoundsRecipe) -> None:
        before, now = (flat(values) for values in (read_yaml(self.recipe), recipe.as_dict()))
        changed = sorted(
            key
            for key in before.keys() | now.keys()
            if before.get(key) != now.get(key) and not any(key == free or key.startswith(f"{free}.") for free in FREE)
        )
        if changed:
            key = changed[0]
            raise CheckpointError(
                f"{self.path}: {key} was {before.get(key)!r} and is {now.get(key)!r} now, and rounds of two recipes "
                "would be mixed. Put it back, or choose another --output. Only the number of rounds and the stop rules "
                "may change."
            )

    def read(self) -> Ledger | None:
        """Return the ledger; None where nothing is done yet."""
        return Ledger.read(self.ledger) if self.ledger.exists() else None


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as dotted keys."""
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def with_round(ledger: Ledger, entry: Round) -> Ledger:
    """Return the ledger with a round in its place."""
    rounds: Sequence[Round] = [*(one for one in ledger.rounds if one.round != entry.round), entry]
    return ledger.model_copy(update={"rounds": sorted(rounds, key=lambda one: one.round)})
