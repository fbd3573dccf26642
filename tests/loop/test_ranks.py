"""Two processes do what one does: same gradient, same weights, resumes either way, and no hang when one dies."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import REPOSITORY, rows_for, write_rows
from pipelines import image_rows
from prospect.errors import CheckpointError
from prospect.run_dir import RunDir
from prospect.training.checkpoints.checkpoint import latest_checkpoint
from prospect.training.processes import world
from prospect.training.processes.place import find_place, first_host
from prospect.training.processes.world import share_cores
from runs import numbers, weights
from tolerances import BACKWARD, assert_trained_alike, distance, near, rounding

WORKER = str(REPOSITORY / "tests/loop/rank_worker.py")
LOSSES = ["kto", "dpo", "sft", "bco", "nca", "offline_ppo", "bradley_terry"]


CHECKPOINTING = {"gradient_checkpointing": True}


def write_job(folder: Path, **job: Any) -> str:
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return str(path)


def together(folder: Path, *, ranks: int = 2, check: bool = True, **job: Any) -> subprocess.CompletedProcess[str]:
    """Runs the worker in several processes under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), WORKER]
    done = subprocess.run([*command, write_job(folder, **job)], capture_output=True, text=True, timeout=200)
    assert not check or done.returncode == 0, done.stderr
    return done


def recipe_for(recipe: Any, loss: str, output: Path, parallel: str = "ddp", **sections: Any) -> dict[str, Any]:
    """Micro-batches of a few rows, so that there is something to share."""
    train = {"batch_size": 8, "max_steps": 6, "save_every": 2, "parallel": parallel, "max_tokens_per_micro_batch": 120}
    rows = rows_for(loss)
    values = recipe(loss, rows, train={**train, **sections.pop("train", {})}, **sections)
    values["data"]["train"] = str(write_rows(output.parent / f"{loss}.jsonl", rows))
    return {**values, "output": str(output)}


def assert_same(one: RunDir, two: RunDir) -> None:
    assert_trained_alike(weights(two), weights(one), one.config()["train"]["learning_rate"])
    within = rounding(BACKWARD, 70)  # nats: metrics are made of log-probs of completions, which are no larger
    for a, b in zip(one.metrics(), two.metrics(), strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"tokens_per_second", "padding_share", "kl_seconds"}:
            assert b[name] == pytest.approx(a[name], rel=0, abs=within), name


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(recipe: Any, tmp_path: Path) -> None:
    from rank_worker import write_gradient

    jobs = {}
    for loss in LOSSES:
        for parallel in ("ddp", "fsdp") if loss in ("kto", "dpo", "offline_ppo") else ("ddp",):
            jobs[loss, parallel] = recipe_for(recipe, loss, tmp_path / f"{loss}-{parallel}", parallel)
    for parallel in ("ddp", "fsdp"):
        values = recipe_for(recipe, "kto", tmp_path / f"lora-{parallel}", parallel, train=CHECKPOINTING)
        jobs["lora", parallel] = {**values, "model": {**values["model"], "lora": {"r": 4, "alpha": 8}}}
        values = recipe_for(recipe, "kto", tmp_path / f"sampled-{parallel}", parallel, reference_point="sampled")
        jobs["sampled", parallel] = values
    paths = {key: tmp_path / f"{key[0]}-{key[1]}.pt" for key in jobs}
    together(tmp_path, gradient=[[jobs[key], str(paths[key])] for key in jobs])
    for key, path in paths.items():
        write_gradient(jobs[key], str(tmp_path / "one.pt"))
        one, two = torch.load(tmp_path / "one.pt"), torch.load(path)
        assert (one["world"], two["world"]) == ([0, 1], [0, 2])
        assert distance(two["gradient"], one["gradient"]) < rounding(BACKWARD), key
        assert two["metrics"] == near(one["metrics"])


def test_two_processes_share_the_images_of_a_step(images: Any, tmp_path: Path) -> None:
    """Each encodes its share of what is missing, and both read all."""
    assert_gradient_of_one([images("pixels", train={"images_per_micro_batch": 3})], tmp_path)


@pytest.mark.slow
def test_two_processes_spread_a_denoiser_and_have_the_gradient_of_one(images: Any, tmp_path: Path) -> None:
    """UNets and transformers, all weights or an adapter; images of two sizes, of which the ranks have unlike many."""
    rows = image_rows(tmp_path / "feedback", 14, sizes=[(16, 16), (16, 16), (24, 12)])
    train = {"images_per_micro_batch": 3, "parallel": "fsdp"}
    asked: list[tuple[str, Any]] = [("sdxl", None), ("sd15", {"r": 2}), ("flux", None), ("sd35", {"r": 2})]
    assert_gradient_of_one(
        [images(family, "kto", rows, model={"lora": lora}, train=train) for family, lora in asked], tmp_path
    )


def assert_gradient_of_one(recipes: list[dict[str, Any]], folder: Path) -> None:
    from rank_worker import write_gradient

    jobs = [
        [{**recipe, "output": str(folder / f"run-{i}")}, str(folder / f"{i}.pt")] for i, recipe in enumerate(recipes)
    ]
    together(folder, gradient=jobs)
    for recipe, path in jobs:
        write_gradient({**recipe, "output": f"{recipe['output']}-alone"}, str(folder / "one.pt"))
        one, two = torch.load(folder / "one.pt"), torch.load(path)
        assert (one["world"], two["world"]) == ([0, 1], [0, 2])
        assert distance(two["gradient"], one["gradient"]) < rounding(BACKWARD)
        assert two["metrics"] == near(one["metrics"], BACKWARD)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_spread_denoiser_is_saved_whole_and_any_number_of_processes_resumes(images: Any, tmp_path: Path) -> None:
    """A UNet's adapter, with the images that it draws meanwhile, and a transformer of which all weights are trained."""
    train = {"images_per_micro_batch": 3, "parallel": "fsdp", "max_steps": 4, "save_every": 2}
    lora = {**train, "max_steps": 2, "samples": 2, "sample_steps": 2}
    unet = images("sd15", model={"lora": {"r": 2}}, train=lora, output=str(tmp_path / "unet"))
    transformer = images("flux", data={"eval": 0.3}, train=train, output=str(tmp_path / "transformer"))
    together(tmp_path, check=False, train=[unet, transformer], die_at=3)
    last = latest_checkpoint(RunDir(transformer["output"]).checkpoints_path)
    assert last is not None and last.name == "step-2" and (last / "sharded").exists()
    together(tmp_path, train=[transformer], resume=True)
    for values, part in ((unet, ""), (transformer, "transformer")):
        run, alone = (
            RunDir(values["output"]),
            prospect.train({**values, "output": f"{values['output']}-alone"}, quiet=True),
        )
        ours, theirs = weights(run.model_path / part), weights(alone.model_path / part)
        assert_trained_alike(ours, theirs, values["train"]["learning_rate"])
        for two, one in zip(numbers(run), numbers(alone), strict=True):
            assert two == near(one, BACKWARD)
        assert [row.spread for row in run.samples()] == pytest.approx([row.spread for row in alone.samples()], abs=0.1)
    assert len(RunDir(unet["output"]).samples()) == 4


def trained_alike(folder: Path, recipes: list[dict[str, Any]]) -> list[RunDir]:
    """Runs of two processes, each held against one process alone: weights, metrics, samples."""
    together(folder, train=recipes)
    for values in recipes:
        alone = prospect.train({**values, "output": f"{values['output']}-alone"}, quiet=True)
        pair = RunDir(values["output"])
        assert_same(alone, pair)
        assert pair.samples() == alone.samples() != []
    return [RunDir(values["output"]) for values in recipes]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_end_with_the_weights_of_one(recipe: Any, tmp_path: Path, parallel: str) -> None:
    """Evaluations, samples, checkpoints and the cached reference included."""
    losses = ["kto", "dpo", "offline_ppo"] if parallel == "ddp" else ["kto", "sft"]
    more: dict[str, Any] = {"data": {"eval": 4}, "train": {"samples": 2, "sample_tokens": 4, "eval_every": 3}}
    recipes = [recipe_for(recipe, loss, tmp_path / loss, parallel, **more) for loss in losses]
    for pair in trained_alike(tmp_path, recipes):
        assert pair.provenance().finished


@pytest.mark.slow
def test_an_adapter_trains_and_writes_samples_on_sharded_weights(recipe: Any, tmp_path: Path) -> None:
    """`generate` passes PEFT's wrapper by; a reference that follows merges the adapter, parts with parts."""
    train = {"samples": 2, "sample_tokens": 4, "max_steps": 3, "save_every": 2, "learning_rate": 1e-2}
    more: dict[str, Any] = {"model": {"lora": {"r": 4, "alpha": 8}}, "data": {"eval": 4}, "train": train}
    off = recipe_for(recipe, "kto", tmp_path / "off", "fsdp", **copy.deepcopy(more))
    follows = recipe_for(
        recipe, "kto", tmp_path / "follows", "fsdp", reference={"sync": {"every": 2, "mix": 1}}, **more
    )
    follows["loss"]["humanline"] = True
    trained_alike(tmp_path, [off, follows])


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_an_adapter_that_is_trained_on_and_another_reference_are_the_same_in_two_processes(
    recipe: Any, tmp_path: Path, parallel: str
) -> None:
    """The weights that an adapter began with take the places of the policy's, in parts where those lie in parts."""
    lora = {"model": {"lora": {"r": 4, "alpha": 8}}, "train": {"learning_rate": 1e-2}}
    first = prospect.train(recipe_for(recipe, "kto", tmp_path / "first", **copy.deepcopy(lora)), quiet=True)
    more: dict[str, Any] = {"data": {"eval": 4}, "train": {"samples": 2, "sample_tokens": 4, "learning_rate": 1e-2}}
    adapter = {"model": {"name_or_path": str(first.path)}, **more}
    runs = {
        "continued": recipe_for(recipe, "kto", tmp_path / "continued", parallel, **copy.deepcopy(adapter)),
        "named": recipe_for(
            recipe, "dpo", tmp_path / "named", parallel, reference={"name_or_path": str(first.path)}, **more
        ),
    }
    continued, named = trained_alike(tmp_path, list(runs.values()))
    assert continued.config()["model"]["adapter"] == "continue"
    step = next(row for row in continued.metrics() if row["step"] == 1)
    assert step["rewards/chosen"] == step["rewards/rejected"] == 0.0
    assert abs(named.provenance().reference.start["log_ratio"]) > 0.01


@pytest.mark.slow
def test_policy_and_frozen_reference_are_both_spread_with_and_without_a_cache(recipe: Any, tmp_path: Path) -> None:
    kinds = {"cached": True, "frozen": False}
    jobs = []
    for kind, cache in kinds.items():
        values = recipe_for(recipe, "dpo", tmp_path / kind, "fsdp", reference={"cache": cache})
        jobs.append([values, str(tmp_path / f"{kind}.json")])
    together(tmp_path, start=jobs)
    for kind in kinds:
        found = json.loads((tmp_path / f"{kind}.json").read_text())
        half = {"share": pytest.approx(0.5, abs=0.02), "in_parts": True}
        assert found == {"kind": kind, "policy": half, "reference": half}


@pytest.mark.slow
def test_a_parameter_that_nobody_uses_keeps_no_gradient(tmp_path: Path) -> None:
    """A gradient of 0 would let AdamW decay it, which a single process does not."""
    together(tmp_path, sum=str(tmp_path / "sums.json"))
    everybodys = [[3.0, 6.0], [5.0, 7.0], None]
    assert json.loads((tmp_path / "sums.json").read_text()) == [everybodys, everybodys]


@pytest.mark.slow
def test_sharded_weights_are_saved_before_the_model_is_put_together(recipe: Any, tmp_path: Path) -> None:
    """One process must hold the finished model: where it cannot, the last steps are not lost."""
    values = recipe_for(recipe, "sft", tmp_path / "run", "fsdp", train={"max_steps": 3})
    result = together(tmp_path, check=False, train=[values], cannot_finish=True)
    assert "TrainingError: out of memory while the finished model was written" in result.stderr
    assert "Checkpoint step-3 is intact: --resume continues from it" in result.stderr
    run = RunDir(values["output"])
    assert not run.model_path.exists()
    resumed = prospect.train(values, resume=True, quiet=True)
    alone = prospect.train({**values, "output": str(tmp_path / "alone")}, quiet=True)
    assert_same(alone, resumed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"), [(("ddp", 2), ("ddp", 1)), (("fsdp", 2), ("ddp", 1)), (("ddp", 1), ("fsdp", 2))]
)
def test_a_run_resumes_with_another_number_of_processes(recipe: Any, tmp_path: Path, first: Any, then: Any) -> None:
    sections: dict[str, Any] = {"reference": {"sync": {"every": 3, "mix": 0.5}}}
    values = recipe_for(recipe, "dpo", tmp_path / "run", first[0], **sections)
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    together(tmp_path, ranks=first[1], check=False, train=[values], die_at=5)
    run = RunDir(values["output"])
    last = latest_checkpoint(run.checkpoints_path)
    assert last is not None and last.name == "step-4"
    assert (last / "sharded").exists() == (first[0] == "fsdp")
    values["train"]["parallel"] = then[0]
    together(tmp_path, ranks=then[1], train=[values], resume=True)
    assert_same(whole, run)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_processes_share_the_samples_of_z0_and_one_goes_on_with_the_estimate_of_both(
    recipe: Any, tmp_path: Path, parallel: str
) -> None:
    sampled = {"kind": "sampled", "every": 3, "completions": 5}
    train = {"learning_rate": 1e-2}
    values = recipe_for(recipe, "kto", tmp_path / "run", parallel, reference_point=sampled, train=train)
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    together(tmp_path, check=False, train=[values], die_at=5)
    run = RunDir(values["output"])
    last = latest_checkpoint(run.checkpoints_path)
    assert last is not None and last.name == "step-4"  # whose estimate the next two steps keep
    assert_same(whole, prospect.train(values, resume=True, quiet=True))
    assert whole.metrics()[-1]["kl"] > 0 and whole.metrics()[-1]["kl_tokens"] == 0


@pytest.mark.slow
def test_a_process_whose_share_holds_one_class_changes_nothing(recipe: Any, tmp_path: Path) -> None:
    """Two examples a step, one of each class: whoever gets one has nothing of the other."""
    train = {"batch_size": 2, "max_steps": 4}
    values = recipe_for(recipe, "kto", tmp_path / "run", train=train)
    together(tmp_path, train=[values])
    alone = prospect.train({**values, "output": str(tmp_path / "alone")}, quiet=True)
    assert_same(alone, RunDir(values["output"]))


def each_on_its_own(job: str) -> tuple[list[int], list[str]]:
    """Runs two processes without torchrun, which would end one with the other: as under srun.

    Returns their exit codes, and what they said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, job],
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_signal_to_one_process_stops_all_after_the_same_step_and_any_number_resumes(
    recipe: Any, tmp_path: Path, parallel: str
) -> None:
    """In the step after which an evaluation is due; and a byte of any part that is flipped is refused."""
    train = {"save_every": None, "eval_every": 3}
    values = recipe_for(recipe, "kto", tmp_path / "run", parallel, train=train, data={"eval": 4})
    codes, said = each_on_its_own(write_job(tmp_path, train=[values], stop_at=3, ranks=[1]))
    assert codes == [143, 143], said
    assert said[0].splitlines()[-1].startswith("stopped after step 3 of 6; step-3 is saved.")
    assert "stopped" not in said[1]  # one process speaks
    (checkpoint,) = RunDir(values["output"]).checkpoints()
    for path in sorted(checkpoint.rglob("*.safetensors")):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(CheckpointError, match=f"{path.name} was changed after it was written"):
            prospect.train(values, resume=True, quiet=True)
        path.write_bytes(whole)
    whole_run = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    assert_same(whole_run, prospect.train(values, resume=True, quiet=True))


@pytest.mark.slow
def test_a_callback_of_the_main_process_ends_the_run_of_all(recipe: Any, tmp_path: Path) -> None:
    values = recipe_for(recipe, "kto", tmp_path / "run", data={"eval": 4}, train={"save_every": None})
    codes, said = each_on_its_own(write_job(tmp_path, train=[values], ends_at=3))
    assert codes == [0, 0], said
    assert "told of [1, 2, 3]" in said[0] and "told of" not in said[1]
    run = RunDir(values["output"])
    assert run.provenance().finished and [row["step"] for row in run.metrics()] == [0, 1, 2, 3, 3]


@pytest.mark.slow
def test_when_a_process_dies_the_others_end_with_an_error_and_the_last_checkpoint_is_whole(
    recipe: Any, tmp_path: Path
) -> None:
    values = recipe_for(recipe, "kto", tmp_path / "run", train={"save_every": 1})
    begun = time.monotonic()
    codes, said = each_on_its_own(write_job(tmp_path, train=[values], die_at=3, ranks=[1], hard=True))
    assert time.monotonic() - begun < 100
    assert codes == [1, 9]
    assert "TrainingError: rank 0: another process of this run ended or cannot be reached" in said[0]
    run = RunDir(values["output"])
    last = latest_checkpoint(run.checkpoints_path)
    assert last is not None and last.name == "step-2"
    resumed = prospect.train(values, resume=True, quiet=True)
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    assert_same(whole, resumed)


# -- how many threads --


SLURM = {"SLURM_NTASKS_PER_NODE": "8", "SLURM_CPUS_ON_NODE": "64"}


@pytest.mark.parametrize(
    ("environment", "may_use", "threads"),
    [
        ({}, 8, 8),
        ({"OMP_NUM_THREADS": "3"}, 8, None),
        ({"LOCAL_WORLD_SIZE": "4"}, 8, 2),
        ({"LOCAL_WORLD_SIZE": "4"}, 2, 1),
        ({**SLURM, "SLURM_CPUS_PER_TASK": "8"}, 8, 8),  # bound to cores of its own
        ({**SLURM, "SLURM_CPUS_PER_TASK": "8"}, 64, 8),  # may run on all cores of the job
        ({**SLURM, "SLURM_CPUS_PER_TASK": "8"}, 1, 1),  # an srun that did not get --cpus-per-task
        (SLURM, 8, 8),
        (SLURM, 64, 8),
        (SLURM, 128, 8),  # of a machine that the job has half of
        ({"LOCAL_WORLD_SIZE": "8", "SLURM_NTASKS_PER_NODE": "1", "SLURM_CPUS_PER_TASK": "64"}, 64, 8),
    ],
)
def test_a_process_takes_its_part_of_the_cores_once(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], may_use: int, threads: int | None
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(world.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(world, "allotted_cores", lambda _: may_use)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    share_cores(environment)
    assert taken == ([] if threads is None else [threads])


# -- who is who --


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, (3, 4, 1)),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "n[1-4]"}, (5, 8, 1)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "n1"}, None),
        ({"SLURM_JOB_ID": "7"}, None),  # inside sbatch, and not started by srun
        (
            {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "n1"},
            (1, 2, 1),
        ),
    ],
)
def test_a_process_finds_its_place(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], place: Any) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "kept")  # and put back by monkeypatch whatever happens
    assert find_place(environment) == place


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("a[03-05,9],b", "a03"),
        ("node7", "node7"),
        ("node7,node8", "node7"),
        ("gpu-[1-4].cluster", "gpu-1.cluster"),
        ("a-1,b[2-3]", "a-1"),
    ],
)
def test_slurm_processes_meet_at_the_first_machine(nodes: str, first: str) -> None:
    assert first_host(nodes) == first
