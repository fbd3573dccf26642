"""Losses that need more than a language model: control tokens, a value head, a score of whole rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import prospect
from conftest import make_model, make_tokenizer, pairs, thumbs
from prospect.config import ModelSettings, load_config
from prospect.data.batch import collate, flatten
from prospect.data.control_tokens import control_token_ids
from prospect.data.render import encode_prompt
from prospect.errors import ModelError
from prospect.models.policy import load_for_scoring
from prospect.models.sampling import generate
from prospect.training.objective import build_policy
from prospect.training.prepare import prepare
from tolerances import FORWARD, assert_near, rounding


def load_trained(path: str) -> tuple[Any, Any]:
    policy = load_for_scoring(ModelSettings(name_or_path=path))
    return policy.model, policy.tokenizer


# -- csft --


def chats(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["completion"]}],
            "label": row["label"],
        }
        for row in thumbs(count)
    ]


@pytest.mark.parametrize("rows", [thumbs(8), chats(8)], ids=["plain", "chat"])
def test_the_prompt_ends_with_the_verdict_and_the_verdict_is_not_scored(recipe: Any, rows: Any) -> None:
    prepared = prepare(load_config(recipe("csft", rows)))
    plain = prepare(load_config(recipe("kto", rows)))
    good, bad = control_token_ids(prepared.tokenizer)
    assert len(prepared.tokenizer) == 302 and {good, bad} == {300, 301}
    for with_token, without in zip(prepared.train.examples, plain.train.examples, strict=True):
        row, other = with_token[0], without[0]
        assert row.prompt_ids.tolist() == [*other.prompt_ids.tolist(), good if row.desirable else bad]
        assert row.completion_ids.tolist() == other.completion_ids.tolist()


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}])
@pytest.mark.parametrize("tied", [True, False])
def test_csft_learns_what_each_token_means_and_answers_after_the_good_one(
    recipe: Any, tmp_path: Path, tokenizer: Any, lora: Any, tied: bool
) -> None:
    make_model(tie_word_embeddings=tied).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    rows = [
        {"prompt": f"number {i} the", "completion": " quick fox" if i % 2 else " lazy dog", "label": i % 2 == 1}
        for i in range(24)
    ]
    train = {"max_steps": 60, "batch_size": 24, "learning_rate": 1e-2, "samples": 2, "sample_tokens": 8}
    model = {"name_or_path": str(tmp_path / "m"), "lora": lora}
    run = prospect.train(recipe("csft", rows, model=model, train=train), quiet=True)
    trained, own = load_trained(str(run.model_path))
    assert own.good_token == "<|good|>" and own.bad_token == "<|bad|>"
    answers = generate(trained, own, ["number 3 the", "number 40 the"], max_new_tokens=8, temperature=0)
    assert [answer[0].text.strip() for answer in answers] == ["quick fox"] * 2
    if lora is None:  # an adapter on random weights ranks the right words first, and is not sure of them
        assert {row.completion.strip() for row in run.samples() if row.step == 60} == {"quick fox"}
    rows_of = trained.get_input_embeddings().weight
    good, bad = control_token_ids(own)
    assert len(rows_of) == 302
    assert not torch.allclose(rows_of[good], rows_of[bad], atol=1e-3)


def test_the_saved_chat_template_asks_after_the_good_token_once(recipe: Any, tmp_path: Path) -> None:
    run = prospect.train(recipe("csft", chats(16), train={"max_steps": 2}), quiet=True)
    _, tokenizer = load_trained(str(run.model_path))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("<|assistant|><|good|>")
    from prospect.feedback.records import Message

    good = control_token_ids(tokenizer)[0]
    for prompt in ("number 1", (Message("user", "hi"),)):
        assert encode_prompt(tokenizer, prompt).count(good) == 1
        assert encode_prompt(tokenizer, prompt)[-1] == good
    # What is trained further is trained as it is asked: after the good token, whatever the verdict; no token is added.
    values = recipe("kto", chats(16), model={"name_or_path": str(run.model_path)}, output=str(tmp_path / "further"))
    further = prepare(load_config(values))
    assert all(row.prompt_ids[-1] == good for (row,) in further.train.examples)
    again = prepare(load_config({**values, "loss": "csft"}))
    assert len(again.tokenizer) == 302
    assert again.tokenizer.chat_template.count("<|good|>") == 1
    assert {int(row.prompt_ids[-1]) for (row,) in again.train.examples} == {300, 301}


def test_new_embeddings_are_the_mean_of_all_others(recipe: Any) -> None:
    prepared = prepare(load_config(recipe("csft", thumbs(8))))
    weight = build_policy(prepared).model.get_input_embeddings().weight
    assert_near(weight[300:], weight[:300].mean(0).expand(2, -1), 300)


# -- offline_ppo --


def test_the_value_head_is_trained_and_saved_beside_the_model(recipe: Any) -> None:
    train = {"max_steps": 60, "batch_size": 32, "learning_rate": 1e-4}
    run = prospect.train(recipe("offline_ppo", train=train), quiet=True)
    assert {p.name for p in run.model_path.glob("*.safetensors")} == {"model.safetensors", "value_head.safetensors"}
    head = load_file(run.model_path / "value_head.safetensors")
    assert {name: tuple(t.shape) for name, t in head.items()}["4.weight"] == (1, 32)
    assert head["4.weight"].abs().max() > 1e-3  # it starts at 0
    trained, _ = load_trained(str(run.model_path))
    assert trained.config.model_type == "llama"  # an ordinary language model


def test_the_value_head_learns_what_the_policy_does_not_feel(recipe: Any) -> None:
    """It sees hidden states without their gradient: its loss alone moves nothing else."""
    prepared = prepare(load_config(recipe({"name": "offline_ppo", "value_weight": 1.0}, thumbs(8))))
    policy = build_policy(prepared)
    tokens = policy.score_tokens(collate(flatten(prepared.train.examples)))
    assert tokens.values is not None
    torch.testing.assert_close(tokens.values.detach(), torch.zeros_like(tokens.logps), rtol=0, atol=0)
    tokens.values.sum().backward()
    moved = {name.partition(".")[0] for name, p in policy.trainable().items() if p.grad is not None}
    assert moved == {"value_head"}


def test_values_stand_where_their_tokens_are_foretold(recipe: Any) -> None:
    """The value of a token is read off the state before it, as its log-prob is."""
    prepared = prepare(load_config(recipe("offline_ppo", thumbs(3))))
    policy = build_policy(prepared)
    head = policy.value_head
    assert head is not None
    torch.nn.init.normal_(head[4].weight)
    rows = flatten(prepared.train.examples)
    batch = collate(rows)
    values = policy.score_tokens(batch).values
    assert values is not None
    for i, row in enumerate(rows):
        ids = torch.tensor([[*row.prompt_ids.tolist(), *row.completion_ids.tolist()]])
        states = policy.model(ids, output_hidden_states=True).hidden_states[-1][0]
        start = len(row.prompt_ids)
        expected = head(states[start - 1 : row.length - 1])
        assert_near(values[i, start : row.length], expected, FORWARD)
        assert not values[i, :start].any() and not values[i, row.length :].any()


# -- bradley_terry --


@pytest.mark.parametrize("lora", [None, {"r": 8, "alpha": 16}])
def test_the_reward_model_loads_in_a_pipeline_and_gives_the_same_scores(recipe: Any, lora: Any) -> None:
    from transformers import pipeline

    path = recipe()["model"]["name_or_path"]
    train = {"max_steps": 40, "batch_size": 16, "learning_rate": 5e-3}
    values = recipe("bradley_terry", pairs(16), model={"name_or_path": path, "lora": lora}, train=train)
    run = prospect.train(values, quiet=True)
    assert run.metrics()[-1]["rewards/accuracies"] == 1.0
    assert run.samples() == []
    classify = pipeline("text-classification", model=str(run.model_path))
    rows = pairs(6)
    end = classify.tokenizer.eos_token
    chosen = [score["score"] for score in classify([row["prompt"] + row["chosen"] + end for row in rows])]
    rejected = [score["score"] for score in classify([row["prompt"] + row["rejected"] + end for row in rows])]
    assert all(a > b for a, b in zip(chosen, rejected, strict=True))
    batched = classify([row["prompt"] + row["chosen"] + end for row in rows], batch_size=6)
    assert [score["score"] for score in batched] == pytest.approx(chosen, rel=0, abs=rounding(FORWARD, max(chosen)))
    margin = sum(a - b for a, b in zip(chosen, rejected, strict=True)) / len(rows)
    assert margin > 0.5


def test_a_reward_model_starts_with_all_completions_worth_the_same(recipe: Any) -> None:
    run = prospect.train(recipe("bradley_terry", pairs(16), data={"eval": 0.25}, train={"max_steps": 3}), quiet=True)
    first = run.metrics()[0]
    assert first["eval_rewards/chosen"] == first["eval_rewards/rejected"] == 0.0
    assert first["eval_rewards/accuracies"] == first["eval_rewards/auroc"] == 0.5
    assert first["eval_loss"] == pytest.approx(0.6931472)


def test_a_reward_model_is_trained_further(recipe: Any, tmp_path: Path) -> None:
    run = prospect.train(recipe("bradley_terry", pairs(16), train={"max_steps": 20}), quiet=True)
    values = recipe("bradley_terry", pairs(16), model={"name_or_path": str(run.model_path)}, train={"max_steps": 1})
    further = prospect.train({**values, "output": str(tmp_path / "further")}, quiet=True)
    assert further.metrics()[0]["loss"] < 0.69


def test_a_model_without_sequence_classification_makes_no_reward_model(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such model folder"):
        prospect.train(recipe("bradley_terry", model={"name_or_path": str(tmp_path / "none")}), quiet=True)


@pytest.mark.parametrize("with_bos", [True, False])
def test_padding_never_ends_a_row(recipe: Any, tmp_path: Path, with_bos: bool) -> None:
    """Where padding is the end token, the score would be read one token too early."""
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    if not with_bos:
        tokenizer.bos_token = None
    make_model().save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    values = recipe("bradley_terry", pairs(4), model={"name_or_path": str(tmp_path / "m")})
    prepared = prepare(load_config(values))
    policy = build_policy(prepared)
    assert policy.tokenizer.pad_token == ("<s>" if with_bos else "<|pad|>")
    assert policy.model.config.pad_token_id == policy.tokenizer.pad_token_id
    assert len(policy.model.get_input_embeddings().weight) == (300 if with_bos else 301)
    torch.nn.init.normal_(policy.model.score.weight)
    rows = flatten(prepared.train.examples)
    with torch.no_grad():
        together = policy.logps(collate(rows))
        alone = torch.cat([policy.logps(collate([row])) for row in rows])
        states = policy.model.model(torch.tensor([[*rows[0].prompt_ids, *rows[0].completion_ids]])).last_hidden_state
        by_hand = policy.model.score(states[:, -1])[:, 0]
        added_up = float(policy.model.score.weight.norm() * states[:, -1].norm())  # much more than what is left of it
    for found, expected in ((together, alone), (together[:1], by_hand)):
        torch.testing.assert_close(found, expected, rtol=0, atol=rounding(FORWARD, added_up))
