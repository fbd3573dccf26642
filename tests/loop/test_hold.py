"""A session that is held trains in rounds, on rows that arrive, as one run does that has them all from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import prospect
from conftest import thumbs
from prospect.data.batch import row_from_ids
from prospect.data.loader import Plan
from prospect.data.render import encode_prompt
from prospect.data.rounds import Rounds
from prospect.errors import CheckpointError, ConfigError, DataError, RunStopped
from prospect.evaluation.answers.writers import Generation, LocalWriter, collect_answers, find_writer
from prospect.run_dir import RunDir
from prospect.training.evaluate import TEMPERATURE, TOP_P, draw_samples
from prospect.training.train import hold, run_steps

PROMPTS = ["number 1 the", "number 2 the thank you"]
ROUND, STEPS = 3, 6


def values_for(recipe: Any, output: Path, **model: Any) -> dict[str, Any]:
    train = {"batch_size": 8, "max_steps": STEPS, "save_every": ROUND, "scheduler": "cosine", "samples": 2}
    values = recipe("kto", thumbs(24), data={"eval": 6}, train={**train, "sample_tokens": 4})
    values["model"] |= model
    return {**values, "output": str(output)}


def plans(examples: Any) -> tuple[Plan, Plan]:
    """Two rounds of three steps: other rows in each."""
    return Plan(examples[:9], 3, seed=1, distinct_prompts=True), Plan(examples[9:], 3, seed=2, distinct_prompts=True)


def told(run: RunDir) -> Any:
    """The metrics and samples of a run without its speed, and its weights."""
    metrics = [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in run.metrics()]
    weights = {path.name: load_file(path) for path in run.model_path.glob("*.safetensors")}
    return metrics, run.samples(), {f: {n: t.tolist() for n, t in w.items()} for f, w in weights.items()}


def in_one_go(values: dict[str, Any]) -> RunDir:
    with hold(values, quiet=True) as session:
        session.plan = rounds = Rounds()
        for plan in plans(session.prepared.train.examples):
            rounds.add(plan)
        run_steps(session)
        session.finish()
    return session.run


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "dropout": 0.2}])
def test_two_rounds_give_the_bits_of_one_run_over_the_same_steps(recipe: Any, tmp_path: Path, lora: Any) -> None:
    whole = in_one_go(values_for(recipe, tmp_path / "whole", lora=lora))
    with hold(values_for(recipe, tmp_path / "held", lora=lora), quiet=True) as session:
        first, second = plans(session.prepared.train.examples)
        session.plan = rounds = Rounds()
        run_steps(session, rounds.add(first))
        assert session.progress.step == ROUND
        drawn = session.sample(PROMPTS, samples_per_prompt=2, max_new_tokens=5, temperature=1.0)
        assert [len(answers) for answers in drawn] == [2, 2] and all(one.logps for row in drawn for one in row)
        run_steps(session, rounds.add(second))
        session.finish()
    assert told(session.run) == told(whole)


def test_a_held_session_that_was_killed_goes_on_to_the_same_bits(recipe: Any, tmp_path: Path) -> None:
    whole = in_one_go(values_for(recipe, tmp_path / "whole"))
    values = values_for(recipe, tmp_path / "held")
    with pytest.raises(KeyError, match="dead"), hold(values, quiet=True) as session:
        session.plan = rounds = Rounds()
        run_steps(session, rounds.add(plans(session.prepared.train.examples)[0]))
        raise KeyError("dead")
    with hold(values, resume=True, quiet=True) as session:
        assert session.progress.step == ROUND
        session.plan = rounds = Rounds()
        for plan in plans(session.prepared.train.examples):
            rounds.add(plan)
        run_steps(session)
        session.finish()
    assert told(session.run) == told(whole)
    with pytest.raises(CheckpointError, match="holds a finished run"), hold(values, resume=True, quiet=True):
        pass


def test_what_the_policy_samples_can_be_trained_on(recipe: Any, tmp_path: Path) -> None:
    """The policy in memory answers, and its own tokens are the rows of the next round."""
    with hold(values_for(recipe, tmp_path / "held"), quiet=True) as session:
        run_steps(session, 1)
        before = {name: p.detach().clone() for name, p in session.policy.trainable().items()}
        answers = session.sample(PROMPTS, samples_per_prompt=4, max_new_tokens=6, temperature=1.0, top_p=1.0)
        rows = [
            row_from_ids(
                encode_prompt(session.policy.tokenizer, prompt),
                one.ids,
                prompt_key=prompt,
                id=f"{prompt} {i}",
                desirable=i % 2 == 0,
                sampled_logps=one.logps,
            )
            for prompt, drawn in zip(PROMPTS, answers, strict=True)
            for i, one in enumerate(drawn)
        ]
        session.plan = rounds = Rounds()
        rounds.add(session.prepared.plan, 1)
        run_steps(session, rounds.add(Plan([(row,) for row in rows], 8, seed=0)))
        assert any(not torch.equal(before[name], p) for name, p in session.policy.trainable().items())
        assert session.run.metrics()[-1]["examples_seen"] == 6 + len(rows)


def test_steps_that_are_not_there_are_refused(recipe: Any, tmp_path: Path) -> None:
    with hold(values_for(recipe, tmp_path / "held"), quiet=True) as session:
        with pytest.raises(ConfigError, match=r"step 7 was asked for and the run has 6.*train\.max_steps"):
            run_steps(session, 7)
        session.plan = Rounds()
        session.plan.add(session.prepared.plan, 2)
        with pytest.raises(DataError, match=r"the rounds so far have 2 steps, and step 3 was asked for"):
            run_steps(session, 3)


def test_a_signal_between_rounds_stops_before_the_next_step(recipe: Any, tmp_path: Path) -> None:
    values = values_for(recipe, tmp_path / "held")
    with pytest.raises(RunStopped, match="stopped after step 2 of 6; step-2 is saved"), hold(values) as session:
        run_steps(session, 2)
        session.stop.signal = 15
        run_steps(session)
    with hold(values, resume=True, quiet=True) as session:
        assert session.progress.step == 2


def test_train_is_a_session_that_is_held_once(recipe: Any, tmp_path: Path) -> None:
    whole = prospect.train(values_for(recipe, tmp_path / "whole"), quiet=True)
    with hold(values_for(recipe, tmp_path / "held"), quiet=True) as session:
        for step in range(1, STEPS + 1):
            run_steps(session, step)
        session.finish()
    assert told(session.run) == told(whole)


def test_a_live_policy_answers_as_its_own_samples_and_as_its_saved_model_do(recipe: Any, tmp_path: Path) -> None:
    """And what it said before a step is not taken for what it says after it."""
    with hold(values_for(recipe, tmp_path / "held"), quiet=True) as session:
        writer = LocalWriter(session.policy, rendering=session.prepared.rendering)
        settings = Generation(1, max_new_tokens=4, temperature=TEMPERATURE, top_p=TOP_P)
        partial, before = tmp_path / "partial", writer.identity
        answers = collect_answers(writer, PROMPTS, settings, thoughts="keep", partial=partial)
        run_steps(session)
        session.finish()
        assert writer.identity != before
        moved = collect_answers(writer, PROMPTS, settings, thoughts="keep", partial=partial)
        assert moved == collect_answers(writer, PROMPTS, settings, thoughts="keep") != answers
        own = session.run.samples()[-2:]
        texts = [one.text for (one,) in collect_answers(writer, [row.prompt for row in own], settings)]
        assert texts == [row.completion for row in own] and own[0].step == STEPS
    saved = find_writer(session.run.path, rendering=session.prepared.rendering)
    assert collect_answers(saved, PROMPTS, settings, thoughts="keep") == moved


def test_before_the_first_step_samples_are_the_starts_without_the_adapter_and_then_with_it(
    recipe: Any, tmp_path: Path
) -> None:
    with hold(values_for(recipe, tmp_path / "run", lora={"r": 2, "alpha": 4}), quiet=True) as session:

        def drawn(step: int) -> list[str]:
            return [row.completion for row in draw_samples(None, session.prepared, session.policy, step)]

        before = drawn(1)
        with torch.no_grad():
            for parameter in session.policy.trainable().values():
                parameter.add_(3.0)
        assert drawn(0) == before != drawn(1)
