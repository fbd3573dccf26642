"""A recipe: what is wrong is said with its key and what was found; what is right comes back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from prospect.config import Config, all_keys, load_config, set_key
from prospect.errors import ConfigError, UsageError

BASE: dict[str, Any] = {"model": {"name_or_path": "m"}, "data": {"train": "feedback.jsonl"}, "output": "run"}


def refusal(changes: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config({**BASE, **changes}, overrides)
    return str(caught.value)


def test_the_least_recipe_names_model_data_and_output() -> None:
    config = load_config(BASE)
    assert (config.loss.name, config.loss.hyperparameters) == ("kto", {})
    assert config.train.batch_size == 32
    assert config.reference_point.kind == "step"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": {}}, 'recipe: unknown key modle; did you mean "model"?'),
        ({"train": {"batchsize": 4}}, 'recipe: unknown key train.batchsize; did you mean "batch_size"?'),
        ({"data": {"train": "x", "evl": 1}}, 'recipe: unknown key data.evl; did you mean "eval"?'),
        ({"batch_size": 4}, "recipe: unknown key batch_size; it belongs at train.batch_size."),
        ({"train": {"dtype": "x"}}, "recipe: unknown key train.dtype; it belongs at model.dtype."),
        (
            {"reference": {"sync": {"qqq": 4}}},
            "recipe: unknown key reference.sync.qqq. Known here: every, mix.",
        ),
        # Names that begin as pydantic's own marks do.
        ({"strategy": 1}, "recipe: unknown key strategy. Known here: model, data, loss"),
        ({"data": {"train": "x", "streaming": True}}, "recipe: unknown key data.streaming; did you mean"),
        ({"float": 1}, "recipe: unknown key float. Known here: model"),
        ({"train": {"int": 1}}, "recipe: unknown key train.int. Known here: batch_size"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(changes: dict[str, Any], message: str) -> None:
    assert refusal(changes).startswith(message)


@pytest.mark.parametrize("text", ["'2026-11-21'", "'2026-11-21T09:30:00'"])
def test_a_date_in_quotes_is_read_and_written_so_that_it_is_read_again(text: str) -> None:
    config = load_config(BASE, [f"data.template_date={text}"])
    assert str(config.data.template_date).startswith("2026-11-21")
    again = yaml.safe_load(yaml.safe_dump(config.as_dict()))
    assert load_config(again).data.template_date == config.data.template_date


@pytest.mark.parametrize("key", ["model", "data", "output"])
def test_what_has_no_default_must_be_there(key: str) -> None:
    with pytest.raises(ConfigError, match=f"^recipe: {key} is missing; it has no default.$"):
        load_config({name: value for name, value in BASE.items() if name != key})
    assert refusal({"model": {}}) == "recipe: model.name_or_path is missing; it has no default."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"batch_size": "many"}}, "train.batch_size is 'many'; input should be a valid integer"),
        ({"train": {"batch_size": 2.5}}, "train.batch_size is 2.5; input should be a valid integer"),
        ({"train": {"batch_size": 0}}, "train.batch_size is 0; input should be greater than or equal to 1."),
        ({"train": {"batch_size": True}}, "train.batch_size is True; input should not be true or false."),
        ({"train": {"save_every": True}}, "train.save_every is True; input should not be true or false."),
        ({"data": {"train": "x", "eval": True}}, "data.eval is True; input should not be true or false."),
        ({"train": {"learning_rate": "fast"}}, "train.learning_rate is 'fast'; input should be a valid number"),
        ({"train": {"learning_rate": 0}}, "train.learning_rate is 0; input should be greater than 0."),
        ({"train": {"learning_rate": ".inf"}}, "train.learning_rate is '.inf'; input should be a valid number"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate is nan; input should be"),
        ({"train": {"warmup": float("inf")}}, "train.warmup is inf; input should be a finite number."),
        ({"train": {"weight_decay": float("nan")}}, "train.weight_decay is nan; input should be"),
        ({"train": {"max_grad_norm": 0}}, "train.max_grad_norm is 0; input should be greater than 0."),
        ({"train": {"adam_betas": [0.9, 1.0]}}, "train.adam_betas.1 is 1.0; input should be less than 1."),
        ({"train": {"adam_betas": [0.9]}}, "train.adam_betas.1 is missing; it has no default."),
        (
            {"train": {"scheduler": "step"}},
            "train.scheduler is 'step'; input should be 'cosine', 'linear' or 'constant'.",
        ),
        ({"train": {"seed": -1}}, "train.seed is -1; input should be greater than or equal to 0."),
        ({"train": {"seed": 2**63}}, f"train.seed is {2**63}; input should be less than {2**63}."),
        ({"train": 5}, "train is 5; input should be a valid dictionary or instance of TrainSettings."),
        ({"loss": None}, "loss is None; input should be a valid dictionary or instance of LossSettings."),
        ({"loss": {"name": 3}}, "loss.name is 3; input should be a valid string."),
        ({"model": {"name_or_path": "m", "dtype": "int8"}}, "model.dtype is 'int8'; input should be 'float32',"),
        (
            {"data": {"train": "x", "label_map": {"good": "perhaps"}}},
            "data.label_map.good is 'perhaps'; input should be",
        ),
        (
            {"data": {"train": "x", "template_date": 20261121}},
            "data.template_date is 20261121; input should be a date,",
        ),
        ({"data": {"train": "x", "template_date": "soon"}}, "data.template_date is 'soon'; input should be"),
        ({"data": {"train": []}, "output": 3}, "output is 3; input should be a valid string."),
        ({"data": {"train": 3}}, "data.train is 3; input should be a valid string or a valid list."),
        (
            {"data": {"train": "x", "eval": {"a": 1}}},
            "data.eval is {'a': 1}; input should be a valid string or a valid list or a valid integer or a valid "
            "number.",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_with_key_and_value(changes: dict[str, Any], message: str) -> None:
    text = refusal(changes)
    assert text.startswith(f"recipe: {message}")
    assert "\n" not in text


def test_everything_that_is_wrong_is_said_at_once() -> None:
    text = refusal({"train": {"batch_size": 0, "lr": 1, "epochs": "x"}, "outptu": "y"})
    assert len(text.splitlines()) == 4
    assert all(line.startswith("recipe: ") for line in text.splitlines())


def test_a_config_error_is_wrong_usage() -> None:
    assert issubclass(ConfigError, UsageError)
    assert ConfigError.exit_code == 2


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "0.0001", "1.0e-4"])
def test_yaml_numbers_mean_numbers_though_yaml_takes_some_for_text(tmp_path: Path, text: str) -> None:
    """YAML 1.1 wants a dot in 1e-4."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(BASE) + f"train: {{learning_rate: {text}}}\nloss: {{name: kto, beta: {text}}}\n")
    config = load_config(path)
    assert config.train.learning_rate == 1e-4
    assert config.loss.hyperparameters == {"beta": 1e-4}
    assert load_config(BASE, [f"train.warmup={text}", f"loss.beta={text}"]).loss.hyperparameters == {"beta": 1e-4}
    assert load_config(BASE, ["data.eval=1e-1"]).data.eval == 0.1


def test_a_loss_may_be_a_bare_name() -> None:
    assert load_config({**BASE, "loss": "dpo"}).loss.name == "dpo"
    assert load_config(BASE, ["loss=dpo", "loss.beta=0.3"]).loss.hyperparameters == {"beta": 0.3}
    changed = load_config({**BASE, "loss": "dpo"}, ["loss.beta=0.3"])
    assert (changed.loss.name, changed.loss.hyperparameters) == ("dpo", {"beta": 0.3})


def test_later_overrides_win_and_the_recipe_given_is_not_changed() -> None:
    given = {**BASE, "train": {"batch_size": 4, "epochs": 2}}
    config = load_config(given, ["train.batch_size=8", "train.batch_size=16", "model.lora.r=4", "data.eval=null"])
    assert (config.train.batch_size, config.train.epochs, config.data.eval) == (16, 2, None)
    assert config.model.lora is not None
    assert config.model.lora.r == 4
    assert given["train"] == {"batch_size": 4, "epochs": 2}
    assert "lora" not in given["model"]


@pytest.mark.parametrize("override", ["train.batch_size", "=3", ""])
def test_an_override_without_key_and_value_is_refused(override: str) -> None:
    assert "expected key=value, for instance --set train.learning_rate=1e-5" in refusal({}, override)


def test_an_override_that_is_no_yaml_or_no_key_is_refused() -> None:
    assert refusal({}, "output=[1").startswith("--set output=[1: not valid YAML: ")
    assert refusal({}, "train.batchsize=3") == 'recipe: unknown key train.batchsize; did you mean "batch_size"?'
    assert refusal({}, "train.batch_size.x=3").startswith("recipe: train.batch_size is {'x': 3}; input should be")


def test_set_key_copies_on_the_way_down() -> None:
    before: dict[str, Any] = {"a": {"b": {"c": 1}, "d": 2}}
    assert set_key(before, "a.b.c", 9) == {"a": {"b": {"c": 9}, "d": 2}}
    assert before == {"a": {"b": {"c": 1}, "d": 2}}


def test_a_resolved_recipe_comes_back_as_it_was(tmp_path: Path) -> None:
    config = load_config(
        {
            "model": {"name_or_path": "m", "lora": {"r": 4, "target_modules": ["q_proj"]}},
            "data": {"train": ["a.jsonl", "b.jsonl"], "eval": 200, "label_map": {1: True, 0: False, "good": True}},
            "loss": {"name": "kto", "beta": 0.2},
            "train": {"learning_rate": "3e-6", "adam_betas": [0.9, 0.95], "max_grad_norm": float("inf")},
            "output": "läuft/run",
        }
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.as_dict(), allow_unicode=True), encoding="utf-8")
    again = load_config(path)
    assert again.as_dict() == config.as_dict()
    assert load_config(config).as_dict() == config.as_dict()
    assert again.data.label_map == {"1": True, "0": False, "good": True}  # labels are compared as text


def test_defaults_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(load_config(BASE).as_dict()))
    assert load_config(path) == load_config(BASE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, " there is no such recipe"),
        ("model: [1", "1: not valid YAML: "),
        ("- a\n- b\n", " holds list; expected keys such as model, data, loss, output"),
        ("", " is empty; expected keys"),
        ("just words", " holds str; expected keys"),
        (b"\xff\xfe\x00", " cannot be read as a recipe: byte 1 is 0xff; expected UTF-8"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_with_its_path(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:{message}")
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; expected a recipe in a file"):
        load_config(tmp_path)


def test_errors_in_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**BASE, "trian": {}}))
    with pytest.raises(ConfigError, match=r'recipe\.yaml: unknown key trian; did you mean "train"\?'):
        load_config(path)


def test_keys_that_are_no_text_are_refused() -> None:
    assert "keys should be strings" in refusal({1: 2})  # type: ignore[dict-item]


def test_every_key_has_words_that_explain_it() -> None:
    """They become help and docs."""

    def walk(section: Any, prefix: str) -> None:
        for name, field in section.model_fields.items():
            assert field.description, prefix + name

    for section in (Config, *Config.__subclasses__()):
        walk(section, "")
    from prospect import config as module

    for name in ("ModelSettings", "DataSettings", "LossSettings", "ReferenceSettings", "TrainSettings", "LoraSettings"):
        walk(getattr(module, name), f"{name}.")
    assert {"model.lora.r", "train.max_tokens_per_micro_batch", "loss.name", "output"} <= set(all_keys())
