"""The advisor: every rule on facts built to trigger it, both sides of every threshold, recipes that load."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prospect.config import load_config
from prospect.errors import DataError
from prospect.feedback import suggest_class_weights
from prospect.feedback.advice.advice import Advice, Facts, advise, advise_method
from prospect.feedback.advice.recipe import count_parameters

THUMBS = Facts(kind="unpaired", rows=2000, prompts=1000, desirable=1000, undesirable=1000, pairable=300)
PAIRS = Facts(
    kind="paired",
    rows=2000,
    prompts=1000,
    desirable=2000,
    undesirable=2000,
    pairable=1000,
    flip_rate=0.05,
    votes=1000,
)
SCORED = Facts(
    kind="scored", rows=500, prompts=500, scores=2000, comparable=450, score_spread=3.0, completion_words=225
)
SHOWN = Facts(kind="demonstration", rows=500, prompts=500, desirable=500)


def balance(desirable: int, undesirable: int, **changes: Any) -> Facts:
    changes = {"rows": desirable + undesirable, "desirable": desirable, "undesirable": undesirable, **changes}
    return replace(THUMBS, **changes)


def pairs(rows: int, **changes: Any) -> Facts:
    return replace(PAIRS, **{"rows": rows, "desirable": rows, "undesirable": rows, **changes})


@pytest.mark.parametrize(
    ("facts", "method", "says"),
    [
        pytest.param(THUMBS, "kto", "binary", id="thumbs"),
        pytest.param(balance(1000, 100), "kto", "binary", id="imbalance"),
        pytest.param(balance(20, 980), "kto", "out of balance", id="as few of a class as one may have"),
        pytest.param(balance(19, 981), "collect", "at least 1 more desirable", id="one too few desirable"),
        pytest.param(balance(981, 20), "kto", "out of balance", id="just enough undesirable"),
        pytest.param(balance(981, 19), "sft", "can be imitated", id="one too few undesirable"),
        pytest.param(balance(100, 0), "sft", "can be imitated", id="desirable only"),
        pytest.param(balance(99, 0), "collect", "at least 20 more undesirable", id="desirable only, one too few"),
        pytest.param(balance(0, 1000), "collect", "nothing to imitate", id="undesirable only"),
        pytest.param(balance(0, 0), "collect", "rule of thumb", id="nothing"),
        pytest.param(balance(100, 100), "kto", "binary", id="as few thumbs as one may have"),
        pytest.param(balance(100, 99), "collect", "at least 1 more", id="one thumb too few"),
        pytest.param(balance(40, 40), "collect", "sft on the 40 desirable ones", id="few thumbs, but good ones"),
        pytest.param(balance(996, 1004), "kto", "near balance", id="a little out of balance"),
        pytest.param(balance(1000, 1201), "kto", "out of balance", id="just out of balance"),
        pytest.param(replace(THUMBS, prompts=20), "kto", "binary", id="as few prompts as one may have"),
        pytest.param(replace(THUMBS, prompts=19), "collect", "at least 1 more", id="one prompt too few"),
        pytest.param(replace(THUMBS, flip_rate=0.3, votes=500), "kto", "30 % of the thumbs", id="noisy thumbs"),
        pytest.param(replace(THUMBS, flip_rate=0.09, votes=500), "kto", "binary", id="thumbs with little noise"),
        pytest.param(replace(THUMBS, contradictions=3), "kto", "both verdicts", id="contradictory thumbs"),
        pytest.param(replace(THUMBS, flip_rate=0.5, votes=500), "collect", "hardly anything", id="coin tosses"),
        pytest.param(replace(THUMBS, flip_rate=0.9, votes=500), "collect", "hardly anything", id="worse than tosses"),
        pytest.param(replace(THUMBS, flip_rate=0.5, votes=49), "kto", "binary", id="flip rate on too few votes"),
        pytest.param(balance(1250, 1250, flip_rate=0.36, votes=50), "collect", "say as much as 196", id="noise counts"),
        pytest.param(balance(1280, 1280, flip_rate=0.36, votes=50), "kto", "binary", id="noise made up for by rows"),
        pytest.param(PAIRS, "dpo", "do not contradict each other", id="clean pairs"),
        pytest.param(pairs(100, flip_rate=None), "dpo", "do not contradict", id="as few pairs as one may have"),
        pytest.param(pairs(99, flip_rate=None), "collect", "at least 1 more", id="one pair too few"),
        pytest.param(replace(PAIRS, prompts=19), "collect", "at least 1 more", id="pairs on too few prompts"),
        pytest.param(replace(PAIRS, flip_rate=None, votes=0), "dpo", "is not known", id="noise not measured"),
        pytest.param(replace(PAIRS, flip_rate=0.2, votes=49), "dpo", "is not known", id="noise hardly measured"),
        pytest.param(replace(PAIRS, flip_rate=0.2, votes=50), "cdpo", "label_smoothing", id="noise just measured"),
        pytest.param(replace(PAIRS, flip_rate=0.099), "dpo", "is little", id="just under noisy"),
        pytest.param(replace(PAIRS, flip_rate=0.1), "cdpo", "10 % of the preferences", id="just noisy"),
        pytest.param(replace(PAIRS, flip_rate=0.249), "cdpo", "label_smoothing", id="just under very noisy"),
        pytest.param(replace(PAIRS, flip_rate=0.25), "kto", "25 % of the preferences", id="very noisy"),
        pytest.param(replace(PAIRS, cycles=20), "kto", "20 of 1000 prompts go in a circle", id="circles"),
        pytest.param(replace(PAIRS, cycles=19), "dpo", "do not contradict", id="hardly any circles"),
        pytest.param(replace(PAIRS, cycles=20, flip_rate=0.2), "kto", "circle", id="circles and noise"),
        pytest.param(replace(PAIRS, contradictions=40, votes=0), "kto", "both directions", id="both directions"),
        pytest.param(replace(PAIRS, contradictions=39, votes=0), "dpo", "do not", id="hardly any in both directions"),
        pytest.param(replace(PAIRS, contradictions=40), "dpo", "is little", id="both directions, at a known rate"),
        pytest.param(pairs(499, flip_rate=0.02), "ipo", "certain", id="few certain pairs"),
        pytest.param(pairs(499, flip_rate=0.021), "dpo", "is little", id="few pairs, not certain"),
        pytest.param(pairs(500, flip_rate=0.02), "dpo", "is little", id="certain pairs, not few"),
        pytest.param(pairs(499, flip_rate=None), "dpo", "is not known", id="few pairs, who knows how certain"),
        pytest.param(SCORED, "nca", "different scores", id="scores"),
        pytest.param(replace(SCORED, comparable=100), "nca", "different scores", id="as few as one may have"),
        pytest.param(replace(SCORED, comparable=99), "collect", "at least 1 more", id="one scored prompt too few"),
        pytest.param(
            replace(THUMBS, scores=2000, comparable=500), "nca", "500 of 1000", id="thumbs with scores to compare"
        ),
        pytest.param(
            replace(THUMBS, scores=2000, comparable=499), "kto", "left aside", id="scores on less than half the prompts"
        ),
        pytest.param(replace(THUMBS, scores=2000, comparable=0), "kto", "left aside", id="one score per prompt"),
        pytest.param(SHOWN, "sft", "to imitate", id="demonstrations"),
        pytest.param(replace(SHOWN, rows=100, prompts=100), "sft", "to imitate", id="as few as one may have"),
        pytest.param(replace(SHOWN, rows=99, prompts=99), "collect", "at least 1 more", id="one answer too few"),
        pytest.param(replace(SHOWN, scores=500, comparable=250), "nca", "250 of 500", id="scored demonstrations"),
    ],
)
def test_the_rules(facts: Facts, method: str, says: str) -> None:
    advice = advise(facts)
    assert advice.method == method, advice.reasons
    assert says in " ".join(advice.reasons)
    assert (advice.recipe is None) == (method == "collect") == (advice.settings == {})


def test_a_pair_is_one_of_each_class_whatever_was_counted() -> None:
    advice = advise(Facts(kind="paired", rows=900, prompts=900, cycles=300))
    assert (advice.method, advice.desirable_weight, advice.undesirable_weight) == ("kto", 1.0, 1.0)
    assert setting(advice, "train.batch_size") == 32
    assert setting(advice, "train.epochs") == 2  # 57 steps of the 1800 rows


def test_the_first_reason_decides_and_a_threshold_of_ours_is_called_one() -> None:
    assert "binary" in advise(THUMBS).reasons[0]
    assert "circle" in advise(replace(PAIRS, cycles=300)).reasons[0]
    few = [balance(50, 50), balance(5, 900), pairs(40), replace(SCORED, comparable=7), replace(SHOWN, rows=9)]
    for facts in (*few, replace(THUMBS, prompts=3), balance(300, 300, flip_rate=0.3, votes=90)):
        assert "rule of thumb" in " ".join(advise(facts).reasons)


def test_noise_makes_a_thumb_tell_less_by_the_square_of_one_minus_twice_the_rate() -> None:
    """At a flip rate of .3 a verdict tells .16 of a clean one: 200 clean ones are 1250."""
    advice = advise(balance(300, 300, flip_rate=0.3, votes=100))
    assert advice.method == "collect"
    assert "say as much as 96 clean ones; collect about 650 more" in advice.reasons[0]


@pytest.mark.parametrize(("desirable", "undesirable"), [(1000, 1000), (100, 1000), (1000, 100), (400, 300), (401, 300)])
def test_class_weights_are_those_of_the_one_function(desirable: int, undesirable: int) -> None:
    advice = advise(balance(desirable, undesirable))
    weights = (advice.desirable_weight, advice.undesirable_weight)
    assert weights == suggest_class_weights(desirable, undesirable)
    assert 1 <= weights[0] * desirable / (weights[1] * undesirable) <= 4 / 3 + 1e-9
    assert f"desirable_weight {weights[0]:.4g}" in advice.settings["data.class_weights"]


def test_training_uses_the_same_function() -> None:
    from prospect.training import resolving

    assert resolving.suggest_class_weights is suggest_class_weights


def test_one_to_ten_is_weighed_to_the_centre_and_more_is_called_untested() -> None:
    advice = advise(balance(100, 1000))
    assert advice.desirable_weight == pytest.approx(70 / 6)
    assert not any("more than the 10 to 1" in reason for reason in advice.reasons)
    assert any("more than the 10 to 1" in reason for reason in advise(balance(100, 1060)).reasons)


@pytest.mark.parametrize("facts", [PAIRS, SCORED, SHOWN, replace(PAIRS, flip_rate=0.2)])
def test_methods_without_class_weights_get_ones(facts: Facts) -> None:
    advice = advise(facts)
    assert (advice.desirable_weight, advice.undesirable_weight) == (1.0, 1.0)
    assert advice.recipe is not None and "class_weights" not in advice.recipe["data"]


EVERY_METHOD = {
    "kto": THUMBS,
    "kto of pairs": replace(PAIRS, cycles=500),
    "kto out of balance": balance(50, 4000),
    "dpo": PAIRS,
    "cdpo": replace(PAIRS, flip_rate=0.15),
    "ipo": pairs(300, flip_rate=0.0),
    "nca": SCORED,
    "sft": SHOWN,
    "sft of thumbs": balance(500, 0),
    "sft of one prompt": replace(SHOWN, prompts=1),
}


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_every_recipe_loads_as_it_is_and_fits_its_loss(name: str) -> None:
    from prospect.losses import get_loss

    advice = advise(EVERY_METHOD[name], model="some/model", data=["a.jsonl", "b.jsonl"])
    assert advice.method == name.split()[0]
    assert advice.recipe is not None
    config = load_config({**advice.recipe, "output": "elsewhere"})
    get_loss(config.loss.name).check(config.loss.hyperparameters)
    assert config.model.name_or_path == "some/model"
    assert config.data.train == ["a.jsonl", "b.jsonl"]
    load_config(advise(EVERY_METHOD[name]).recipe or {})  # and with what stands in for the user's own


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_every_setting_has_a_reason_and_every_reason_a_setting(name: str) -> None:
    advice = advise(EVERY_METHOD[name])
    recipe = advice.recipe
    assert recipe is not None
    users = {"data.train", "loss.name", "model.name_or_path"}
    keys = {f"{section}.{key}" for section in ("model", "data", "loss", "train") for key in recipe[section]}
    assert keys - users == advice.settings.keys()
    assert all(len(reason) > 20 for reason in advice.settings.values())


def setting(advice: Advice, key: str) -> Any:
    section, name = key.split(".")
    assert advice.recipe is not None
    return advice.recipe[section][name]


def test_noise_becomes_label_smoothing() -> None:
    advice = advise(replace(PAIRS, flip_rate=0.147))
    assert (setting(advice, "loss.name"), setting(advice, "loss.label_smoothing")) == ("dpo", 0.15)
    assert setting(advise(PAIRS), "loss.name") == "dpo"
    assert "label_smoothing" not in (advise(PAIRS).recipe or {})["loss"]
    forced = advise_method("cdpo", ["to compare"], replace(PAIRS, flip_rate=None, votes=0))
    assert setting(forced, "loss.label_smoothing") == 0.2


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        (THUMBS, 32),
        (balance(320, 319), 16),  # under 20 steps of 32
        (balance(320, 320), 32),
        (balance(100, 100), 8),
        (balance(1000, 7000), 32),  # one in 8: four in 32
        (balance(1000, 7100), 64),
        (balance(1000, 15000), 64),
        (balance(1000, 15100), 128),
        (balance(1000, 40000), 128),
        (PAIRS, 32),
        (pairs(639), 16),
        (replace(PAIRS, cycles=500), 32),
        (replace(SCORED, rows=3000, comparable=150), 8),  # what has one score only is not trained on
        (balance(630, 15), 16),  # by sft, on the desirable ones
    ],
)
def test_a_step_holds_both_classes_several_times(facts: Facts, size: int) -> None:
    assert setting(advise(facts), "train.batch_size") == size


def test_it_says_where_even_the_largest_batch_has_few_of_the_rarer_class() -> None:
    assert "the most the paper names" in advise(balance(100, 9900)).settings["train.batch_size"]
    assert "holds about 1.3" in advise(balance(100, 9900)).settings["train.batch_size"]
    assert "holds about 7.3" not in advise(balance(1000, 7100)).settings["train.batch_size"]
    assert "holds about 7.9" in advise(balance(1000, 7100)).settings["train.batch_size"]


@pytest.mark.parametrize(
    ("rows", "epochs"), [(200, 3), (1056, 3), (1600, 2), (1634, 2), (3168, 2), (3170, 1), (100_000, 1)]
)
def test_little_feedback_is_seen_more_often_but_three_times_at_most(rows: int, epochs: int) -> None:
    assert setting(advise(balance(rows // 2, rows - rows // 2)), "train.epochs") == epochs


@pytest.mark.parametrize(
    ("rows", "rate"),
    [
        (1056, 2.5e-6),  # 99 steps
        (3200, 2.5e-6),  # 100
        (14_400, 1.2e-6),  # 450
        (80_000, 5e-7),  # 2500
        (1_000_000, 5e-7),
    ],
)
def test_dpo_gets_a_learning_rate_within_the_papers_range_the_longer_the_run_the_lower(rows: int, rate: float) -> None:
    advice = advise(pairs(rows, flip_rate=0.05))
    assert setting(advice, "train.learning_rate") == rate
    assert 2 <= round(setting(advise(THUMBS), "train.learning_rate") / rate, 9) <= 10


def test_every_method_has_its_papers_learning_rate() -> None:
    rates = {name.split()[0]: setting(advise(facts), "train.learning_rate") for name, facts in EVERY_METHOD.items()}
    assert (rates["kto"], rates["nca"], rates["sft"]) == (5e-6, 5e-6, 2e-5)
    assert 5e-7 <= min(rates["dpo"], rates["cdpo"], rates["ipo"]) <= max(rates["dpo"], rates["ipo"]) <= 2.5e-6


def test_nca_is_scaled_to_the_scores_and_to_the_length() -> None:
    assert setting(advise(SCORED), "loss.alpha") == 1.0  # a third of 3
    assert setting(advise(SCORED), "loss.beta") == 0.01  # 225 words are some 300 tokens
    assert setting(advise(replace(SCORED, score_spread=60.0)), "loss.alpha") == 20.0
    assert setting(advise(replace(SCORED, score_spread=None)), "loss.alpha") == 1.0
    assert setting(advise(replace(SCORED, completion_words=22.5)), "loss.beta") == 0.1
    assert setting(advise(replace(SCORED, completion_words=2)), "loss.beta") == 0.3
    assert setting(advise(replace(SCORED, completion_words=0)), "loss.beta") == 0.01


@pytest.mark.parametrize(("prompts", "held_out"), [(1, None), (2, 0.1), (5000, 0.1), (5010, 500)])
def test_prompts_are_held_out_where_there_are_two(prompts: int, held_out: float | int | None) -> None:
    value = setting(advise(replace(SHOWN, rows=6000, prompts=prompts)), "data.eval")
    assert value == held_out and type(value) is type(held_out)


def fake_model(folder: Path, *shapes: list[int]) -> str:
    folder.mkdir()
    entries = {f"layer.{i}": {"dtype": "F32", "shape": shape} for i, shape in enumerate(shapes)}
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return str(folder)


def test_a_small_local_model_gets_a_larger_learning_rate(tmp_path: Path) -> None:
    small = fake_model(tmp_path / "small", [1000, 9000], [1_000_000])
    assert count_parameters(small) == 10_000_000
    advice = advise(THUMBS, model=small)
    assert setting(advice, "train.learning_rate") == 5e-5
    assert "10,000,000 parameters" in advice.settings["train.learning_rate"]
    large = fake_model(tmp_path / "large", [1_500_000, 1000])
    assert setting(advise(THUMBS, model=large), "train.learning_rate") == 5e-6
    assert setting(advise(THUMBS, model="on/the-hub"), "train.learning_rate") == 5e-6


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 2**60),
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 7) + b'{"a":1}',
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_a_model_that_cannot_be_looked_at_is_left_to_training(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert count_parameters(str(tmp_path)) is None
    assert setting(advise(THUMBS, model=str(tmp_path)), "train.learning_rate") == 5e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": -1}, "facts: rows is -1; expected a count of at least 0"),
        ({"cycles": -2}, "facts: cycles is -2"),
        ({"flip_rate": 1.5}, "facts: flip_rate is 1.5; expected a share"),
        ({"flip_rate": float("nan")}, "facts: flip_rate is nan"),
        ({"kind": "thumbs"}, "kind of feedback is 'thumbs'; expected unpaired"),
    ],
)
def test_impossible_facts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        advise(replace(PAIRS, **changes))


@pytest.mark.parametrize("kind", ["unpaired", "paired", "demonstration", "scored"])
def test_nothing_at_all_is_too_little_and_no_division_by_zero(kind: Any) -> None:
    advice = advise(Facts(kind=kind, rows=0, prompts=0))
    assert advice.method == "collect"
    assert advice.reasons
