"""Learn while sampling: the policy answers prompts, a judge scores the answers, steps are made on those, and again.

What is drawn depends on the seed, the number of the rollout and the weights; a run that was killed resumes to the same
numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prospect import progress
from prospect.config import Config, load_config
from prospect.data.loader import Plan
from prospect.data.prompts import Prompts
from prospect.data.rounds import Rounds
from prospect.errors import CheckpointError, ConfigError, DataError
from prospect.evaluation.answers.answers import Answer
from prospect.evaluation.contest.judges.base import Candidate, Judge
from prospect.evaluation.contest.judges.names import judge_named
from prospect.feedback.records import Message, Text
from prospect.losses.advantages import adapt_coefficient
from prospect.models.device import on_device
from prospect.models.sampling import Generated
from prospect.progress import timing
from prospect.results.run import ROLLOUT, Alarm, RolloutRow
from prospect.rounds.labels import digest_of, score_completions
from prospect.rounds.measures import SAMPLER_GAP, measure
from prospect.rounds.rollout import Drawn, Learnt, learn_from
from prospect.rounds.store import Rollout, forget, read_rollout, row_of, stored, write_rollout
from prospect.run_dir import RunDir
from prospect.training import train as offline
from prospect.training.callbacks import Callback
from prospect.training.online import kl_coefficient, rollouts_per_pass
from prospect.training.session import Session
from prospect.training.step import score_units

# Rollouts in a row without two different scores, after which a judge has nothing to teach these prompts.
MOST_EMPTY = 5


def train(
    source: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RunDir:
    """Align a model: on feedback, or where the recipe has an `online` section on its own answers.

    Arguments, results and refusals are those of `prospect.train`, which also uploads where the recipe wants it.
    """
    config = load_config(source, overrides)
    if config.online is None:
        return offline.train(config, resume=resume, quiet=quiet, callbacks=callbacks)
    run = RunDir(config.output)
    if resume and run.provenance().finished:
        return run
    with on_device(config.train.device):
        judge = judge_named(config.online.judge)
    if not judge.gives_scores:
        raise ConfigError(
            f"online.judge is {config.online.judge}, which compares two answers and does not score one. Take a "
            "verifier or a reward model."
        )
    with offline.hold(config, resume=resume, quiet=quiet, callbacks=callbacks) as session:
        learn(session, judge)
        session.finish()
    return run


def learn(session: Session, judge: Judge) -> None:
    """Draw, score and train until all steps are made."""
    loop = _Loop(session, judge)
    begun = loop.resume()
    if begun is not None:
        loop.train_on(begun)  # even if all its steps are made: an evaluation may be still to be done
    while session.progress.step < session.prepared.total_steps and not session.ending:
        loop.train_on(loop.draw())


class _Loop:
    """What stays the same over the rollouts of a run."""

    def __init__(self, session: Session, judge: Judge) -> None:
        prepared = session.prepared
        assert prepared.config.online is not None and isinstance(prepared.train, Prompts), "the recipe samples its data"
        self.session, self.judge, self.online = session, judge, prepared.config.online
        self.prompts, self.folder = prepared.train, session.run.path / "rollouts"
        self.rows = [row for (row,) in self.prompts.examples]
        self.identity = session.world.gather(digest_of(judge) if session.world.is_main else "")[0]
        self.number, self.empty, self.kl = 0, 0, kl_coefficient(prepared.config, prepared.loss)
        self.steps: dict[int, int] = {}  # rollout on disk -> steps made before it

    def resume(self) -> Rollout | None:
        """Return the rollout within which the run stopped, if it did, and forget what came after."""
        session, step = self.session, self.session.progress.step
        there = session.world.gather(stored(self.folder))[0]
        found = [read_rollout(self.folder / f"{number}.safetensors", self.rows) for number in there if step]
        usable = [rollout for rollout in found if rollout.step <= step]
        last = usable[-1].number if usable else -1
        session.world.barrier()  # all have read before one removes
        if session.world.is_main:
            forget(self.folder, [number for number in there if number > last])
            session.run.rewind_rollouts(last)
        if not usable:
            if step:
                raise CheckpointError(f"{self.folder}: holds no rollout before step {step}. Begin the run again.")
            return None
        rollout, self.steps = usable[-1], {one.number: one.step for one in usable}
        if rollout.judge != self.identity:
            raise CheckpointError(
                f"{session.run.path}: online.judge is another one than at the start: its file or model was changed. "
                "Restore it, or start a new run with another --output."
            )
        self._go_on_from(rollout)
        rows = session.run.metrics()
        if session.world.is_main and not any(row.get(ROLLOUT) == rollout.number for row in rows):
            session.write_metrics(rollout.metrics)
        return rollout

    def draw(self) -> Rollout:
        """Let the policy answer the next prompts, score what it wrote, and keep it on disk."""
        session, number = self.session, self.number
        with progress.phase(f"rollout {number + 1}", part=timing.ANSWERS):
            asked = self._asked(number)
            answers = self._answers(asked, number)
            pairs = [(prompt, one) for prompt, row in zip(asked, answers, strict=True) for one in row]
            scores = self._scores(pairs)
            rows = [row_of(self.rows[p], number, i, one.ids, one.logps) for i, (p, one) in enumerate(pairs)]
            found = score_units(replace(session.objective, reference=session.reference), rows)
        drawn = [
            Drawn(
                prompt,
                row,
                one.finished,
                score,
                units.logps.numpy(),
                units.reference_logps.numpy(),
                None if units.values is None else units.values.numpy(),
            )
            for (prompt, one), row, score, units in zip(pairs, rows, scores, found, strict=True)
        ]
        learnt = learn_from(drawn, session.prepared.loss, self.online, self.kl)
        self.empty = 0 if self._plan(learnt, number) is not None else self.empty + 1
        measured = measure(drawn, learnt, self.online, self.kl)
        step = session.progress.step
        epoch = round(step / session.prepared.steps_per_epoch, 6)
        metrics = {"step": step, "epoch": epoch, ROLLOUT: number, **measured}
        rollout = Rollout(number, step, self.kl, self.identity, self.empty, metrics, drawn)
        self._keep(rollout, [one.text for _, one in pairs])
        self._go_on_from(rollout)
        self._watch(rollout)
        return rollout

    def train_on(self, rollout: Rollout) -> None:
        """Make the steps of a rollout, as many as the run has left."""
        session = self.session
        plan = self._plan(learn_from(rollout.drawn, session.prepared.loss, self.online, rollout.kl), rollout.number)
        if plan is None:
            return
        session.plan = rounds = Rounds(rollout.step, session.prepared.steps_per_epoch)
        stop = rounds.add(plan, plan.steps_per_epoch * self.online.epochs)
        offline.run_steps(session, min(stop, session.prepared.total_steps))

    def _plan(self, learnt: Learnt, number: int) -> Plan | None:
        """Return the steps of a rollout; None where there is nothing to learn from, or too few prompts for a z0."""
        if not learnt.examples:
            return None
        size, distinct = self.session.prepared.config.train.batch_size, self.session.prepared.loss.needs_reference_point
        plan = Plan(learnt.examples, size, self._seed(number), distinct)
        try:
            plan.epoch(0)
        except DataError:
            return None
        return plan

    def _go_on_from(self, rollout: Rollout) -> None:
        """Take up what the next rollout needs to know of this one."""
        self.number, self.empty, self.kl = rollout.number + 1, rollout.empty, rollout.kl
        if self.online.kl_target is not None:
            kl, count = float(np.mean([one.kl for one in rollout.drawn])), len(rollout.drawn)
            target, horizon = self.online.kl_target, self.online.kl_horizon
            self.kl = adapt_coefficient(self.kl, kl, target=target, horizon=horizon, count=count)

    def _asked(self, number: int) -> list[int]:
        """Return the numbers of a rollout's prompts: each prompt once before any comes again, shuffled each time."""
        parts = rollouts_per_pass(self.session.prepared.config, len(self.rows))
        turn, part = divmod(number, parts)
        order = np.random.default_rng((self.session.prepared.config.train.seed, turn)).permutation(len(self.rows))
        return [int(i) for i in np.array_split(order, parts)[part]]

    def _seed(self, number: int) -> int:
        """Return the seed of a rollout's draws and shuffles."""
        name = f"{self.session.prepared.config.train.seed}|{number}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=7).digest(), "little")

    def _answers(self, asked: Sequence[int], number: int) -> list[list[Generated]]:
        """Return the answers to prompts; the processes of a run share them, unless their weights are spread."""
        world, online = self.session.world, self.online
        alone = world.size == 1 or world.lockstep
        own = asked if alone else asked[world.rank :: world.size]
        answers = self.session.sample(
            [self.prompts.questions[i].prompt for i in own],
            samples_per_prompt=online.samples_per_prompt,
            max_new_tokens=online.max_new_tokens,
            temperature=online.temperature,
            top_p=online.top_p,
            top_k=online.top_k,
            seed=self._seed(number),
            batch_size=online.sampled_together,
        )
        if alone:
            return answers
        shares = world.gather(answers)
        return [shares[i % world.size][i // world.size] for i in range(len(asked))]

    def _scores(self, pairs: Sequence[tuple[int, Generated]]) -> list[float]:
        """Ask the judge once about each completion, as text, on the first process; NaN where it says nothing."""
        world, scores = self.session.world, list[float]()
        if world.is_main:
            questions = [self.prompts.questions[prompt] for prompt, _ in pairs]
            asked = [
                Candidate(question.prompt, _judged(question.prompt, one), question.target)
                for question, (_, one) in zip(questions, pairs, strict=True)
            ]
            self.folder.mkdir(parents=True, exist_ok=True)
            scores = score_completions(self.judge, asked, keep=self.folder / "grades.jsonl")
        return world.gather(scores)[0]

    def _keep(self, rollout: Rollout, texts: Sequence[str]) -> None:
        """Write a rollout: for people, exactly, and what is logged of it; drop what no checkpoint goes on from."""
        session = self.session
        if session.world.is_main:
            session.run.append_rollout(
                RolloutRow(
                    rollout=rollout.number,
                    step=rollout.step,
                    prompt=_plain(self.prompts.questions[one.prompt].prompt),
                    completion=text,
                    score=None if np.isnan(one.score) else one.score,
                    tokens=len(one.logps),
                    finished=one.finished,
                )
                for one, text in zip(rollout.drawn, texts, strict=True)
            )
            write_rollout(self.folder, rollout)
            self.steps[rollout.number] = rollout.step
            self._forget_unneeded()
            session.write_metrics(rollout.metrics)
        session.world.barrier()

    def _forget_unneeded(self) -> None:
        """Remove the rollouts before that with which the oldest checkpoint goes on."""
        checkpoints = [int(path.name.removeprefix("step-")) for path in self.session.run.checkpoints()]
        oldest = min(checkpoints, default=self.session.progress.step)
        needed = max((number for number, step in self.steps.items() if step < oldest), default=0)
        unneeded = [number for number in self.steps if number < needed]
        forget(self.folder, unneeded)
        self.steps = {number: step for number, step in self.steps.items() if number >= needed}

    def _watch(self, rollout: Rollout) -> None:
        """Say what is wrong with a rollout.

        Raises:
            DataError: rollout after rollout there was nothing to learn from.
        """
        measured = rollout.metrics
        progress.note(describe(measured))
        gap = measured.get("rollout/sampler_gap", 0.0)
        if gap > SAMPLER_GAP:
            text = (
                f"sampled tokens were {gap:.3g} nats more or less probable to the sampler than they are to the policy "
                f"(mean of the difference; expected less than {SAMPLER_GAP:g}). Ratios are wrong by as much."
            )
            self.session.ring([Alarm("sampler", text)])
        if rollout.empty >= MOST_EMPTY:
            raise DataError(
                f"{self.judge.name}: {rollout.empty} rollouts in a row have nothing to learn from: no answer had a "
                "score, or all answers to each prompt had the same. Choose a judge that tells them apart, other "
                "prompts, or more samples_per_prompt."
            )


def _judged(prompt: Text, one: Generated) -> Text:
    """Return an answer as a judge sees it: without thoughts, and a turn where the prompt is a conversation."""
    text = Answer(one.text, one.tokens, one.finished, one.opened).without_thoughts().text
    return text if isinstance(prompt, str) else (Message("assistant", text),)


def describe(measured: Mapping[str, float]) -> str:
    """Return a line about a rollout."""
    parts = [f"rollout {measured[ROLLOUT] + 1:.0f} after step {measured['step']:.0f}:"]
    if "rollout/reward" in measured:
        low, high = (measured.get(f"rollout/reward_{end}") for end in ("low", "high"))
        interval = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
        parts.append(f"score {measured['rollout/reward']:.3f}{interval},")
    parts.append(f"KL {measured['rollout/kl']:.2f}, {measured['rollout/tokens']:.0f} tokens")
    return " ".join(parts)


def _plain(prompt: Text) -> Any:
    return prompt if isinstance(prompt, str) else [message.as_dict() for message in prompt]
