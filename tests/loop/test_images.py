"""Models that make images train through the step that trains texts: tiny pipelines of every family, built in code."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from pipelines import FAMILIES, PROMPTS, SIDE, image_rows, save_pipeline
from prospect.config import load_config
from prospect.data.batch import flatten
from prospect.data.draw import Draw
from prospect.errors import ConfigError, DataError, ModelError
from prospect.model_source import find_model
from prospect.models.reference import build_reference
from prospect.training.objective import build_objective, build_policy, encode_images
from prospect.training.prepare import Prepared, prepare
from prospect.training.step import Objective, accumulate_gradient, score
from prospect.training.train import hold, run_steps
from runs import killed_after, numbers
from tolerances import distance, rounding

TERMS = 3000  # additions behind one another: the numbers of an image, over some rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def moved_objective(recipe: dict[str, Any]) -> tuple[Objective, Prepared]:
    """What a recipe minimises, with a policy that has moved away from its reference."""
    prepared = prepare(load_config(recipe))
    encode_images(prepared)
    policy = build_policy(prepared)
    needed = prepared.loss.needs_reference
    reference = build_reference(prepared.config.reference, policy, needed, Path(prepared.config.output))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return build_objective(prepared, policy, reference), prepared


def gradient(objective: Objective, examples: Any, step: int = 1) -> torch.Tensor:
    objective.policy.model.zero_grad(set_to_none=True)
    accumulate_gradient(objective, examples, step)
    found = [p.grad.flatten() for p in objective.policy.trainable().values() if p.grad is not None]
    return torch.cat(found).clone()


def load_pipeline(folder: Path) -> Any:
    import diffusers

    name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    return getattr(diffusers, name).from_pretrained(folder, use_safetensors=True)


# -- every family --


@pytest.mark.parametrize("family", FAMILIES)
def test_full_weights_train_and_load_in_plain_diffusers(family: str, images: Any) -> None:
    run = prospect.train(images(family), quiet=True)
    first, *_, last = [row for row in run.metrics() if "loss" in row]
    assert first["loss"] == 0.5 and first["log_ratios/chosen"] == 0.0 and first["errors/chosen"] == 1.0
    assert last["log_ratios/chosen"] != 0.0
    before, after = load_pipeline(Path(images(family)["model"]["name_or_path"])), load_pipeline(run.model_path)
    for part in before.components:
        one, other = getattr(before, part), getattr(after, part)
        if isinstance(one, torch.nn.Module):
            pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
            same = all(torch.equal(a, b) for a, b in pairs)
            assert same is (part not in ("unet", "transformer")), part


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd35", "flux"])
def test_an_adapter_loads_in_plain_diffusers_and_is_nothing_when_off(family: str, images: Any) -> None:
    """What was trained, and what diffusers makes of the file, predict the same."""
    recipe = images(family, model={"lora": {"r": 2, "alpha": 6}}, train={"learning_rate": 1e-2})
    with hold(recipe, quiet=True) as session:
        run_steps(session)
        session.finish()
        policy, medium = session.policy, session.objective.medium
        batch = medium.collate([row for (row,) in session.prepared.train.examples[:4]])
        with torch.no_grad():
            ours = policy.logps(batch)
            with policy.without_adapter():
                off = policy.logps(batch)
        card = (session.run.model_path / "README.md").read_text()
    base = Path(recipe["model"]["name_or_path"])
    pipe = load_pipeline(base)
    part = policy.pipeline.family.part
    plain = replace(policy, model=getattr(pipe, part).eval())
    with torch.no_grad():
        assert torch.equal(plain.logps(batch), off)
        pipe.load_lora_weights(session.run.model_path)
        plain.model = getattr(pipe, part).eval()
        theirs = plain.logps(batch)
    assert float((theirs - ours).abs().max()) < rounding(TERMS, float(ours.abs().max()))
    assert (ours - off).abs().min() > 1e-3
    if part == "unet":  # the names that ComfyUI knows, which diffusers knows too
        pipe.unload_lora_weights()
        pipe.load_lora_weights(session.run.model_path, weight_name="comfyui.safetensors")
        with torch.no_grad():
            assert torch.allclose(plain.logps(batch), theirs)
    assert "load_lora_weights" in card and type(pipe).__name__ in card
    on = {**recipe, "model": {"name_or_path": str(session.run.path)}, "output": str(session.run.path / "on")}
    again = build_policy(prepare(load_config(on)))
    with torch.no_grad():  # trained on, it begins with what was saved
        assert float((again.logps(batch) - ours).abs().max()) < rounding(TERMS, float(ours.abs().max()))
        with again.without_adapter():
            assert torch.equal(again.logps(batch), off)
    with pytest.raises(ConfigError, match="trained an adapter of a pipeline, which is trained on as it is"):
        prepare(load_config({**on, "model": {**on["model"], "lora": True}}))


# -- the step --


@pytest.mark.parametrize(
    ("family", "loss"), [("sd15", "kto"), ("sd21", "dpo"), ("flux", "hinge"), ("pixels", "ipo"), ("dit", "sft")]
)
def test_neither_micro_batches_nor_order_change_the_gradient(family: str, loss: str, images: Any) -> None:
    """In double precision, so that kernels for other batch sizes, which round otherwise, hide nothing."""
    objective, prepared = moved_objective(images(family, loss))
    policies = [objective.policy]
    objective.reference.change(policies.append)  # type: ignore[arg-type]
    for policy in policies:
        policy.model.double()
        policy.dtype = torch.float64  # type: ignore[attr-defined]
    examples = list(prepared.train.examples)
    whole, metrics = gradient(objective, examples), score(objective, examples).metrics
    assert whole.norm() > 0
    for at_once in (3, 2):
        cut = replace(objective, max_tokens=at_once)
        assert distance(gradient(cut, examples[::-1]), whole) < 1e-9
        assert score(cut, examples).metrics == pytest.approx(metrics, rel=1e-9, abs=1e-9)


def test_images_of_two_sizes_make_one_step(images: Any, tmp_path: Path) -> None:
    rows = image_rows(tmp_path / "feedback", 16, sizes=[(16, 16), (16, 16), (24, 12)])
    objective, prepared = moved_objective(images("sd15", "kto", rows))
    sizes = prepared.train.summary().sizes
    assert sizes is not None and len(sizes) == 2 and sum(sizes.values()) == 16
    examples = prepared.train.examples
    whole = gradient(objective, examples)
    assert distance(gradient(replace(objective, max_tokens=2), examples), whole) < rounding(TERMS)


def test_noise_is_another_in_every_step_and_the_same_in_every_evaluation(images: Any) -> None:
    objective, prepared = moved_objective(images("pixels"))
    examples = prepared.train.examples
    first = gradient(objective, examples, step=1)
    state = torch.get_rng_state()
    assert torch.equal(gradient(objective, examples, step=1), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert distance(gradient(objective, examples, step=2), first) > 0.01
    assert score(objective, examples).metrics == score(objective, examples).metrics


@pytest.mark.parametrize("loss", ["kto", "dpo"])
def test_some_prompts_are_told_to_neither_model_in_a_step_and_all_are_in_evaluations(loss: str, images: Any) -> None:
    """Which ones, step and row decide; the two rows of a pair go together."""
    objective, prepared = moved_objective(images("sdxl", loss, train={"prompt_dropout": 0.5}))
    medium, rows = objective.medium, flatten(prepared.train.examples)
    batch = medium.collate(rows)
    told = batch.conditions
    said: list[Any] = []
    policy = replace(objective.policy)
    policy.logps = lambda asked: said.append(asked) or torch.zeros(len(rows))  # type: ignore[func-returns-value]

    def silent(step: int) -> list[bool]:
        medium.compare(policy, policy, batch, Draw(0, step), by_unit=False)
        ours, theirs = (one.conditions for one in said[-2:])
        assert all(torch.equal(ours[name], theirs[name]) for name in told)
        found = [not torch.equal(ours["text"][i], told["text"][i]) for i in range(len(rows))]
        # SDXL samples without a prompt from zeros.
        assert all(not one["text"][i].any() for one in (ours, theirs) for i, is_silent in enumerate(found) if is_silent)
        return found

    assert not any(silent(0))
    drawn = [silent(step) for step in range(1, 21)]
    assert drawn[0] == silent(1) != drawn[1] and 0.3 < sum(map(sum, drawn)) / (20 * len(rows)) < 0.7
    if loss == "dpo":
        assert all(step[0::2] == step[1::2] for step in drawn)


def test_the_two_images_of_a_pair_see_one_noise(images: Any) -> None:
    prepared = prepare(load_config(images("pixels", "dpo")))
    keys = [[row.noise_key for row in example] for example in prepared.train.examples]
    assert all(one == other for one, other in keys) and len({one for one, _ in keys}) == 8
    singles = prepare(load_config(images("pixels", "kto"))).train.examples
    assert len({row.noise_key for (row,) in singles}) == 16


def test_matched_z0_is_the_clamped_mean_of_the_steps_own_log_ratios(images: Any) -> None:
    objective, prepared = moved_objective(images("pixels", reference_point={"kind": "matched"}))
    result = accumulate_gradient(objective, prepared.train.examples, 1)
    log_ratios = torch.tensor(result.tally.rewards) / objective.beta
    assert result.metrics["kl_raw"] == pytest.approx(float(log_ratios.mean()), rel=1e-5)
    assert result.metrics["kl"] == max(0.0, result.metrics["kl_raw"])


def test_matched_z0_needs_no_second_prompt(images: Any, tmp_path: Path) -> None:
    rows = [{**row, "prompt": PROMPTS[0]} for row in image_rows(tmp_path / "feedback", 8)]
    prepare(load_config(images("pixels", rows=rows, reference_point={"kind": "matched"})))
    with pytest.raises(DataError, match="other prompts for z0"):
        prepare(load_config(images("pixels", rows=rows)))


def test_matched_z0_costs_a_step_of_one_micro_batch_nothing_and_is_the_same_of_many(images: Any) -> None:
    objective, prepared = moved_objective(images("pixels", reference_point={"kind": "matched"}))
    examples, model = prepared.train.examples, objective.policy.model
    # Without the clamp z0 is not 0 however it is made.
    unclamped = replace(objective, loss=replace(objective.loss, needs_reference=False), max_tokens=len(examples))
    looks: list[None] = []
    model.register_forward_hook(lambda *_: looks.append(None))
    whole = gradient(unclamped, examples)
    assert len(looks) == 1
    cut = gradient(replace(unclamped, max_tokens=len(examples) // 2), examples)
    assert len(looks) == 1 + 2 + 2
    assert distance(cut, whole) < rounding(TERMS)
    model.dropout = torch.nn.Dropout(0.1).train()
    gradient(unclamped, examples)
    assert len(looks) == 5 + 2


# -- runs --


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        ("sd15", {"r": 2}),
        ("sdxl", None),
        pytest.param("sd3", {"r": 2}, marks=pytest.mark.slow),
        pytest.param("sd35", None, marks=pytest.mark.slow),
        pytest.param("flux", None, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(family: str, lora: Any, images: Any, tmp_path: Path) -> None:
    train = {"max_steps": 4, "save_every": 2, "eval_every": 2}
    recipe = images(family, data={"eval": 2}, train=train, model={"lora": lora})
    whole = prospect.train({**recipe, "output": str(tmp_path / "whole")}, quiet=True)
    with killed_after(3):
        prospect.train(recipe, quiet=True)
    resumed = prospect.train(recipe, resume=True, quiet=True)
    files = (run.model_path.rglob("pytorch_lora*" if lora else "diffusion_pytorch*") for run in (whole, resumed))
    written = [[file.read_bytes() for file in sorted(of)] for of in files]
    assert written[0] == written[1] != [] and numbers(whole) == numbers(resumed)


def test_a_process_that_comes_late_encodes_its_own_share(images: Any, tmp_path: Path) -> None:
    """What the first has written by then changes nothing of who encodes what."""
    from prospect.models.diffusion.encodings import Encodings

    prepared = prepare(load_config(images("sd15")))
    assert prepared.pipeline is not None
    rows: list[Any] = flatten(prepared.train.examples)
    for rank in range(2):
        Encodings(tmp_path / "encodings", prepared.pipeline, "float32").add(rows, rank, 2)
    encodings = Encodings(tmp_path / "encodings", prepared.pipeline, "float32")
    assert all(encodings.image(row).numel() and encodings.conditions(row.prompt) for row in rows)


def test_encodings_of_a_pipeline_that_encodes_no_prompt_otherwise_are_others(tmp_path: Path) -> None:
    from prospect.models.diffusion.pipelines import read_pipeline

    folder = save_pipeline("sdxl", tmp_path / "sdxl")
    before = read_pipeline(find_model(str(folder))).encoders
    index = json.loads((folder / "model_index.json").read_text())
    index["force_zeros_for_empty_prompt"] = not index["force_zeros_for_empty_prompt"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert read_pipeline(find_model(str(folder))).encoders != before


def test_what_is_encoded_is_encoded_once(images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.models.diffusion.encodings import Encodings

    prepared = prepare(load_config(images("sd15")))
    encode_images(prepared)
    left = [kind for kind in map(type, gc.get_objects()) if kind.__name__ in ("AutoencoderKL", "CLIPTextModel")]
    assert not left, "encoders stay in memory"

    def never(self: Encodings) -> None:
        raise AssertionError("an encoder was loaded again")

    monkeypatch.setattr(Encodings, "_load_text_encoders", never)
    monkeypatch.setattr(Encodings, "_vae_encoder", never)
    encode_images(prepared)


def test_a_run_that_forgets_desirable_images_rings(images: Any, tmp_path: Path) -> None:
    """Three thumbs up and twelve down, unweighted: the short way to a lower loss is to make noise of all."""
    rows = [row for i, row in enumerate(image_rows(tmp_path / "feedback", 24)) if i % 2 or i % 8 == 0]
    loss = {"name": "kto_no_z0", "desirable_weight": 1.0, "undesirable_weight": 1.0}
    train = {"batch_size": 8, "max_steps": 24, "learning_rate": 3e-3}
    run = prospect.train(images("pixels", loss, rows, data={"allow_imbalance": True}, train=train), quiet=True)
    rung = [alarm.text for row in run.alarms() for alarm in row.alarms]
    assert len(rung) == 1 and "the model forgets how to make them" in rung[0]
    assert run.metrics()[-1]["errors/chosen"] > 1.05


def test_another_pipeline_is_the_reference_where_it_sees_the_same_latents(images: Any, tmp_path: Path) -> None:
    first = prospect.train(images("sd15", output=str(tmp_path / "first")), quiet=True)
    run = prospect.train(images("sd15", reference={"name_or_path": str(first.path)}), quiet=True)
    reference = run.provenance().reference
    assert reference is not None and reference.kind == "named"
    assert reference.start is not None and reference.start["log_ratio"] != 0
    other = save_pipeline("sd15", tmp_path / "other", seed=1)
    recipe = images("sd15", reference={"name_or_path": str(other)}, output=str(tmp_path / "refused"))
    with pytest.raises(ModelError, match="no pipeline with the VAE, text encoders and prediction target of"):
        prospect.train(recipe, quiet=True)
    assert not (tmp_path / "refused").exists()


def test_held_out_metrics_show_the_classes_apart_and_provenance_the_target(images: Any) -> None:
    run = prospect.train(images("sd21", data={"eval": 2}), quiet=True)
    before, after = [row for row in run.metrics() if "eval_loss" in row]
    names = {f"eval_{what}/{side}" for what in ("log_ratios", "errors") for side in ("chosen", "rejected")}
    assert names <= before.keys() and before["eval_errors/chosen"] == 1.0 != after["eval_errors/chosen"]
    origin = run.provenance()
    assert origin.images is not None
    assert (origin.images.target, origin.images.numbers, origin.images.resolution) == ("v_prediction", 256, SIDE)
    assert origin.policy.loads_with == "StableDiffusionPipeline" and "diffusers" in origin.versions


def test_gradient_checkpointing_and_bf16_train(images: Any) -> None:
    plain, _ = moved_objective(images("sd15"))
    changed, prepared = moved_objective(images("sd15", train={"gradient_checkpointing": True}))
    examples = prepared.train.examples
    assert distance(gradient(changed, examples), gradient(plain, examples)) < rounding(TERMS)
    run = prospect.train(images("sd15", train={"precision": "bf16", "max_steps": 2}), quiet=True)
    assert run.metrics()[0]["loss"] == 0.5


def test_conditioned_fine_tuning_states_the_verdict_in_the_prompt(images: Any) -> None:
    prepared = prepare(load_config(images("sd15", "csft")))
    said = {row.prompt.partition(",")[0]: row.desirable for (row,) in prepared.train.examples}
    assert said == {"good image": True, "bad image": False}


def test_samples_are_what_the_pipeline_draws_with_the_weights_of_that_step(images: Any) -> None:
    from prospect.feedback.images.cells import read_image
    from prospect.feedback.images.opening import decode_image
    from prospect.model_source import find_model
    from prospect.models.diffusion.sampling import ImageSampling, sample_images
    from prospect.models.diffusion.sampling import load_pipeline as load
    from prospect.report.run.build import build_report

    train = {"samples": 2, "sample_steps": 2, "learning_rate": 1e-2, "seed": 3}
    recipe = images("sd15", model={"lora": {"r": 2}}, data={"eval": 0.3}, train=train)
    run = prospect.train(recipe, quiet=True)
    rows, source = run.samples(), find_model(recipe["model"]["name_or_path"])
    assert [row.step for row in rows] == [0, 0, 3, 3] and rows[0].prompt == rows[2].prompt != rows[1].prompt
    prompts = [str(row.prompt) for row in rows[:2]]
    expected = [
        *sample_images(load(source), prompts, ImageSampling(steps=2), seed=3),
        *sample_images(load(source, run.model_path), prompts, ImageSampling(steps=2), seed=3),
    ]
    for row, pixels in zip(rows, expected, strict=True):
        found = decode_image(read_image(str(row.image), "image", "samples", run.path), "samples")
        assert abs(torch.tensor(pixels).int() - torch.tensor(list(found.getdata())).view(SIDE, SIDE, 3)).max() <= 1
        assert row.spread and row.likeness and row.saturated is not None
    assert rows[0].image != rows[2].image
    assert build_report(run.path).read_text().count('alt="Step ') == 4


# -- the recipe --


def test_an_official_beta_becomes_nats(images: Any) -> None:
    """D = 4 x 8 x 8 numbers; Diffusion-KTO's script has no factor 1/2, Diffusion-DPO's has it."""
    for loss, expected in (("kto", 2 * 64 / 256), ("dpo", 64 / 256)):
        config = prepare(load_config(images("sd15", {"name": loss, "official_beta": 64}))).config
        assert config.loss.hyperparameters["beta"] == expected and config.loss.official_beta is None
    with pytest.raises(ConfigError, match=r"loss\.beta and loss\.official_beta say the same"):
        prepare(load_config(images("sd15", {"name": "kto", "official_beta": 64, "beta": 1.0})))


def test_undesirable_images_may_not_pull_more(images: Any, tmp_path: Path) -> None:
    rows = [row for i, row in enumerate(image_rows(tmp_path / "feedback", 24)) if i % 2 or i % 8 == 0]
    even = {"name": "kto", "desirable_weight": 1.0, "undesirable_weight": 1.0}
    with pytest.raises(ConfigError, match=r"undesirable images pull 12 .* desirable ones 3; .*desirable_share"):
        prepare(load_config(images("sd15", even, rows)))
    assert prepare(load_config(images("sd15", "kto", rows))).hyperparameters["desirable_weight"] > 1
    prepare(load_config(images("sd15", even, rows, data={"allow_imbalance": True})))
    sampled = prepare(load_config(images("sd15", even, rows, data={"desirable_share": 0.75})))
    for _, examples in sampled.plan.steps(0, 4):
        assert abs(sum(row.desirable for (row,) in examples) / len(examples) - 0.75) < 0.15


@pytest.mark.parametrize(
    ("loss", "sections", "message"),
    [
        ("ppo", {}, "loss ppo scores single tokens|learns from completions"),
        ("orpo", {}, "orpo compares log-probs without a reference"),
        ("dpo", {"data": {"desirable_share": 0.8}}, "desirable_share is about thumbs, and loss dpo has none"),
        ("kto", {"model": {"attn_implementation": "sdpa"}}, "attn_implementation is of Transformers' models"),
        ("kto", {"data": {"max_length": 64}}, "data.max_length is about texts"),
        ("kto", {"data": {"resolution": 15}}, "data.resolution is 15; .* multiples of"),
        ("kto", {"reference_point": {"kind": "micro_batch"}}, "images have step or matched"),
        ("kto", {"train": {"samples": 1, "sample_steps": 1001}}, "sample_steps is 1001; .* has 1000 noise levels"),
        ("kto", {"train": {"noise_levels": "shifted"}}, "noise_levels is shifted, and .*, which does not predict flow"),
        ("kto", {"reference": {"cache": "somewhere"}}, "scored at another noise in every step"),
    ],
)
def test_what_images_cannot_have_is_refused(loss: str, sections: Any, message: str, images: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(load_config(images("sd15", loss, **sections)))


def test_text_and_images_do_not_mix(images: Any, recipe: Any, tmp_path: Path) -> None:
    text = recipe("kto")["data"]["train"]
    with pytest.raises(DataError, match="the completion is text, and the model makes images"):
        prepare(load_config(images("sd15", data={"train": text})))
    with pytest.raises(ConfigError, match=r"data\.resolution is about images"):
        prepare(load_config(recipe("kto", data={"resolution": 64})))


# -- broken pipelines --


def spoil(folder: Path, file: str, **changes: Any) -> None:
    path = folder / file
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


@pytest.mark.parametrize(
    ("family", "file", "changes", "message"),
    [
        ("sd15", "scheduler/scheduler_config.json", {"prediction_type": "sample"}, "prediction_type 'sample'"),
        ("sdxl", "vae/config.json", {"scaling_factor": None}, "vae/config.json has no scaling_factor"),
        ("sd3", "vae/config.json", {"shift_factor": None}, "vae/config.json has no shift_factor"),
        ("sd15", "unet/config.json", {"in_channels": 9}, "takes 9 channels, and images have 4"),
        ("sd15", "unet/config.json", {"time_cond_proj_dim": 8}, "in a few steps"),
        ("sd15", "scheduler/scheduler_config.json", {"_class_name": "LCMScheduler"}, "its scheduler is LCMScheduler"),
        ("sd15", "model_index.json", {"scheduler": ["diffusers", "LCMScheduler"]}, "its scheduler is LCMScheduler"),
        ("sd3", "model_index.json", {"scheduler": ["diffusers", "DDIMScheduler"]}, "or DDIMScheduler, and .* predicts"),
        (
            "sdxl",
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "does not predict",
        ),
        ("sd15", "model_index.json", {"unet": []}, r"its unet is \[\]"),
        ("sd15", "model_index.json", {"_name_or_path": "stabilityai/sd-turbo"}, "its name has 'turbo'"),
        ("sd15", "model_index.json", {"_class_name": "ThingPipeline"}, "its pipeline is 'ThingPipeline'"),
        ("sd15", "model_index.json", {"text_encoder": ["own_code", "Encoder"]}, "code that comes with the model"),
        ("pixels", "model_index.json", {"id2label": None}, "has no id2label"),
    ],
)
def test_a_pipeline_that_cannot_be_trained_is_refused(
    family: str, file: str, changes: Any, message: str, images: Any, tmp_path: Path
) -> None:
    folder = save_pipeline(family, tmp_path / "spoilt")
    spoil(folder, file, **changes)
    with pytest.raises(ModelError, match=message):
        prepare(load_config(images(family, model={"name_or_path": str(folder)})))


@pytest.mark.parametrize(
    "missing", ["vae/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"]
)
def test_a_missing_part_is_named(missing: str, images: Any, tmp_path: Path) -> None:
    folder = save_pipeline("sd15", tmp_path / "spoilt")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=f"has no {missing}"):
        prepare(load_config(images("sd15", model={"name_or_path": str(folder)})))


def test_pickled_weights_are_not_read(images: Any, tmp_path: Path) -> None:
    folder = save_pipeline("sd15", tmp_path / "spoilt")
    weights_file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    weights_file.unlink()
    prepared = prepare(load_config(images("sd15", model={"name_or_path": str(folder)})))
    with pytest.raises(ModelError, match=r"the unet could not be loaded .*pickle"):
        build_policy(prepared)


def test_a_prompt_of_no_class_is_refused(images: Any, tmp_path: Path) -> None:
    rows = [{**row, "prompt": "a cat"} for row in image_rows(tmp_path / "feedback", 4)]
    with pytest.raises(DataError, match=r"feedback\.jsonl:1: the prompt is 'a cat', and the model knows"):
        prepare(load_config(images("dit", "kto", rows)))
