"""`prospect demo --live`: the loop of a model in use, from its first answer to the rollback of a bad successor.

| step      | what                                                                                 |
|-----------|--------------------------------------------------------------------------------------|
| serve     | the base model, by the server of `prospect serve`; customers chat and vote over HTTP |
| export    | their votes as feedback, looked at by the data doctor                                |
| train     | KTO on it                                                                            |
| compare   | held-out thumbs, a contest, and the rules on held-out customers, before and after    |
| promote   | candidate, canary, current: by checks, and by the votes of further customers         |
| roll back | a canary that was trained on thumbs turned around, by the server itself              |
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prospect import progress
from prospect.collect.export import Contents, export
from prospect.collect.migrating import opened
from prospect.collect.tables import owned, turn, vote
from prospect.demo.base import BASE, BATCH, TEMPERATURE, TOP_P, answer, load_base
from prospect.demo.live_canaries import Canaries
from prospect.demo.live_customers import Acknowledged, customers_of, visit
from prospect.demo.live_server import Desk
from prospect.demo.rounds_world import RULES_JUDGE, write_prompts
from prospect.demo.run import HELD_OUT, DemoOutcome, align, conclude, recipe
from prospect.demo.settings import DemoFeedback
from prospect.demo.world import REPLY_TOKENS, held_out_prompts, training_prompts
from prospect.errors import DataError
from prospect.evaluation.answers.writers import Generation
from prospect.evaluation.contest.judged import judge_completions
from prospect.evaluation.contest.judges.names import judge_named
from prospect.evaluation.contest.sides import Judging
from prospect.evaluation.held_out.preference import Settings, evaluate_feedback
from prospect.feedback import class_counts, load_feedback, write_jsonl
from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.feedback.files.store.selection import MAIN, Selection
from prospect.feedback.records import Unpaired
from prospect.run_dir import RunDir
from prospect.training.memory.allocator import keep_freed_memory

CUSTOMERS = 300
INQUIRIES = 2  # of each, a conversation each
CONTEST = 200  # held-out customers whose two answers are compared
EPOCHS = 4  # a quarter of the thumbs of `prospect demo`, and half as many steps
WORSE_EPOCHS = 2


@dataclass(frozen=True)
class LiveOutcome:
    """What a live demo showed.

    Attributes:
        compared: the model before and after, on held-out customers.
        turns: answers in the store.
        votes: votes in the store.
        lost: votes that were acknowledged, and are not in the store with their value.
        promoted: whether the aligned model became current.
        promotion: by what, or why not.
        rolled_back: whether the server ended the canary that was made worse.
        rollback: by what, or that it did not.
        seconds: of the whole command.
    """

    compared: DemoOutcome
    turns: int
    votes: int
    lost: int
    promoted: bool
    promotion: str
    rolled_back: bool
    rollback: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "before": self.compared.before._asdict(),
            "after": self.compared.after._asdict(),
            "turns": self.turns,
            "votes": self.votes,
            "lost": self.lost,
            "promoted": self.promoted,
            "rolled_back": self.rolled_back,
            "seconds": round(self.seconds, 1),
            "report": str(self.compared.report),
        }


def run_live(
    output: Path,
    *,
    customers: int = CUSTOMERS,
    held_out: int = HELD_OUT,
    seed: int = 0,
    noise: float = 0.0,
    quiet: bool = False,
) -> LiveOutcome:
    """Serve, collect, align, compare, promote, and roll back.

    Args:
        output: the run directory; the store, the registry and the worse model lie in it as well.
        customers: who chat and vote before the training.
        held_out: customers on whom the models are compared.
        seed: of customers, answers, thumbs and training.
        noise: share of thumbs that are flipped.
        quiet: say nothing of what is being done.

    Raises:
        DataError: the votes make no feedback that can be trained on.
    """
    with progress.shown("prospect demo --live", quiet=quiet):
        return _run(output, customers, held_out, seed, noise)


def _run(output: Path, customers: int, held_out: int, seed: int, noise: float) -> LiveOutcome:
    begun = time.monotonic()
    keep_freed_memory()
    output.mkdir(parents=True, exist_ok=True)
    desk = Desk(output)
    canaries = Canaries(desk, seed, noise)
    canaries.begin()
    people = customers_of(training_prompts(INQUIRIES * customers, seed), "customer", INQUIRIES, noise)
    with progress.phase(f"{customers} customers chat with the base model and vote"), desk.open({"base": BASE}) as url:
        kept = visit(url, people, seed)
    thumbs = _export(desk.store, output / "feedback.jsonl")
    run = align(_recipe(output, EPOCHS, seed))
    _evaluate(run, BASE, held_out, seed)
    compared = _compare(run, thumbs, held_out, seed, noise)
    promoted, promotion = canaries.promote(run)
    worse = _align_worse(thumbs, output / "worse", seed)
    _evaluate(worse, run.path if promoted else BASE, held_out, seed)
    rolled_back, rollback = canaries.try_worse(worse)
    turns, votes, lost = _count(desk.store, [*kept, *canaries.acknowledged])
    seconds = time.monotonic() - begun
    return LiveOutcome(compared, turns, votes, lost, promoted, promotion, rolled_back, rollback, seconds)


def _export(store: Path, output: Path) -> list[Unpaired]:
    """Write the votes as feedback, let the doctor look at it, and return it."""
    with opened(str(store)) as database:
        # No cap on nearly the same texts: the customers of the desk all ask about a few things.
        report = export(database, output, Selection(duplicates=0), Contents())
    inspection = inspect_feedback([output])
    errors = [finding.message for finding in inspection.findings if finding.severity == "error"]
    if errors:
        raise DataError(f"{output}: {errors[0]}")
    thumbs = [row for row in load_feedback(output) if isinstance(row, Unpaired)]
    counts = class_counts(thumbs)
    progress.note(
        f"export: {report.rows_out} of {report.rows_in} votes, {counts.desirable} up and {counts.undesirable} down; "
        "the data doctor finds no error"
    )
    return thumbs


def _recipe(output: Path, epochs: int, seed: int) -> dict[str, Any]:
    made = recipe("kto", output, seed)
    made["train"]["epochs"] = epochs
    return made


def _align_worse(thumbs: Sequence[Unpaired], output: Path, seed: int) -> RunDir:
    """Return a run on the same thumbs turned around, as if somebody had mixed up the labels."""
    output.mkdir()
    write_jsonl([replace(thumb, desirable=not thumb.desirable) for thumb in thumbs], output / "feedback.jsonl")
    progress.note("now a model that is worse on purpose: the same thumbs, turned around")
    return align(_recipe(output, WORSE_EPOCHS, seed))


def _evaluate(run: RunDir, against: Path, held_out: int, seed: int) -> None:
    """Write what the offline checks ask for: held-out thumbs, and a contest with the model that is in use."""
    questions = run.path / "held_out_customers.jsonl"
    write_prompts(questions, held_out_prompts(min(held_out, CONTEST)))
    how = Judging(Generation(1, REPLY_TOKENS, TEMPERATURE, TOP_P, seed), batch_size=BATCH, seed=seed)
    with progress.phase("held-out thumbs, and a contest with the model in use"):
        run.write_evaluation("feedback", evaluate_feedback(str(run.path), None, settings=Settings(kl_prompts=0)))
        run.write_evaluation(
            "contest", judge_completions(run.path, questions, judge_named(RULES_JUDGE), against, how=how)
        )


def _compare(run: RunDir, thumbs: Sequence[Unpaired], held_out: int, seed: int, noise: float) -> DemoOutcome:
    """Count the rules that replies to held-out customers keep, before and after, and write the report."""
    begun = time.monotonic()
    asked = held_out_prompts(held_out)
    with progress.phase(f"sampling replies to {held_out} held-out customers, before and after"):
        before, after = (answer(load_base(path), asked, 1, seed) for path in (BASE, run.model_path))
    counts = class_counts(thumbs)
    customers = DemoFeedback(noise, len({thumb.rater for thumb in thumbs}))
    return conclude(run, "kto", asked, before, after, (counts.desirable, counts.undesirable), customers, begun)


def _count(store: Path, acknowledged: Sequence[Acknowledged]) -> tuple[int, int, int]:
    """Return how many turns and votes are in the store, and how many acknowledged votes are not."""
    with opened(str(store)) as database, database.reading() as connection:
        turns = set(connection.execute(owned(turn, MAIN, turn.c.id)).scalars())
        votes = {(row.turn, row.value) for row in connection.execute(owned(vote, MAIN, vote.c.turn, vote.c.value))}
    lost = sum(one.turn not in turns or (one.turn, one.value) not in votes for one in acknowledged)
    return len(turns), len(votes), lost
