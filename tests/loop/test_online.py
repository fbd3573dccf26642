"""Learning while sampling: every loss that can learns, resumes to the same bits, and does not see how a step is cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_ranks import together

import prospect
from conftest import WORDS, thumbs, write_rows
from prospect.errors import CheckpointError, ConfigError, DataError, RunStopped
from prospect.rounds.store import stored
from prospect.run_dir import RunDir
from prospect.training.session import Session
from runs import killed_after, numbers, same, weights
from tolerances import assert_trained_alike

SAMPLED = ["ppo", "grpo", "rloo", "gspo"]
VERDICTS = ["kto", "dpo", "nca"]
# Of the answers' characters, the share that is a vowel: a few steps can change it, and scores seldom tie.
JUDGE = """
def vowels(prompt, completion, target):
    return sum(letter in "aeiou" for letter in completion) / max(len(completion), 1)

def always(prompt, completion, target):
    return True

def unread(prompt, completion, target):
    return float("nan")
"""
MORE: dict[str, dict[str, Any]] = {"gspo": {"clip_low": 0.2, "clip_high": 0.2}}


@pytest.fixture
def online(recipe: Any, tmp_path: Path) -> Any:
    """Makes a recipe of nine steps on the tiny model, four to a rollout of 8 prompts with 4 answers each."""
    (tmp_path / "judge.py").write_text(JUDGE)
    prompts = [{"prompt": f"number {i} the {' '.join(WORDS[: i % 4])}"} for i in range(16)]
    file = str(write_rows(tmp_path / "prompts.jsonl", prompts))

    def make(loss: str, judge: str = "vowels", **sections: Any) -> dict[str, Any]:
        values = recipe({"name": loss, **MORE.get(loss, {})}, thumbs(4))
        del values["data"]
        values["online"] = {
            "prompts": file,
            "judge": f"verifier:python:{tmp_path / 'judge.py'}:{judge}",
            "prompts_per_rollout": 8,
            "samples_per_prompt": 4,
            "max_new_tokens": 6,
            "penalty": 0,
            "threshold": "median" if loss in VERDICTS else 0.5,
            **sections.pop("online", {}),
        }
        train = {"batch_size": 8, "max_steps": 9, "learning_rate": 1e-3, "warmup": 0, **sections.pop("train", {})}
        values["train"] |= train
        return {**values, **sections}

    return make


def rollouts(run: RunDir) -> list[dict[str, float]]:
    return [row for row in run.metrics() if "rollout/number" in row]


@pytest.mark.parametrize("loss", [*SAMPLED, *VERDICTS])
def test_the_score_rises(online: Any, loss: str) -> None:
    train = {"max_steps": 60, "learning_rate": 3e-3, "scheduler": "constant", "batch_size": 32}
    run = prospect.train(online(loss, train=train, online={"kl": 0.0} if loss in SAMPLED else {}), quiet=True)
    rewards = [row["rollout/reward"] for row in rollouts(run)]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1
    assert max(row["rollout/sampler_gap"] for row in rollouts(run)) < 1e-4
    assert all("loss" in row or "rollout/number" in row for row in run.metrics())


@pytest.mark.parametrize("loss", [*SAMPLED, "kto", "dpo"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(online: Any, tmp_path: Path, loss: str) -> None:
    """Within a rollout and at its end, from checkpoints within it and at its end; every completion is kept once."""
    more = {"train": {"save_every": 3, "keep_checkpoints": 1}, "online": {"epochs": 2}}
    whole = prospect.train({**online(loss, **more), "output": str(tmp_path / "whole")}, quiet=True)
    values = online(loss, **more)
    for step in (0, 3, 6):
        with killed_after(step):
            prospect.train(values, resume=step > 0, quiet=True)
    run = prospect.train(values, resume=True, quiet=True)
    assert same(whole, run)
    assert run.rollouts() == whole.rollouts()
    assert len(run.rollouts()) == 32 * len(rollouts(run))
    assert prospect.train(values, resume=True, quiet=True).path == run.path


def test_a_run_that_died_while_it_kept_a_rollout_goes_on_to_the_same_bits(online: Any, tmp_path: Path) -> None:
    more = {"train": {"save_every": 4}}
    whole = prospect.train({**online("grpo", **more), "output": str(tmp_path / "whole")}, quiet=True)
    for place in ("append_rollout", "append_metrics"):
        values = {**online("grpo", **more), "output": str(tmp_path / place)}
        original, count = getattr(RunDir, place), 0

        def dying(self: RunDir, *arguments: Any, original: Any = original) -> None:
            nonlocal count
            count += "rollout/number" in arguments[0] if isinstance(arguments[0], dict) else 1
            if count == 2:
                raise KeyError("dead")
            original(self, *arguments)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyError, match="dead"):
            patch.setattr(RunDir, place, dying)
            prospect.train(values, quiet=True)
        run = prospect.train(values, resume=True, quiet=True)
        assert same(whole, run) and run.rollouts() == whole.rollouts()


def test_a_run_that_was_stopped_after_its_last_step_still_evaluates(online: Any, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "held_out.jsonl", thumbs(8))
    more: dict[str, Any] = {"data": {"eval": str(rows)}, "train": {"max_steps": 4}}
    whole = prospect.train({**online("kto", **more), "output": str(tmp_path / "whole")}, quiet=True)
    values, update = online("kto", **more), Session.update

    def stopped(self: Session, rate: float) -> None:
        update(self, rate)
        self.stop.signal = 15 if self.progress.step == 3 else 0

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunStopped):
        patch.setattr(Session, "update", stopped)
        prospect.train(values, quiet=True)
    run = prospect.train(values, resume=True, quiet=True)
    assert same(whole, run)
    assert [row["step"] for row in run.metrics() if "eval_loss" in row] == [0, 4]


def test_thumbs_on_one_single_prompt_give_no_z0_and_no_step(online: Any) -> None:
    settings = {"prompts_per_rollout": 1, "samples_per_prompt": 4, "threshold": "prompt_median"}
    with pytest.raises(DataError, match="5 rollouts in a row have nothing to learn from"):
        prospect.train(online("kto", online=settings), quiet=True)


@pytest.mark.slow
def test_kill_9_in_the_middle(online: Any, tmp_path: Path) -> None:
    more = {"train": {"save_every": 2, "max_steps": 24}}
    whole = prospect.train({**online("ppo", **more), "output": str(tmp_path / "whole")}, quiet=True)
    values = online("ppo", **more)
    program = f"import prospect; prospect.train({values!r}, quiet=True)"
    process = subprocess.Popen([sys.executable, "-c", program])
    run = RunDir(values["output"])
    while process.poll() is None and not run.checkpoints():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not run.provenance().finished
    assert same(whole, prospect.train(values, resume=True, quiet=True))


@pytest.mark.parametrize("loss", ["ppo", "grpo", "rloo"])
@pytest.mark.parametrize("reduction", ["rows", "length", "tokens"])
def test_micro_batches_do_not_change_what_is_learnt(online: Any, tmp_path: Path, loss: str, reduction: str) -> None:
    if loss == "rloo":
        reduction = None  # type: ignore[assignment]
    runs = []
    for tokens in (4096, 60):
        train = {"max_steps": 4, "max_tokens_per_micro_batch": tokens}
        values = online(loss, online={"epochs": 2, "reduction": reduction}, train=train)
        runs.append(prospect.train({**values, "output": str(tmp_path / str(tokens))}, quiet=True))
    assert runs[0].rollouts() == runs[1].rollouts()
    assert_trained_alike(weights(runs[1]), weights(runs[0]), 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_end_with_the_weights_of_one(online: Any, tmp_path: Path, parallel: str) -> None:
    """They share the prompts, one asks the judge, and both learn from all answers."""
    train = {"max_tokens_per_micro_batch": 120, "max_steps": 4, "parallel": parallel}
    recipes = [{**online(loss, train=train), "output": str(tmp_path / loss)} for loss in ("ppo", "kto")]
    together(tmp_path, train=recipes)
    for values in recipes:
        alone = prospect.train({**values, "output": f"{values['output']}-alone"}, quiet=True)
        pair = RunDir(values["output"])
        assert pair.rollouts() == alone.rollouts()
        assert_trained_alike(weights(pair), weights(alone), 1e-3)


def test_of_answers_of_one_length_all_reductions_are_the_same_mean(online: Any, tmp_path: Path) -> None:
    """Answers here are seldom shorter than the limit of 6 tokens: a wrong divisor would be wrong by that much."""
    norms = []
    for reduction in ("tokens", "rows", "length"):
        values = online("grpo", online={"reduction": reduction}, train={"max_steps": 1, "batch_size": 32})
        run = prospect.train({**values, "output": str(tmp_path / reduction)}, quiet=True)
        norms.append(next(row["grad_norm"] for row in run.metrics() if "grad_norm" in row))
    assert norms == pytest.approx([norms[0]] * 3, rel=0.2)


def test_prompts_come_each_once_before_any_comes_again(online: Any) -> None:
    run = prospect.train(online("grpo", train={"max_steps": 4, "batch_size": 32}), quiet=True)
    asked = [str(row.prompt) for row in run.rollouts()[::4]]
    first, second = asked[:16], asked[16:32]
    assert len(set(first)) == 16 and sorted(first) == sorted(second) and first != second


def test_only_the_rollouts_that_a_checkpoint_needs_are_kept(online: Any) -> None:
    run = prospect.train(online("grpo", train={"max_steps": 16, "save_every": 4, "keep_checkpoints": 1}), quiet=True)
    assert len(rollouts(run)) == 4
    assert len(stored(run.path / "rollouts")) <= 3


def test_an_adaptive_coefficient_follows_the_kl(online: Any) -> None:
    more = {"kl": 0.1, "kl_target": 1e-6, "kl_horizon": 32}
    run = prospect.train(online("ppo", online=more, train={"max_steps": 8}), quiet=True)
    first, second = (row["rollout/kl_coefficient"] for row in rollouts(run))
    assert first == 0.1
    assert second == pytest.approx(0.1 * (1.2 if rollouts(run)[0]["rollout/kl"] > 2e-6 else 0.8))


def test_a_judge_that_tells_nothing_apart_is_refused_with_advice(online: Any) -> None:
    for judge in ("always", "unread"):
        with pytest.raises(DataError, match=r"5 rollouts in a row have nothing to learn from.*Choose a judge"):
            prospect.train({**online("dpo", judge), "output": f"{online('dpo')['output']}-{judge}"}, quiet=True)


def test_a_judge_that_was_changed_is_not_gone_on_with(online: Any, tmp_path: Path) -> None:
    values = online("grpo", train={"save_every": 2})
    with killed_after(4):
        prospect.train(values, quiet=True)
    (tmp_path / "judge.py").write_text(JUDGE.replace("aeiou", "bcdfg"))
    with pytest.raises(CheckpointError, match="judge is another one than at the start"):
        prospect.train(values, resume=True, quiet=True)


def test_a_sampler_that_is_not_the_policy_raises_an_alarm(online: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Session.sample

    def stale(self: Session, *arguments: Any, **settings: Any) -> Any:
        answers = draw(self, *arguments, **settings)
        return [[one._replace(logps=tuple(p - 0.5 for p in one.logps)) for one in row] for row in answers]

    monkeypatch.setattr(Session, "sample", stale)
    run = prospect.train(online("grpo", train={"max_steps": 1}), quiet=True)
    assert [alarm.kind for row in run.alarms() for alarm in row.alarms] == ["sampler"]
    assert rollouts(run)[0]["rollout/sampler_gap"] == pytest.approx(0.5, abs=1e-4)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("ppo", {"temperature": 0.7}, r"online\.temperature changes how probable .* Set online\.temperature: 1\.0"),
    ("grpo", {"top_p": 0.9}, r"online\.top_p changes"),
    ("rloo", {"samples_per_prompt": 1}, "compares answers to one prompt"),
    ("dpo", {"samples_per_prompt": 1}, "compares answers to one prompt"),
    ("rloo", {"reduction": "rows"}, "is not a sum over sampled tokens"),
    ("kto", {"kl": 0.1}, "a pull to the reference of its own"),
    ("grpo", {"kl_target": 1.0}, "which is 0"),
    ("sft", {}, "learns from no verdict"),
    ("bradley_terry", {}, "learns from no verdict"),
    ("ppo", {"judge": "random:1"}, "expected .*endpoint:"),
    ("ppo", {"max_new_tokens": 300}, r"online\.max_new_tokens is 300; expected at most 256"),
]


@pytest.mark.parametrize(("loss", "settings", "message"), REFUSED)
def test_what_cannot_work_is_refused(online: Any, loss: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        prospect.train(online(loss, online=settings), quiet=True)


def test_a_loss_that_samples_needs_an_online_section(recipe: Any) -> None:
    with pytest.raises(ConfigError, match="has no online section"):
        prospect.train(recipe("grpo", thumbs(8)), quiet=True)


def test_prompts_may_be_named_as_data_but_not_two_of_them(online: Any, tmp_path: Path) -> None:
    values = online("grpo")
    prompts = values["online"].pop("prompts")
    run = prospect.train({**values, "data": {"train": prompts}, "train": {"max_steps": 1}}, quiet=True)
    assert run.config()["online"]["prompts"] == run.config()["data"]["train"] == prompts
    with pytest.raises(ConfigError, match=r"Leave data\.train out"):
        prospect.train({**online("grpo"), "data": {"train": "other.jsonl"}}, quiet=True)


def test_numbers_are_logged_by_step_and_by_rollout(online: Any) -> None:
    run = prospect.train(online("ppo", train={"max_steps": 4}), quiet=True)
    steps = [row for row in numbers(run) if "loss" in row]
    assert {"policy/kl", "policy/clipped", "value/error"} <= steps[-1].keys()
    assert steps[0]["policy/kl"] == pytest.approx(0, abs=1e-9) and steps[0]["policy/clipped"] == 0
    assert rollouts(run)[0]["rollout/kl"] == pytest.approx(0, abs=1e-4)


def test_the_report_says_what_it_learnt_from_and_who_judged(online: Any) -> None:
    run = prospect.train(online("ppo", train={"max_steps": 8}), quiet=True)
    page = prospect.build_report(run).read_text(encoding="utf-8")
    assert "on its own answers to 16 prompts, scored by verifier:python:" in page
    assert "score of each rollout" in page and "KL from the reference" in page
    assert "Only the judge that it was trained for has seen the result" in page
