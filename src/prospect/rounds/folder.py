"""The folder of rounds: where each stage leaves its files, and the ledger that says which stages are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from prospect.atomic import write_text
from prospect.config import flat, read_yaml
from prospect.errors import CheckpointError
from prospect.results.rounds import LEDGER, Ledger, Round
from prospect.rounds.recipe import RoundsRecipe
from prospect.run_dir import RunDir
from prospect.training.checkpoints.resume import may_differ
from prospect.training.run_lock import locked

PARTIAL = "samples.partial"
"""Completions as they come; removed when the ledger tells of them."""

# Keys that may be changed between two starts: how many rounds, when they stop, speed, and where the server is.
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
    def teacher(self) -> Path:
        """A teacher's answers to the prompts to learn from."""
        return self.path / "start" / "teacher.jsonl"

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
            CheckpointError: another process writes it, or it holds other rounds, a training run, or rounds to resume.
        """
        if RunDir(self.path).exists():
            raise CheckpointError(f"{self.path} holds a training run. Choose another --output.")
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            if not self.begun:  # what failed before it had anything to keep is in nobody's way
                for path in (self.prompts, self.held_out, self.teacher):
                    path.unlink(missing_ok=True)
            elif not resume:
                raise CheckpointError(
                    f"{self.path} holds rounds that were begun. Go on with --resume, or choose another --output."
                )
            else:
                self._require_same(recipe)
            write_text(self.recipe, yaml.safe_dump(recipe.as_dict(), sort_keys=False, allow_unicode=True))
            yield

    @property
    def begun(self) -> bool:
        """Whether there is anything that must not be made again: a stage, or a part of the first one."""
        written = self.round(0).evaluation / PARTIAL
        return self.ledger.exists() or written.exists() or self.teacher_run.begun()

    def _require_same(self, recipe: RoundsRecipe) -> None:
        before, now = flat(read_yaml(self.recipe)), flat(recipe.as_dict())
        different = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        base = recipe.base.as_dict()
        free = (key for key in different if key != "output" and may_differ(key, base))  # the ledger names its folders
        changed = sorted(key for key in different - {*free} if not _is_free(key))
        if changed:
            key = changed[0]
            raise CheckpointError(
                f"{self.path}: {key} was {before.get(key)!r} and is {now.get(key)!r} now, and rounds of two recipes "
                "would be mixed. Put it back, or choose another --output. Only the number of rounds, the stop rules "
                "and what changes no number may differ."
            )

    def read(self) -> Ledger | None:
        """Return the ledger; None where nothing is done yet."""
        return Ledger.read(self.ledger) if self.ledger.exists() else None


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def with_round(ledger: Ledger, entry: Round) -> Ledger:
    """Return the ledger with a round in its place."""
    rounds: Sequence[Round] = [*(one for one in ledger.rounds if one.round != entry.round), entry]
    return ledger.model_copy(update={"rounds": sorted(rounds, key=lambda one: one.round)})
