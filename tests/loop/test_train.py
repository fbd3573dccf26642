"""The whole loop on a tiny model: it learns, it resumes to the same bits, and it refuses what would spoil a run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import make_model, pairs, thumbs
from prospect.errors import CheckpointError, ConfigError, ReferenceMismatchError, TrainingError
from prospect.model_card import read_card
from prospect.run_dir import RunDir
from runs import Killed, killed_after, same, same_weights, weights
from tolerances import BACKWARD, assert_trained_alike, rounding


def training_rows(run: RunDir) -> list[dict[str, Any]]:
    return [row for row in run.metrics() if "loss" in row]


@pytest.mark.parametrize("loss", ["kto", "dpo", "sft"])
def test_it_overfits_eight_rows(recipe: Any, loss: str) -> None:
    rows = pairs(8) if loss == "dpo" else thumbs(8)
    run = prospect.train(recipe(loss, rows, train={"max_steps": 40, "learning_rate": 3e-3}), quiet=True)
    first, last = training_rows(run)[0], training_rows(run)[-1]
    assert last["loss"] < 0.6 * first["loss"]
    if loss != "sft":
        assert last["rewards/accuracies"] == 1.0
        assert last["rewards/chosen"] > 0.1 > -0.1 > last["rewards/rejected"]
        assert last["rewards/margins"] == pytest.approx(last["rewards/chosen"] - last["rewards/rejected"])


@pytest.mark.parametrize(("every", "logged"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_metrics_are_logged_every_so_many_steps_and_after_the_last(recipe: Any, every: int, logged: list[int]) -> None:
    run = prospect.train(recipe("kto", train={"max_steps": 5, "log_every": every}), quiet=True)
    assert [row["step"] for row in training_rows(run)] == logged


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_checkpoints_are_kept(recipe: Any, keep: int) -> None:
    train = {"max_steps": 6, "save_every": 1, "keep_checkpoints": keep}
    run = prospect.train(recipe("kto", train=train), quiet=True)
    kept = sorted(path.name for path in run.checkpoints_path.iterdir())
    assert kept == [f"step-{step}" for step in range(6 - keep, 6)]  # the last step's weights are the model


def test_desirable_and_undesirable_move_apart_on_held_out_rows_too(recipe: Any) -> None:
    """The verdict depends on one word, so it can be learnt from some rows and tested on others."""
    rows = [dict(row, completion=row["completion"] + (" fox" if row["label"] else " dog")) for row in thumbs(48)]
    run = prospect.train(recipe("kto", rows, data={"eval": 12}, train={"epochs": 6, "learning_rate": 2e-3}), quiet=True)
    before, after = [row for row in run.metrics() if "eval_loss" in row]
    assert before["step"] == 0
    assert before["eval_rewards/auroc"] == 0.5 == before["eval_rewards/accuracies"]
    assert after["eval_rewards/auroc"] > 0.9


def test_the_run_directory_holds_what_the_design_names(recipe: Any) -> None:
    values = recipe("kto", thumbs(32), data={"eval": 0.2}, train={"save_every": 2, "samples": 2, "sample_tokens": 8})
    run = prospect.train(values, quiet=True)
    assert {"config.yaml", "provenance.json", "metrics.jsonl", "samples.jsonl", "checkpoints", "model"} <= {
        path.name for path in run.path.iterdir()
    }
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= {
        path.name for path in run.model_path.iterdir()
    }
    card = read_card(run.model_path / "README.md")
    assert card.front.tags == ["prospect", "kto"] and "AutoModelForCausalLM.from_pretrained" in card.ours
    assert str(run.path.parent) not in card.text, "no folder of this machine"
    named = "loss grad_norm learning_rate epoch kl kl_raw kl_stderr rewards/chosen rewards/rejected rewards/margins "
    named += "rewards/magnitude rewards/accuracies logps/chosen logps/rejected num_tokens tokens_per_second "
    named += "examples_seen completion_tokens"
    assert set(named.split()) <= training_rows(run)[0].keys()
    assert training_rows(run)[-1]["num_tokens"] == run.provenance().data.train.tokens
    assert [row.step for row in run.samples()] == [0, 0, 4, 4]
    provenance = run.provenance()
    assert provenance.finished and provenance.reference.identity == provenance.policy.identity
    begun = {name: phase.times for name, phase in provenance.phases.items()}
    assert (begun["first step"], begun["steps"], begun["evaluation"], begun["samples"]) == (1, 3, 2, 2)
    assert {"reading the feedback", "loading the model", "choosing the scorer", "reference", "saving"} <= begun.keys()
    assert not list(run.path.rglob(".tmp-*"))


def test_the_resolved_recipe_runs_again_to_the_same_weights(recipe: Any, tmp_path: Path) -> None:
    run = prospect.train(recipe("kto", thumbs(20)), quiet=True)
    again = prospect.train(run.config_path, overrides=[f"output={tmp_path / 'again'}"], quiet=True)
    assert same_weights(run, again)


@pytest.mark.parametrize("stop_after", [2, 3, 5])
@pytest.mark.parametrize("loss", ["kto", "dpo", "sft"])
def test_a_stopped_run_resumes_to_the_same_bits(recipe: Any, tmp_path: Path, loss: str, stop_after: int) -> None:
    values = recipe(
        loss,
        pairs(28) if loss == "dpo" else None,
        data={"eval": 4},
        train={"save_every": 2, "epochs": 2, "batch_size": 6},
    )
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    with killed_after(stop_after):
        prospect.train(values, quiet=True)
    assert same(whole, prospect.train(values, resume=True, quiet=True))


def test_lora_with_dropout_resumes_to_the_same_bits(recipe: Any, tmp_path: Path) -> None:
    path = recipe()["model"]["name_or_path"]
    lora = {"name_or_path": path, "lora": {"r": 4, "alpha": 8, "dropout": 0.2}}
    values = recipe("kto", thumbs(24), model=lora, train={"save_every": 1, "epochs": 2})
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    with killed_after(2, "save"):
        prospect.train(values, quiet=True)
    assert same_weights(whole, prospect.train(values, resume=True, quiet=True))


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}], ids=["full", "lora"])
def test_a_run_in_bf16_resumes_to_the_same_bits(recipe: Any, tmp_path: Path, lora: Any) -> None:
    """Its copies are cast from float32 weights again, and layers are recomputed with the copies."""
    settings = {"save_every": 1, "epochs": 2, "precision": "bf16", "gradient_checkpointing": True, "samples": 1}
    values = recipe("kto", thumbs(24), model={"lora": lora}, data={"eval": 4}, train=settings)
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    with killed_after(2):
        prospect.train(values, quiet=True)
    assert same(whole, prospect.train(values, resume=True, quiet=True))


def newest_step(run: RunDir) -> int:
    return max((int(p.name[5:]) for p in run.checkpoints_path.glob("step-*")), default=0)


@pytest.mark.slow
def test_kill_nine_at_any_moment_resumes_to_the_same_bits(recipe: Any, tmp_path: Path) -> None:
    import yaml

    values = recipe("kto", thumbs(40), data={"eval": 4}, train={"save_every": 1, "epochs": 4, "batch_size": 4})
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "prospect", "train", str(tmp_path / "recipe.yaml"), "--resume", "--quiet"]
    run = RunDir(values["output"])
    # Three deaths: as soon as there is a new checkpoint, then a little later each time.
    for wait in (0.0, 0.05, 0.13):
        before = newest_step(run)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and newest_step(run) == before:
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 0 < newest_step(run) < 36
    finished = prospect.train(values, resume=True, quiet=True)
    assert same_weights(whole, finished)
    assert [row["step"] for row in training_rows(finished)] == list(range(1, 37))


def test_resume_with_a_changed_reference_is_refused(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Any
) -> None:
    moving = tmp_path / "moving"
    make_model(seed=0).save_pretrained(moving)
    tokenizer.save_pretrained(moving)
    values = recipe("kto", model={"name_or_path": str(moving)}, train={"save_every": 1})
    values["reference"] = {"cache": False}
    monkeypatch.setattr("prospect.training.session.Session.finish", _die)
    with pytest.raises(Killed):
        prospect.train(values, quiet=True)
    make_model(seed=5).save_pretrained(moving)
    with pytest.raises(ReferenceMismatchError, match=r"trained against reference .* and this run's reference is"):
        prospect.train(values, resume=True, quiet=True)


def _die(self: Any) -> None:
    raise Killed


def test_resume_with_another_recipe_or_other_data_is_refused(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = recipe("kto", train={"save_every": 1})
    monkeypatch.setattr("prospect.training.session.Session.finish", _die)
    with pytest.raises(Killed):
        prospect.train(values, quiet=True)
    with pytest.raises(
        CheckpointError, match=r"cannot resume with another recipe: loss\.beta was 0\.1 and is now 0\.3"
    ):
        prospect.train(values, overrides=["loss.beta=0.3"], resume=True, quiet=True)
    recipe("kto", list(reversed(thumbs(32))))
    with pytest.raises(CheckpointError, match="training data changed"):
        prospect.train(values, resume=True, quiet=True)


def test_what_cuts_micro_batches_must_stay_where_z0_is_theirs(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = recipe("kto", reference_point="micro_batch", train={"save_every": 1, "max_tokens_per_micro_batch": 200})
    monkeypatch.setattr("prospect.training.session.Session.finish", _die)
    with pytest.raises(Killed):
        prospect.train(values, quiet=True)
    with pytest.raises(CheckpointError, match=r"train\.max_tokens_per_micro_batch was 200 and is now 100"):
        prospect.train(values, overrides=["train.max_tokens_per_micro_batch=100"], resume=True, quiet=True)


@pytest.mark.parametrize("loss", ["kto", "sft"])
def test_resume_in_another_precision_is_refused_and_said_to_be_that(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    values = recipe(loss, train={"save_every": 1, "precision": "auto"})
    monkeypatch.setattr("prospect.training.session.Session.finish", _die)
    with pytest.raises(Killed):
        prospect.train(values, quiet=True)
    monkeypatch.setattr("prospect.models.precision.resolve_precision", lambda *_: "bf16")
    with pytest.raises(
        ReferenceMismatchError, match=r"precision that it computes in, and train\.precision: auto is bf16"
    ):
        prospect.train(values, resume=True, quiet=True)


@pytest.mark.parametrize("kind", ["adapter_off", "frozen"])
def test_how_often_a_run_evaluates_changes_no_weight_of_an_adapter_with_dropout(
    recipe: Any, tmp_path: Path, kind: str
) -> None:
    lora = {"name_or_path": recipe()["model"]["name_or_path"], "lora": {"r": 4, "alpha": 8, "dropout": 0.3}}
    train = {"epochs": 2, "samples": 1, "sample_tokens": 4}
    values = recipe("kto", thumbs(24), model=lora, data={"eval": 4}, reference={"kind": kind})
    runs = [
        prospect.train(
            {**values, "train": {**values["train"], **train, "eval_every": every}, "output": str(path)}, quiet=True
        )
        for every, path in ((None, tmp_path / "seldom"), (1, tmp_path / "often"))
    ]
    assert same_weights(*runs)


def test_an_output_folder_that_holds_another_run_is_refused(recipe: Any) -> None:
    values = recipe("sft")
    prospect.train(values, quiet=True)
    with pytest.raises(CheckpointError, match=r"holds another run\. Continue that one with --resume"):
        prospect.train(values, quiet=True)


def test_a_finished_run_stays_as_it_is_on_resume(recipe: Any) -> None:
    values = recipe("sft", train={"save_every": 1})
    run = prospect.train(values, quiet=True)
    before = weights(run)
    prospect.train(values, resume=True, quiet=True)
    assert all(torch.equal(before[name], value) for name, value in weights(run).items())


def test_nothing_half_written_becomes_the_latest_checkpoint_when_the_disk_is_full(recipe: Any, tmp_path: Path) -> None:
    """A real limit on file size, in a process of its own: the first checkpoint fits, the second may not."""
    import yaml

    values = recipe("kto", train={"save_every": 1, "epochs": 2})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    script = (
        "import resource, sys, prospect.training.session as t\n"
        "save = t.Session.save\n"
        "def limited(self):\n"
        "    if self.progress.step == 3:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "    save(self)\n"
        "t.Session.save = limited\n"
        "from prospect.cli.main import main\n"
        "sys.exit(main(['train', sys.argv[1], '--quiet']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "recipe.yaml")], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "CheckpointError" in done.stderr and "the last good one is step-2" in done.stderr
    run = RunDir(values["output"])
    assert sorted(p.name for p in run.checkpoints_path.iterdir()) == ["step-1", "step-2"]
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    assert same_weights(whole, prospect.train(values, resume=True, quiet=True))


def test_a_gradient_that_is_not_finite_updates_nothing(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.training.session import Session

    clip = Session.clip_gradient
    kept: dict[str, torch.Tensor] = {}

    def poisoned(self: Any, step: int) -> float:
        if step == 2:
            next(iter(self.policy.trainable().values())).grad[0] = float("inf")
            kept.update({name: p.detach().clone() for name, p in self.policy.trainable().items()})
            kept["session"] = self
        return clip(self, step)

    monkeypatch.setattr(Session, "clip_gradient", poisoned)
    with pytest.raises(TrainingError, match=r"gradient is not finite at step 2 .*Nothing was updated"):
        prospect.train(recipe("kto"), quiet=True)
    session: Any = kept.pop("session")
    assert all(torch.equal(kept[name], p) and p.grad is None for name, p in session.policy.trainable().items())


def test_gradient_checkpointing_gives_the_same_weights(recipe: Any, tmp_path: Path) -> None:
    values = recipe("kto", thumbs(16))
    plain = prospect.train(values, quiet=True)
    recomputed = prospect.train(
        values, overrides=["train.gradient_checkpointing=true", f"output={tmp_path / 'gc'}"], quiet=True
    )
    assert_trained_alike(weights(recomputed), weights(plain), plain.config()["train"]["learning_rate"])


def test_bf16_trains_and_starts_at_zero_reward(recipe: Any) -> None:
    run = prospect.train(recipe("kto", thumbs(16), train={"precision": "bf16", "max_steps": 12}), quiet=True)
    rows = training_rows(run)
    assert rows[0]["rewards/chosen"] == 0.0 and rows[0]["loss"] == pytest.approx(0.5)
    assert rows[-1]["rewards/margins"] > 0
    assert all(value.dtype == torch.float32 for value in weights(run).values())


def test_a_saved_model_loads_with_transformers_and_scores_as_trained(recipe: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = prospect.train(recipe("sft", thumbs(16), train={"max_steps": 5}), quiet=True)
    model = AutoModelForCausalLM.from_pretrained(run.model_path)
    tokenizer = AutoTokenizer.from_pretrained(run.model_path)
    assert tokenizer.chat_template
    assert json.loads((run.model_path / "config.json").read_text())["model_type"] == "llama"
    assert model(**tokenizer("the quick", return_tensors="pt")).logits.isfinite().all()


def test_class_weights_follow_the_paper_and_are_written_down(recipe: Any) -> None:
    rows = [dict(row, label=i % 4 == 0) for i, row in enumerate(thumbs(32))]
    run = prospect.train(recipe("kto", rows), quiet=True)
    loss = run.config()["loss"]
    assert loss["undesirable_weight"] == 1.0
    assert 1.0 <= loss["desirable_weight"] * 8 / 24 <= 4 / 3
    assert run.config()["data"]["class_weights"] == "none"


def test_thirty_step_curve_of_kto_is_what_it_was(recipe: Any) -> None:
    """A golden curve: a change of any part of the step shows here. Regenerate only with a reason in the commit.

    Steps build on one another, so its tolerance counts the additions of all thirty: 1.4e-4. An ulp of noise in every
    product moved the curve by 3e-7, ten ulps by 2e-6.
    """
    run = prospect.train(recipe("kto", thumbs(32), train={"max_steps": 30, "batch_size": 8}), quiet=True)
    losses = [row["loss"] for row in training_rows(run)]
    golden = json.loads((Path(__file__).parent / "kto_curve.json").read_text())
    assert losses == pytest.approx(golden, rel=rounding(30 * BACKWARD))


def test_a_share_too_small_to_evaluate_is_trained_on(recipe: Any) -> None:
    """A tenth of ten prompts is one, and one prompt cannot give a z0."""
    run = prospect.train(recipe("kto", thumbs(10), data={"eval": 0.1}), quiet=True)
    assert run.config()["data"]["eval"] is None
    assert run.provenance().data.train.rows == 10
    with pytest.raises(ConfigError, match=r"data\.eval is 1 and holds out one single prompt"):
        prospect.train(recipe("kto", thumbs(10), data={"eval": 1}, output="unused"), quiet=True)
