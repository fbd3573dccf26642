"""Recipes of rounds: what is refused before anything is sampled, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from prospect.errors import ConfigError, ProspectError
from prospect.rounds.recipe import load_rounds


def recipe(rounds: dict[str, Any], **more: Any) -> dict[str, Any]:
    settings = {"prompts": "p.jsonl", "label": {"judge": "verifier:numeric"}}
    return {"rounds": {**settings, **rounds}, "model": {"name_or_path": "some/model"}, **more}


@pytest.mark.parametrize(
    ("rounds", "more", "words"),
    [
        ({"smaples_per_prompt": 4}, {}, r"rounds\.smaples_per_prompt.*samples_per_prompt"),
        ({"label": {"judge": "verifier:numeric", "treshold": 1}}, {}, r"rounds\.label\.treshold.*threshold"),
        ({"protocol": "orca_maths"}, {}, 'did you mean "orca_math"'),
        ({"count": 0}, {}, r"rounds\.count"),
        ({"prompts_per_round": 0}, {}, r"rounds\.prompts_per_round"),
        ({"prompts_per_round": -3}, {}, r"rounds\.prompts_per_round"),
        ({"temperature": 0}, {}, r"rounds\.temperature"),
        ({"protocol": "orca_math"}, {}, r"needs a teacher's answers. Name them in rounds\.teacher"),
        ({"protocol": "spin", "teacher": "t.jsonl", "label": {}}, {}, r"rounds\.evaluate\.judge is missing"),
        ({"label": {}}, {}, r"rounds\.label\.judge is missing: protocol online_kto learns from"),
        ({"protocol": "online_dpo", "samples_per_prompt": 1}, {}, r"samples_per_prompt is 1.*at least 2"),
        ({"sft_first": True}, {}, r"rounds\.sft_first is true and rounds\.teacher names no rows"),
        ({"sampler": "endpoint:http://localhost:8000#m"}, {}, "expected both or neither"),
        ({"sampler": "http://localhost", "serve": "x"}, {}, "expected endpoint:URL#NAME"),
        (
            {"sampler": "endpoint:http://localhost:8000#m", "serve": "x"},
            {"data": {"system_role": "fold"}},
            r"data\.system_role is fold, and the server",
        ),
        ({}, {"data": {"train": "rows.jsonl"}}, r"data\.train is 'rows\.jsonl', and rounds train on what they sample"),
        ({}, {"train": {"learning_rat": 1}}, r"train\.learning_rat.*learning_rate"),
        ({}, {"loss": {"name": "ktoo"}}, r"ktoo"),
        ({}, {"loss": {"name": "bradley_terry"}}, "trains a reward model, which writes nothing"),
        ({}, {"push_to_hub": "me/aligned"}, r"push_to_hub is of single runs\. Push the last round"),
        ({"protocol": "rft"}, {"loss": {"name": "dpo"}}, r"learns from paired feedback, and protocol rft"),
        ({}, {"reference": {"name_or_path": "./gone"}}, "no such model folder"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_at_its_key(rounds: Any, more: Any, words: str) -> None:
    with pytest.raises(ProspectError, match=words):
        load_rounds(recipe(rounds, **more))


def test_prompts_are_needed() -> None:
    with pytest.raises(ConfigError, match=r"rounds\.prompts"):
        load_rounds({"rounds": {"label": {"judge": "verifier:numeric"}}, "model": {"name_or_path": "m"}})


def test_a_protocol_brings_its_loss_and_its_settings_and_the_recipe_wins() -> None:
    found = load_rounds(recipe({"protocol": "spin", "teacher": "t.jsonl", "top_p": 0.9}))
    assert found.base.loss.name == "dpo"
    assert (found.rounds.reference, found.rounds.replay, found.rounds.top_p) == ("previous", 1.0, 0.9)
    assert load_rounds(recipe({}), ["loss.beta=0.3"]).base.loss.hyperparameters == {"beta": 0.3}
    assert load_rounds(recipe({}), ["loss.beta=0.3"]).base.loss.name == "kto"
    assert load_rounds(recipe({}, loss="dpo")).base.loss.name == "dpo"


def test_a_recipe_is_written_as_it_is_read() -> None:
    found = load_rounds(recipe({"evaluate": {"prompts": "0.3"}, "prompts_per_round": 5}, train={"epochs": 2}))
    assert load_rounds(found.as_dict()) == found and found.rounds.evaluate.prompts == 0.3
