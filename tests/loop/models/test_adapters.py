"""Runs that start from an adapter: trained on, folded in, compared with, merged; each road from one run to the next."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import prospect
from conftest import make_model, thumbs
from prospect.config import ModelSettings, load_config
from prospect.data.batch import collate, flatten
from prospect.errors import CheckpointError, ConfigError, ModelError, ReferenceMismatchError
from prospect.models.adapters import quiet_peft
from prospect.models.policy import load_for_scoring
from prospect.run_dir import RunDir
from prospect.training.objective import build_policy, build_run_reference
from prospect.training.prepare import prepare
from runs import killed_after, numbers, same, same_weights, weights

LORA = {"r": 4, "alpha": 8}
TRAIN = {"max_steps": 3, "learning_rate": 1e-2}


def demonstrations(count: int) -> list[dict[str, Any]]:
    return [{"prompt": row["prompt"], "completion": row["completion"]} for row in thumbs(count)]


@pytest.fixture
def sft(recipe: Any, tmp_path: Path, model_path: Path) -> RunDir:
    """An adapter that demonstrations have moved away from its base."""
    model = {"name_or_path": str(model_path), "lora": LORA}
    values = recipe("sft", demonstrations(24), model=model, train=TRAIN, output=str(tmp_path / "sft"))
    return prospect.train(values, quiet=True)


def set_base(adapter: Path, base: str) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))


def logits_of(name: Path | str) -> torch.Tensor:
    model = load_for_scoring(ModelSettings(name_or_path=str(name))).model
    with torch.no_grad():
        return model(input_ids=torch.arange(24).reshape(2, 12)).logits


def first_step(run: RunDir) -> dict[str, Any]:
    return next(row for row in run.metrics() if "loss" in row)


# -- continue --


@pytest.mark.parametrize("cache", [True, False])
def test_an_adapter_trained_on_starts_at_rewards_of_exactly_zero_and_stays_on_its_base(
    recipe: Any, sft: RunDir, model_path: Path, cache: bool
) -> None:
    values = recipe("kto", thumbs(24), model={"name_or_path": str(sft.path)}, train=TRAIN, reference={"cache": cache})
    run = prospect.train(values, quiet=True)
    assert run.config()["model"]["adapter"] == "continue"
    first = first_step(run)
    assert first["rewards/chosen"] == first["rewards/rejected"] == first["kl"] == 0.0
    assert run.provenance().reference.start is None
    before, after = weights(sft.model_path), weights(run.model_path)
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before if "lora_B" in name)
    config = json.loads((run.model_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(model_path.resolve())
    assert (config["r"], config["lora_alpha"]) == (4, 8)


def test_the_reference_of_an_adapter_trained_on_is_the_adapter_as_it_was_loaded(recipe: Any, sft: RunDir) -> None:
    prepared = prepare(load_config(recipe("kto", thumbs(8), model={"name_or_path": str(sft.model_path)})))
    policy = build_policy(prepared)
    batch = collate(flatten(prepared.train.examples))
    settings = prepared.config.reference.model_copy(update={"cache": False})
    reference = build_run_reference(prepared, policy, Path(), settings=settings)
    start = reference.logps(batch)
    moved = {name: p.detach().clone().add_(0.05) for name, p in policy.trainable().items()}
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            parameter.copy_(moved[name])
    logps = policy.logps(batch)  # its backward pass comes after the reference was asked
    assert torch.equal(reference.logps(batch), start)
    assert not torch.allclose(logps, start)
    logps.sum().backward()
    gradients = {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}
    policy.model.zero_grad()
    policy.logps(batch).sum().backward()
    for name, parameter in policy.trainable().items():
        assert torch.equal(parameter, moved[name])
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradients[name])
    sft_alone = load_for_scoring(ModelSettings(name_or_path=str(sft.path)), "fp32", prepared.tokenizer)
    torch.testing.assert_close(sft_alone.logps(batch), start)
    assert sft_alone.identity == reference.identity == policy.identity


def test_an_adapters_own_dropout_is_off_where_it_is_trained_on(recipe: Any, sft: RunDir) -> None:
    file = sft.model_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_dropout": 0.5}))
    values = recipe("kto", thumbs(24), model={"name_or_path": str(sft.path)}, train=TRAIN)
    first = first_step(prospect.train(values, quiet=True))
    assert first["rewards/chosen"] == first["rewards/rejected"] == 0.0


@pytest.mark.parametrize("humanline", [False, True])
def test_a_continued_adapter_resumes_to_the_same_bits(
    recipe: Any, sft: RunDir, tmp_path: Path, humanline: bool
) -> None:
    """With humanline the reference takes the policy's adapter every two steps."""
    sections: dict[str, Any] = {"reference": {"sync": {"every": 2, "mix": 1.0}}} if humanline else {}
    train = {"save_every": 1, "max_steps": 6, "learning_rate": 1e-2, "batch_size": 6}
    values = recipe("kto", thumbs(24), model={"name_or_path": str(sft.path)}, train=train, **sections)
    values["loss"]["humanline"] = humanline
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    with killed_after(3):
        prospect.train(values, quiet=True)
    resumed = prospect.train(values, resume=True, quiet=True)
    assert same(whole, resumed)
    if humanline:
        assert numbers(whole)[2]["rewards/margins"] == 0.0


def test_a_run_is_not_resumed_from_an_adapter_that_was_changed(recipe: Any, sft: RunDir) -> None:
    values = recipe(
        "kto",
        thumbs(24),
        model={"name_or_path": str(sft.path)},
        train={**TRAIN, "save_every": 1},
        reference={"cache": False},
    )
    with killed_after(1):
        prospect.train(values, quiet=True)
    from safetensors.torch import save_file

    path = sft.model_path / "adapter_model.safetensors"
    changed = load_file(path)
    name = next(iter(changed))
    changed[name] = changed[name] + 1e-3
    save_file(changed, path, {"format": "pt"})
    with pytest.raises(ReferenceMismatchError, match="this run's reference is"):
        prospect.train(values, resume=True, quiet=True)


# -- merge --


def test_a_fresh_adapter_on_a_merged_one_starts_at_zero_and_loads_with_plain_peft_from_anywhere(
    recipe: Any, sft: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    monkeypatch.chdir(tmp_path)
    values = recipe("kto", thumbs(24), model={"name_or_path": "sft/model", "lora": {"r": 2}}, train=TRAIN, output="kto")
    run = prospect.train(values, quiet=True)
    assert run.config()["model"]["adapter"] == "merge"
    first = first_step(run)
    assert first["rewards/chosen"] == first["rewards/rejected"] == 0.0
    base = tmp_path / "kto" / "base"
    # Merging adds a product of rank 4 to each weight, once: within rounding of float32 of the adapter's own logits.
    torch.testing.assert_close(logits_of(base), logits_of(tmp_path / "sft"), rtol=1e-4, atol=1e-5)
    named = json.loads((tmp_path / "kto/model/adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(base)
    monkeypatch.chdir("/")
    AutoModelForCausalLM.from_pretrained(base)
    with quiet_peft():
        plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "kto" / "model").eval()
    with torch.no_grad():
        logits = plain(input_ids=torch.arange(24).reshape(2, 12)).logits
    torch.testing.assert_close(logits, logits_of(tmp_path / "kto"), rtol=1e-4, atol=1e-5)
    # A run that was moved finds its base beside the adapter.
    shutil.move(tmp_path / "kto", tmp_path / "elsewhere")
    torch.testing.assert_close(logits, logits_of(tmp_path / "elsewhere"), rtol=1e-4, atol=1e-5)


def test_all_weights_are_trained_on_top_of_a_merged_adapter(recipe: Any, sft: RunDir) -> None:
    model = {"name_or_path": str(sft.path), "adapter": "merge"}
    run = prospect.train(recipe("kto", thumbs(24), model=model, train=TRAIN), quiet=True)
    assert (run.model_path / "model.safetensors").is_file()
    assert not (run.path / "base").exists()
    first = first_step(run)
    assert first["rewards/chosen"] == first["rewards/rejected"] == 0.0


# -- what is refused --


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        ({"adapter": "continue", "lora": LORA}, "kto", r"keeps its own rank.*model\.adapter: merge for a fresh"),
        ({"adapter": "continue"}, "bradley_terry", r"gives the model another head.*Set model\.adapter: merge"),
        ({"adapter": "continue"}, "csft", r"adds tokens whose embeddings the adapter does not train.*merge"),
    ],
)
def test_what_an_adapter_trained_on_cannot_have_is_refused(
    recipe: Any, sft: RunDir, model: dict[str, Any], loss: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(load_config(recipe(loss, model={"name_or_path": str(sft.path), **model})))


def test_a_model_without_adapter_has_none_to_continue(recipe: Any, model_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.adapter is merge, and .* is no adapter\. Leave model\.adapter out"):
        prepare(load_config(recipe(model={"name_or_path": str(model_path), "adapter": "merge"})))


def test_a_reference_that_is_mixed_with_a_continued_adapter_is_refused(recipe: Any, sft: RunDir) -> None:
    values = recipe(model={"name_or_path": str(sft.path)}, reference={"sync": {"every": 2, "mix": 0.5}})
    with pytest.raises(ConfigError, match=r"reference\.sync\.mix: 1"):
        prepare(load_config(values))


def test_an_adapter_that_does_not_fit_its_base_is_refused_with_both_named(
    sft: RunDir, tmp_path: Path, tokenizer: Any
) -> None:
    make_model(hidden_size=16, intermediate_size=32).save_pretrained(tmp_path / "narrow")
    tokenizer.save_pretrained(tmp_path / "narrow")
    set_base(sft.model_path, str(tmp_path / "narrow"))
    with pytest.raises(ModelError, match=r"the adapter could not be put on .*narrow"):
        load_for_scoring(ModelSettings(name_or_path=str(sft.path)))


def test_the_file_of_an_adapter_that_is_cut_short_is_refused(sft: RunDir) -> None:
    file = sft.model_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="the adapter could not be put on"):
        load_for_scoring(ModelSettings(name_or_path=str(sft.path)))


# -- another reference --


def test_another_model_as_reference_says_where_rewards_start(recipe: Any, sft: RunDir, model_path: Path) -> None:
    reference = {"name_or_path": str(model_path)}
    values = recipe("kto", thumbs(24), model={"name_or_path": str(sft.path)}, reference=reference, train=TRAIN)
    run = prospect.train(values, quiet=True)
    first, known = first_step(run), run.provenance().reference
    assert known.name_or_path == str(model_path)
    assert known.start["rows"] == 8
    assert abs(known.start["log_ratio"]) > 0.01
    mean = (first["rewards/chosen"] + first["rewards/rejected"]) / 2
    assert mean == pytest.approx(0.1 * known.start["log_ratio"], rel=1e-4)  # four of each class, and beta
    off = recipe(
        "kto",
        thumbs(24),
        model={"name_or_path": str(sft.path)},
        reference={"kind": "adapter_off"},
        train=TRAIN,
        output=f"{run.path}-off",
    )
    without = prospect.train(off, quiet=True)
    assert without.provenance().reference.start["log_ratio"] == pytest.approx(known.start["log_ratio"], rel=1e-4)
    assert without.provenance().reference.identity == known.identity


def test_a_run_as_reference_is_its_model_and_another_one_is_refused_on_resume(
    recipe: Any, sft: RunDir, model_path: Path
) -> None:
    values = recipe("dpo", reference={"name_or_path": str(sft.path)}, train={"max_steps": 2, "save_every": 1})
    with killed_after(1):
        prospect.train(values, quiet=True)
    other = {**values, "reference": {"name_or_path": str(model_path)}}
    with pytest.raises(CheckpointError, match=r"reference\.name_or_path was .*sft' and is now"):
        prospect.train(other, resume=True, quiet=True)
    run = prospect.train(values, resume=True, quiet=True)
    known = run.provenance()
    assert known.reference.identity == load_for_scoring(ModelSettings(name_or_path=str(sft.path))).identity
    assert known.reference.identity != known.policy.identity


@pytest.mark.parametrize(
    ("loss", "reference", "message"),
    [
        ("kto", {"kind": "adapter_off"}, r"reference\.kind is adapter_off and reference\.name_or_path is"),
        ("kto", {"sync": {"every": 2, "mix": 1.0}}, r"reference\.sync moves the reference to the policy"),
        ("sft", {}, r"reference\.name_or_path names one, and loss sft has no reference"),
    ],
)
def test_settings_that_another_reference_cannot_have_are_refused(
    recipe: Any, model_path: Path, loss: str, reference: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(load_config(recipe(loss, reference={"name_or_path": str(model_path), **reference})))


def test_a_reference_of_another_vocabulary_is_refused(
    recipe: Any, tmp_path: Path, tokenizer: Any, model_path: Path
) -> None:
    other = shutil.copytree(model_path, tmp_path / "other")
    file = other / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"its tokenizer has '[ab]' as \d+, and the policy's as \d+"):
        prospect.train(recipe(reference={"name_or_path": str(other)}), quiet=True)


# -- roads --


def test_lora_sft_then_lora_kto_then_merge_then_generate(recipe: Any, sft: RunDir, tmp_path: Path) -> None:
    from prospect.cli.main import main

    kto = prospect.train(recipe("kto", thumbs(24), model={"name_or_path": str(sft.path)}, train=TRAIN), quiet=True)
    merged = tmp_path / "merged"
    assert main(["merge", str(kto.path), "-o", str(merged)]) == 0
    torch.testing.assert_close(logits_of(merged), logits_of(kto.path), rtol=1e-4, atol=1e-5)
    written = []
    for name in (kto.path, merged):
        out = tmp_path / f"{name.name}.jsonl"
        arguments = ["--prompts", str(tmp_path / "feedback.jsonl"), "--temperature", "0", "--no-chat"]
        arguments += ["--max-new-tokens", "6"]
        assert main(["generate", str(name), *arguments, "-o", str(out)]) == 0
        written.append(out.read_text())
    assert written[0] == written[1] != ""


def test_full_sft_then_kto_from_the_run_directory_then_new_thumbs(recipe: Any, tmp_path: Path) -> None:
    sft = prospect.train(recipe("sft", demonstrations(24), train=TRAIN, output=str(tmp_path / "a")), quiet=True)
    names = [sft]
    for output, rows in (("b", thumbs(24)), ("c", thumbs(40)[24:])):
        values = recipe(
            "kto", rows, model={"name_or_path": str(names[-1].path)}, train=TRAIN, output=str(tmp_path / output)
        )
        names.append(prospect.train(values, quiet=True))
        first = first_step(names[-1])
        assert first["rewards/chosen"] == first["rewards/rejected"] == 0.0
    assert not same_weights(names[1], names[2])
    assert (
        names[2].provenance().policy.identity
        == load_for_scoring(ModelSettings(name_or_path=str(names[1].model_path))).identity
    )


def test_an_adapter_on_a_run_that_is_an_adapter_is_found_through_both(
    recipe: Any, sft: RunDir, tmp_path: Path, model_path: Path
) -> None:
    """Two adapters of one base, the second on the first: its base is named by the run directory."""
    values = recipe("kto", thumbs(24), model={"name_or_path": str(sft.path), "lora": LORA}, train=TRAIN)
    run = prospect.train(values, quiet=True)
    expected = logits_of(run.path)
    set_base(run.model_path, os.path.relpath(sft.path, run.model_path))
    shutil.rmtree(run.path / "base")
    torch.testing.assert_close(logits_of(run.path), expected, rtol=1e-4, atol=1e-5)
    third = recipe(
        "kto", thumbs(24), model={"name_or_path": str(run.path)}, train=TRAIN, output=str(tmp_path / "third")
    )
    again = prospect.train(third, quiet=True)
    assert first_step(again)["rewards/chosen"] == 0.0
    assert (again.path / "base" / "model.safetensors").is_file()  # the two below it, folded into one


def test_an_adapter_on_a_model_with_fewer_rows_than_tokens_brings_the_rows_along(
    recipe: Any, tmp_path: Path, model_path: Path
) -> None:
    """Loaded elsewhere the rows of tokens that nobody trained would be drawn anew."""
    from transformers import AutoTokenizer

    short = shutil.copytree(model_path, tmp_path / "short")
    tokenizer = AutoTokenizer.from_pretrained(short)
    tokenizer.add_tokens(["<|order|>"], special_tokens=True)
    tokenizer.save_pretrained(short)
    run = prospect.train(
        recipe("kto", thumbs(8), model={"name_or_path": str(short), "lora": LORA}, train={"max_steps": 1}), quiet=True
    )
    rows = weights(run.path / "base")["model.safetensors model.embed_tokens.weight"]
    assert len(rows) == 301
    torch.testing.assert_close(rows[300], rows[:300].mean(0))


@pytest.mark.parametrize("how", ["continue", "merge", "full", "named", "adapter_off"])
def test_an_evaluation_compares_with_the_reference_of_the_run(
    recipe: Any, sft: RunDir, tmp_path: Path, model_path: Path, how: str
) -> None:
    from prospect.evaluation.held_out.preference import Settings, evaluate_feedback

    model: dict[str, Any] = {"name_or_path": str(sft.path)}
    model |= {"merge": {"lora": LORA}, "full": {"adapter": "merge"}}.get(how, {})
    reference = {"named": {"name_or_path": str(model_path)}, "adapter_off": {"kind": "adapter_off"}}.get(how, {})
    values = recipe("kto", thumbs(24), model=model, reference=reference, data={"eval": 8}, train=TRAIN)
    run = prospect.train(values, quiet=True)
    found = evaluate_feedback(run.path, settings=Settings(kl_prompts=0))
    assert not any("not those that the run was trained against" in note for note in found.notes)
    ended = [row for row in run.metrics() if "eval_rewards/margins" in row][-1]
    # The same log-ratios, of one model put together in two ways (an adapter, or folded in), in another batch.
    chosen = found.drift.log_ratio["desirable"].value
    assert 0.1 * chosen == pytest.approx(ended["eval_rewards/chosen"], rel=1e-3, abs=1e-5)


def test_an_adapter_judges_as_its_merged_folder_does(recipe: Any, sft: RunDir, tmp_path: Path) -> None:
    from prospect.evaluation.contest.judges.base import Item
    from prospect.evaluation.contest.judges.names import judge_named
    from prospect.models.merging import write_merged

    write_merged(ModelSettings(name_or_path=str(sft.path)), tmp_path / "merged")
    items = [Item("the quick", "brown fox", "lazy dog"), Item("thank you", "very much", "dog")]
    said = [list(judge_named(f"lm:{name}").stream(items)) for name in (sft.path, sft.model_path, tmp_path / "merged")]
    labels = [sorted((number, verdict.choice) for number, verdict in one) for one in said]
    assert labels[0] == labels[1] == labels[2]
