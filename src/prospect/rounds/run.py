"""run_rounds(recipe): sample, label, make rows, train, look, and again; each stage on disk before the next begins."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prospect import __version__, progress
from prospect.evaluation.answers.answers import Answer
from prospect.evaluation.answers.asked import Question
from prospect.evaluation.answers.generate import as_rows
from prospect.evaluation.answers.writers import Generation
from prospect.evaluation.contest.judges.base import Judge
from prospect.evaluation.contest.text_measures import measure_texts
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.records import Demonstration
from prospect.results.rounds import Drawn, Ledger, Round, Stopped
from prospect.rounds.feedback import judge_samples, make_judge, write_labels
from prospect.rounds.folder import RoundFolder, RoundsFolder, with_round
from prospect.rounds.held_out import PARTIAL, look
from prospect.rounds.outcomes import Looks
from prospect.rounds.prompts import prompts_of_round, read_prompts, write_prompts
from prospect.rounds.protocols import Asked, Gathered
from prospect.rounds.recipe import RoundsRecipe, load_rounds
from prospect.rounds.rows import make_rows, training_recipe
from prospect.rounds.sampling import Sampler
from prospect.rounds.stopping import why_stop
from prospect.rounds.training import train_round

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
    with progress.shown("prospect rounds", quiet=quiet), folder.claimed(recipe, resume=resume):
        story = _Story.begin(recipe, folder)
        story.prepare_start()
        while story.goes_on():
            if after is not None:
                after(folder.path)
            story.make_round(len(story.ledger.rounds) if story.whole else story.ledger.rounds[-1].round)
        if after is not None:
            after(folder.path)
        return story.ledger


def plan_rounds(recipe: RoundsRecipe) -> list[str]:
    """Return in lines what a recipe's rounds would do; nothing is loaded but prompts and judges.

    Raises:
        ProspectError: what `run_rounds` would refuse before it samples.
    """
    settings, base = recipe.rounds, recipe.base
    prompts = read_prompts(recipe)
    judge = make_judge(settings.label, settings.label.judge).name if settings.label.judge else "none"
    a_round = len(prompts.questions) if settings.prompts_per_round == "all" else settings.prompts_per_round
    samples = a_round * settings.samples_per_prompt
    return [
        f"protocol    {recipe.protocol.name}, loss {base.loss.name}, {settings.count} rounds at most",
        f"model       {recipe.start}",
        f"prompts     {len(prompts.questions)} to learn from, {a_round} a round; {len(prompts.held_out)} held out",
        f"samples     {samples} a round, of {settings.max_new_tokens} tokens at most, at temperature "
        f"{settings.temperature:g} and top_p {settings.top_p:g}",
        f"judge       {judge}",
        f"reference   {'the start' if settings.reference == 'start' else 'the model before the round'}; optimizer "
        f"{settings.optimizer}",
        f"output      {recipe.output}",
    ]


@dataclass
class _Story:
    """What the rounds hold while they go on; in the order in which it happens."""

    recipe: RoundsRecipe
    folder: RoundsFolder
    ledger: Ledger
    questions: list[Question]
    looks: Looks
    judge: Judge | None
    teacher: dict[str, list[Demonstration]]
    sampler: Sampler
    known: float
    begun: float

    @classmethod
    def begin(cls, recipe: RoundsRecipe, folder: RoundsFolder) -> _Story:
        """Read prompts and teacher, split off the held-out prompts, and find the ledger of a run before."""
        settings = recipe.rounds
        judge = make_judge(settings.label, settings.label.judge) if settings.label.judge else None
        looking = make_judge(settings.label, settings.evaluate.judge) if settings.evaluate.judge else judge
        second = make_judge(settings.label, settings.evaluate.second_judge) if settings.evaluate.second_judge else None
        assert looking is not None, "the recipe is checked"
        questions, held_out, teacher = read_prompts(recipe)
        write_prompts(folder.prompts, questions)
        write_prompts(folder.held_out, held_out)
        ledger = folder.read()
        if ledger is None:
            ledger = _new_ledger(recipe, judge or looking, looking, second, questions, held_out)
        known = ledger.seconds
        ledger = ledger.model_copy(update={"planned": settings.count, "settings": settings.model_dump(mode="json")})
        looks = Looks(settings.label, held_out, looking, second, recipe.base.train.seed)
        return cls(recipe, folder, ledger, questions, looks, judge, teacher, Sampler(recipe), known, time.monotonic())

    @property
    def whole(self) -> bool:
        """Whether the last round of the ledger has all its stages."""
        return self.ledger.rounds[-1].held_out is not None

    @property
    def start(self) -> str:
        """The model before round 1."""
        return self.ledger.start

    def goes_on(self) -> bool:
        """Settle whether there is a further round, or a half one."""
        if not self.whole:
            stopped = self.ledger.stopped
            return stopped is None or stopped.kind == "done"
        done = self.ledger.rounds[-1].round
        stopped = why_stop(self.ledger.rounds, self.recipe.rounds.stop)
        if stopped is None and done >= self.recipe.rounds.count:
            stopped = Stopped(kind="done", text=f"all {done} rounds were made.")
        self._write(stopped=stopped)
        return stopped is None

    def prepare_start(self) -> None:
        """Imitate the teacher first where the protocol does, and look at the model before round 1."""
        wanted = self.recipe.rounds.sft_first
        if self.teacher and (self.recipe.protocol.sft_first if wanted is None else wanted):
            self._imitate()
        if self.ledger.rounds:
            return
        place = self.folder.round(0).evaluation
        found = look(self.sampler, self.looks, self.start, self.start, 0, place, place, place)
        self._say(0, found)
        self._write(Round(round=0, model=self.start, held_out=found))
        (place / PARTIAL).unlink(missing_ok=True)

    def make_round(self, number: int) -> None:
        """Make one round; stages that the ledger has are not made again."""
        folder = self.folder.round(number)
        earlier = [self.folder.round(n) for n in range(number - 1, 0, -1)]
        before = [one for one in self.ledger.rounds if one.round < number and one.is_kept][-1]
        entry = next((one for one in self.ledger.rounds if one.round == number), None)
        entry = entry or Round(round=number, model=str(folder.run.path))
        folder.path.mkdir(parents=True, exist_ok=True)
        if entry.rows is None:
            entry = self._feed(entry, folder, earlier, before.model)
        if entry.rows is None:
            return  # the ledger says why
        if entry.trained is None:
            values = training_recipe(self.recipe, number, before.model, self.start, folder, entry.rows.weights)
            carried = earlier[0].run if earlier and self.recipe.rounds.optimizer == "carried" else None
            trained = train_round(values, folder, self.folder.path, self.recipe.rounds.optimizer, carried)
            entry = entry.model_copy(update={"trained": trained})
            self._write(entry)
        start, last = self.folder.round(0), self.folder.round(before.round)
        found = look(
            self.sampler,
            self.looks,
            entry.model,
            self.start,
            number,
            folder.evaluation,
            start.evaluation,
            last.evaluation,
        )
        entry = entry.model_copy(update={"held_out": found})
        if not entry.is_kept:
            note = f"it is shown to be worse than round {before.round}, and what follows starts from that one again"
            entry = entry.model_copy(update={"notes": [*entry.notes, note]})
        self._say(number, found)
        self._write(entry)
        (folder.evaluation / PARTIAL).unlink(missing_ok=True)

    def _feed(self, entry: Round, folder: RoundFolder, earlier: Sequence[RoundFolder], model: str) -> Round:
        """Sample, judge, and freeze the rows."""
        settings, number = self.recipe.rounds, entry.round
        questions = prompts_of_round(self.recipe, self.questions, number)
        begun = time.monotonic()
        partial = folder.path / PARTIAL
        generation = Generation(
            settings.samples_per_prompt,
            settings.max_new_tokens,
            settings.temperature,
            settings.top_p,
            _seed(self.recipe.base.train.seed, number),
        )
        prompts = [question.prompt for question in questions]
        with progress.phase(f"round {number}: {settings.samples_per_prompt} samples of {len(prompts)} prompts"):
            answers = self.sampler.answer(model, prompts, generation, number=number, keep=partial)
        write_jsonl(as_rows(prompts, answers), folder.samples)
        entry = entry.model_copy(update={"drawn": _drawn(answers, time.monotonic() - begun)})
        self._write(entry)
        asked, judged = judge_samples(
            settings.label,
            self.judge,
            questions,
            answers,
            self.teacher,
            round_number=number,
            verdicts=folder.verdicts,
            compares=self.recipe.protocol.compares,
        )
        write_labels(folder.labels, asked)
        entry = entry.model_copy(update={"judged": judged})
        made = make_rows(self.recipe, self._gathered(asked, number, model), folder, earlier)
        notes = [made.note] if made.note else []
        entry = entry.model_copy(update={"rows": made.rows, "notes": notes})
        if judged is not None:
            progress.note(f"round {number}: {judged.desirable} thumbs up, {judged.undesirable} down")
        self._write(entry, stopped=made.stopped)
        partial.unlink(missing_ok=True)
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
        rows = run.path.parent / "teacher.jsonl"
        if not run.provenance().finished:
            rows.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl((one for some in self.teacher.values() for one in some), rows)
            values = {**self.recipe.base.as_dict(), "loss": {"name": "sft"}, "output": str(run.path)}
            values["data"] = {**values["data"], "train": str(rows), "eval": None}
            values["train"] = {**values["train"], **self.recipe.rounds.sft.model_dump()}
            values |= {"reference": {}, "reference_point": "step"}
            train_round(values, RoundFolder(run.path.parent), self.folder.path, "fresh", None)
        self.ledger = self.ledger.model_copy(update={"start": str(run.path)})

    def _write(self, entry: Round | None = None, *, stopped: Stopped | None = None) -> None:
        seconds = round(self.known + time.monotonic() - self.begun, 2)
        ledger = with_round(self.ledger, entry) if entry is not None else self.ledger
        self.ledger = ledger.model_copy(update={"seconds": seconds, "stopped": stopped})
        self.ledger.write(self.folder.ledger)

    def _say(self, number: int, found: Any) -> None:
        rate = found.rate
        who = f"round {number}" if number else "the start"
        progress.note(f"{who}: {rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}) of {rate.n} held-out prompts pass")


def _new_ledger(
    recipe: RoundsRecipe,
    judge: Judge,
    looking: Judge,
    second: Judge | None,
    questions: Sequence[Question],
    held_out: Sequence[Question],
) -> Ledger:
    settings = recipe.rounds
    return Ledger(
        prospect=__version__,
        protocol=recipe.protocol.name,
        loss=recipe.base.loss.name,
        start=recipe.start,
        judge=judge.name,
        second_judge=second.name if second else None,
        held_out_judge=looking.name if looking.name != judge.name else None,
        compares=not looking.gives_scores,
        reference=settings.reference,
        optimizer=settings.optimizer,
        settings=settings.model_dump(mode="json"),
        prompts=len(questions),
        held_out_prompts=len(held_out),
        planned=settings.count,
        rounds=[],
        seconds=0.0,
    )


def _drawn(answers: Sequence[Sequence[Answer]], seconds: float) -> Drawn:
    flat = [one for some in answers for one in some]
    measured = measure_texts([one.text for one in flat])
    return Drawn(
        prompts=len(answers),
        samples=len(flat),
        distinct=sum(len({one.text for one in some}) for some in answers),
        tokens=sum(one.tokens for one in flat),
        cut=sum(not one.finished for one in flat),
        empty=measured.empty,
        words=round(measured.words.value, 2),
        repetition=round(measured.repetition.value, 4) if measured.repetition else None,
        distinct_2=round(measured.distinct_2, 4) if measured.distinct_2 is not None else None,
        seconds=round(seconds, 2),
    )


def _seed(seed: int, number: int) -> int:
    """Return the seed of a round's samples: each round draws anew."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{number}".encode(), digest_size=4).digest(), "little")
