"""The story of the rounds: what is done in which order, each stage in the ledger before the next begins."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prospect import __version__, progress
from prospect.errors import CheckpointError
from prospect.evaluation.contest.judges.base import Judge
from prospect.feedback.files.write import write_jsonl
from prospect.results.rounds import HeldOut, Judged, Ledger, Round, Rows, Stopped
from prospect.rounds.feedback import judge_samples, label_judge, make_judge, write_labels
from prospect.rounds.folder import PARTIAL, RoundFolder, RoundsFolder, with_round
from prospect.rounds.held_out import look
from prospect.rounds.labels import digest_of
from prospect.rounds.medium import RoundsMedium, medium_of
from prospect.rounds.outcomes import Looks, Outcomes, Passed
from prospect.rounds.prompts import Prompts, freeze_prompts, prompts_of_round, read_prompts
from prospect.rounds.protocols import Asked, Gathered
from prospect.rounds.recipe import RoundsRecipe
from prospect.rounds.rows import make_rows
from prospect.rounds.run_recipe import imitation_recipe, training_recipe
from prospect.rounds.stopping import why_stop
from prospect.rounds.training import train_round


@dataclass
class Story:
    """What the rounds hold while they go on; in the order in which it happens."""

    recipe: RoundsRecipe
    folder: RoundsFolder
    ledger: Ledger
    prompts: Prompts
    looks: Looks
    judge: Judge | None
    medium: RoundsMedium
    quiet: bool
    known: float
    begun: float

    @classmethod
    def begin(cls, recipe: RoundsRecipe, folder: RoundsFolder, *, quiet: bool) -> Story:
        """Read prompts and teacher, split off the held-out prompts, and find the ledger of a run before."""
        settings = recipe.rounds
        judge = label_judge(recipe)
        looking = make_judge(settings.label, settings.evaluate.judge) if settings.evaluate.judge else judge
        second = make_judge(settings.label, settings.evaluate.second_judge) if settings.evaluate.second_judge else None
        assert looking is not None, "the recipe is checked"
        medium, judges = medium_of(recipe), [one for one in (judge, looking, second) if one is not None]
        prompts = medium.prepare(read_prompts(recipe), judges, folder.prompts.parent)
        freeze_prompts(folder, prompts)
        looks = Looks(settings.label, prompts.held_out, looking, second, recipe.base.train.seed)
        ledger = folder.read() or _new_ledger(recipe, judge or looking, looks, prompts)
        known = ledger.seconds
        ledger = ledger.model_copy(update={"planned": settings.count, "settings": settings.model_dump(mode="json")})
        return cls(recipe, folder, ledger, prompts, looks, judge, medium, quiet, known, time.monotonic())

    @property
    def start(self) -> str:
        """The model before round 1."""
        return self.ledger.start

    def next_round(self) -> int | None:
        """Return which round is to be made, or finished; None where the rounds end, and the ledger says why."""
        last = self.ledger.rounds[-1]
        if last.held_out is None:  # killed in the middle, or there was nothing to train on
            return last.round if self.ledger.stopped is None else None
        stopped = why_stop(self.ledger.rounds, self.recipe.rounds.stop)
        if stopped is None and last.round >= self.recipe.rounds.count:
            stopped = Stopped(kind="done", text=f"all {last.round} rounds were made.")
        if stopped != self.ledger.stopped:
            self._write(stopped=stopped)
        return last.round + 1 if stopped is None else None

    def prepare_start(self) -> None:
        """Imitate the teacher first where the protocol does, and look at the model before round 1."""
        wanted = self.recipe.rounds.sft_first
        if self.prompts.teacher and (self.recipe.protocol.sft_first if wanted is None else wanted):
            self._imitate()
        if self.ledger.rounds:
            return
        place = self.folder.round(0).evaluation
        found = self._looked(self.start, 0, place, place, place)
        self._say(0, found)
        self._write(Round(round=0, model=self.start, held_out=found))
        (place / PARTIAL).unlink(missing_ok=True)

    def make_round(self, number: int) -> None:
        """Make one round; stages that the ledger has are not made again."""
        self._require_same_judges()
        folder = self.folder.round(number)
        folder.path.mkdir(parents=True, exist_ok=True)
        before = [one for one in self.ledger.rounds if one.round < number and one.is_kept][-1]
        known = [one for one in self.ledger.rounds if one.round == number]
        entry = known[0] if known else Round(round=number, model=str(folder.run.path))
        if entry.rows is None:
            entry = self._feed(entry, folder, before.model)
        if entry.rows is None:
            return  # the ledger says why
        if entry.trained is None:
            entry = self._train(entry, entry.rows, folder, before)
        self._look(entry, folder, before)

    def _require_same_judges(self) -> None:
        """Refuse to go on with a judge whose code, model or question was changed since.

        Raises:
            CheckpointError: naming it.
        """
        start = Outcomes.of(self.folder.round(0).evaluation)
        known: list[tuple[Judge | None, Passed | Judged | None]] = [
            (self.looks.judge, start.judge),
            (self.looks.second, start.second),
            *[(self.judge, one.judged) for one in self.ledger.rounds if one.judged is not None][-1:],
        ]
        for judge, before in known:
            if judge is not None and before is not None and digest_of(judge) != before.identity:
                raise CheckpointError(
                    f"judge {judge.name} is not the one that judged until now: its code, its model or its question was "
                    "changed, and rounds by two judges cannot be compared. Put it back, or choose another --output."
                )

    def _train(self, entry: Round, rows: Rows, folder: RoundFolder, before: Round) -> Round:
        optimizer = self.recipe.rounds.optimizer
        values = training_recipe(
            self.recipe, entry.round, before.model, self.start, folder, rows.weights, self.medium.default_rate
        )
        carried = self.folder.round(before.round).run if before.round and optimizer == "carried" else None
        trained = train_round(values, folder, self.folder.path, optimizer, carried, quiet=self.quiet)
        entry = entry.model_copy(update={"trained": trained})
        self._write(entry)
        return entry

    def _look(self, entry: Round, folder: RoundFolder, before: Round) -> None:
        """Let the round's model answer the held-out prompts."""
        start, last = self.folder.round(0).evaluation, self.folder.round(before.round).evaluation
        place, number = folder.evaluation, entry.round
        found = self._looked(entry.model, number, place, start, last)
        entry = entry.model_copy(update={"held_out": found})
        if not entry.is_kept:
            note = f"it is shown to be worse than round {before.round}, and what follows starts from that one again"
            entry = entry.model_copy(update={"notes": [*entry.notes, note]})
        self._say(number, found)
        self._write(entry)
        (place / PARTIAL).unlink(missing_ok=True)

    def _looked(self, model: str, number: int, place: Path, start: Path, last: Path) -> HeldOut:
        settings = self.recipe.rounds.evaluate
        return look(self.medium, settings, self.looks, model, self.start, number, place, start, last)

    def _feed(self, entry: Round, folder: RoundFolder, model: str) -> Round:
        """Sample, judge, and freeze the rows."""
        settings, number = self.recipe.rounds, entry.round
        questions = prompts_of_round(self.recipe, self.prompts.questions, number)
        begun = time.monotonic()
        prompts, count = [question.prompt for question in questions], settings.samples_per_prompt
        seed = _seed(self.recipe.base.train.seed, number)
        with progress.phase(f"round {number}: {count} samples of {len(prompts)} prompts"):
            draws = self.medium.draw(model, prompts, count, seed, number=number, folder=folder.path)
        write_jsonl(draws.flat, folder.samples)
        entry = entry.model_copy(update={"drawn": self.medium.describe(draws, time.monotonic() - begun)})
        self._write(entry)
        asked, judged = judge_samples(
            settings.label,
            self.judge,
            questions,
            draws.rows,
            self.prompts.teacher,
            round_number=number,
            verdicts=folder.verdicts,
            compares=self.recipe.protocol.compares,
        )
        write_labels(folder.labels, asked)
        entry = entry.model_copy(update={"judged": judged})
        earlier = [self.folder.round(n) for n in range(number - 1, 0, -1)]
        made = make_rows(self.recipe, self.medium, self._gathered(asked, number, model), folder, earlier)
        notes = [made.note] if made.note else []
        entry = entry.model_copy(update={"rows": made.rows, "notes": notes})
        if judged is not None:
            progress.note(f"round {number}: {judged.desirable} thumbs up, {judged.undesirable} down")
        self._write(entry, stopped=made.stopped)
        (folder.path / PARTIAL).unlink(missing_ok=True)
        return entry

    def _gathered(self, asked: Sequence[Asked], number: int, model: str) -> Gathered:
        settings = self.recipe.rounds
        return Gathered(
            asked,
            round=number,
            source=f"round {number}",
            model=model,
            judge=self.judge.name if self.judge else None,
            positives=settings.positives,
            pairs=settings.pairs,
            seed=self.recipe.base.train.seed,
        )

    def _imitate(self) -> None:
        """Train on the teacher's answers by sft, once."""
        run = self.folder.teacher_run
        if not run.provenance().finished:
            values = imitation_recipe(self.recipe, self.folder)
            train_round(values, RoundFolder(run.path.parent), self.folder.path, quiet=self.quiet)
        self.ledger = self.ledger.model_copy(update={"start": str(run.path)})

    def _write(self, entry: Round | None = None, *, stopped: Stopped | None = None) -> None:
        seconds = round(self.known + time.monotonic() - self.begun, 2)
        ledger = with_round(self.ledger, entry) if entry is not None else self.ledger
        self.ledger = ledger.model_copy(update={"seconds": seconds, "stopped": stopped})
        self.ledger.write(self.folder.ledger)

    def _say(self, number: int, found: Any) -> None:
        rate = found.rate
        who = f"round {number}" if number else "the start"
        progress.note(f"{who}: {rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}) of {rate.n} held-out samples pass")


def _new_ledger(recipe: RoundsRecipe, judge: Judge, looks: Looks, prompts: Prompts) -> Ledger:
    settings = recipe.rounds
    return Ledger(
        prospect=__version__,
        protocol=recipe.protocol.name,
        loss=recipe.base.loss.name,
        start=recipe.start,
        judge=judge.name,
        second_judge=looks.second.name if looks.second else None,
        held_out_judge=looks.judge.name if looks.judge.name != judge.name else None,
        compares=not looks.judge.gives_scores,
        reference=settings.reference,
        optimizer=settings.optimizer,
        settings=settings.model_dump(mode="json"),
        prompts=len(prompts.questions),
        held_out_prompts=len(prompts.held_out),
        planned=settings.count,
        rounds=[],
        seconds=0.0,
    )


def _seed(seed: int, number: int) -> int:
    """Return the seed of a round's samples: each round draws anew."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{number}".encode(), digest_size=4).digest(), "little")
