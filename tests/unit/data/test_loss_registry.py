"""A loss is one decorated function: how it is registered, found, and refused."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from prospect.errors import ConfigError
from prospect.losses import Loss, get_loss, loss, registry
from prospect.losses.base import ARGUMENTS
from prospect.losses.declared import Declared, declared_losses
from prospect.losses.hyperparameters import BOUNDS, Bounds

OWN = """
import torch
import prospect

@prospect.loss("unpaired", learning_rate=1e-6)
def {name}(log_ratio, desirable, *, beta=0.1, tilt=0.5):
    return torch.where(desirable, -beta, beta + tilt) * log_ratio
"""


@pytest.fixture(autouse=True)
def registered(own_losses: dict[str, Loss]) -> dict[str, Loss]:
    return own_losses


def own_file(tmp_path: Path, text: str, name: str = "my_losses.py") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_own_loss_is_found_in_its_file_and_called_like_any_other(tmp_path: Path) -> None:
    path = own_file(tmp_path, OWN.format(name="mine"))
    mine = get_loss(f"{path}:mine")
    assert (mine.name, mine.feedback, mine.learning_rate) == ("mine", "unpaired", 1e-6)
    assert mine.hyperparameters == {"beta": 0.1, "tilt": 0.5}
    values = mine(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), tilt=0.0)
    torch.testing.assert_close(values, torch.tensor([-0.1, 0.2]))
    assert get_loss(f"{path}:mine") is mine
    with pytest.raises(ConfigError, match='no hyperparameter "tild"; did you mean "tilt"'):
        mine.check({"tild": 1.0})


def test_own_loss_is_found_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_file(tmp_path, OWN.format(name="relative"))
    monkeypatch.chdir(tmp_path)
    assert get_loss("my_losses.py:relative").name == "relative"


def test_two_files_of_one_name_do_not_stand_in_for_each_other(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        own_file(tmp_path / folder, OWN.format(name=f"loss_{folder}"))
    assert get_loss(f"{tmp_path}/a/my_losses.py:loss_a").name == "loss_a"
    assert get_loss(f"{tmp_path}/b/my_losses.py:loss_b").name == "loss_b"


def test_own_file_that_was_edited_is_read_again_and_its_hash_is_of_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same length and in the same second, so that a compiled file beside it would still be taken."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = own_file(tmp_path, OWN.format(name="edited"))
    stat, digests = path.stat(), []
    for tilt in ("0.5", "0.7"):
        own_file(tmp_path, OWN.format(name="edited").replace("0.5", tilt))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert get_loss(f"{path}:edited").hyperparameters["tilt"] == float(tilt)
        digests.append(registry.source_digests(f"{path}:edited")[str(path)])
        assert digests[-1] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digests[0] != digests[1] and registry.source_digests("kto") == {}


def test_own_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss .*none\.py:mine: there is no file .*none\.py"):
        get_loss(f"{tmp_path}/none.py:mine")


def test_own_file_that_fails_to_import_is_refused_with_its_error_and_tried_anew(tmp_path: Path) -> None:
    path = own_file(tmp_path, "import nonexistent_module\n")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"importing .*my_losses\.py failed: ModuleNotFoundError: .*nonexist"):
            get_loss(f"{path}:mine")
    own_file(tmp_path, OWN.format(name="mended"))
    assert get_loss(f"{path}:mended").name == "mended"


@pytest.mark.parametrize(("attribute", "found"), [("absent", "nothing"), ("plain", "function"), ("number", "int")])
def test_own_name_that_is_no_loss_is_refused(tmp_path: Path, attribute: str, found: str) -> None:
    path = own_file(tmp_path, "number = 3\ndef plain(log_ratio, desirable): return log_ratio\n")
    with pytest.raises(ConfigError, match=rf'"{attribute}" in .* is {found}; expected a function under @prospect.loss'):
        get_loss(f"{path}:{attribute}")


def test_decorator_without_its_arguments_is_refused(tmp_path: Path) -> None:
    path = own_file(tmp_path, "import prospect\n@prospect.loss\ndef bare(log_ratio, desirable): return log_ratio\n")
    with pytest.raises(ConfigError, match=r"expected a function under @prospect\.loss"):
        get_loss(f"{path}:bare")


@pytest.mark.parametrize(("typed", "meant"), [("kt0", "kto"), ("KTO", None), ("dpoo", "dpo"), ("sfft", "sft")])
def test_unknown_loss_is_refused_with_the_nearest_name_and_all_others(typed: str, meant: str | None) -> None:
    with pytest.raises(ConfigError, match=rf'unknown loss "{typed}"') as caught:
        get_loss(typed)
    assert f"Known: {', '.join(sorted(prospect.losses.all_losses()))}" in str(caught.value)
    assert "my_file.py:my_loss" in str(caught.value)
    assert meant is None or f'did you mean "{meant}"?' in str(caught.value)


def test_a_decorated_function_is_registered_under_its_name_or_the_given_one(registered: dict[str, Loss]) -> None:
    @loss("paired")
    def margin(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return rejected - chosen

    @loss("paired", name="other-name", learning_rate=3.0)
    def margin_again(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return rejected - chosen

    assert get_loss("margin") is margin is registered["margin"]
    assert get_loss("other-name").learning_rate == 3.0
    assert list(prospect.losses.all_losses()) == sorted(registered)
    assert margin.hyperparameters == {}


def test_signature_decides_what_a_loss_is_called_with() -> None:
    @loss("paired", needs_reference_point=True)
    def with_z0(chosen: torch.Tensor, rejected: torch.Tensor, z0: torch.Tensor, *, c: float = 1.0) -> torch.Tensor:
        return c * (z0 - chosen)

    assert with_z0.argument_names == ("chosen", "rejected", "z0")
    ones = torch.ones(2)
    assert torch.equal(with_z0(ones, ones, torch.tensor(3.0), c=2.0), torch.full((2,), 4.0))


def _too_few(log_ratio): ...
def _z0_undeclared(log_ratio, desirable, z0): ...
def _positional_hyperparameter(log_ratio, desirable, beta=0.1): ...
def _swapped(desirable, log_ratio): ...
def _gathers_names(log_ratio, **desirable): ...
def _gathers_places(*log_ratio): ...


@pytest.mark.parametrize(
    "function",
    [_too_few, _z0_undeclared, _positional_hyperparameter, _swapped, _gathers_names, _gathers_places],
    ids=lambda f: f.__name__,
)
def test_signature_that_does_not_fit_the_traits_is_refused(function: object) -> None:
    with pytest.raises(ConfigError, match=r"takes \(.*\); .*is called with \(log_ratio, desirable\).*lone `\*`"):
        loss("unpaired")(function)  # type: ignore[arg-type]
    assert function.__name__ not in prospect.losses.all_losses()  # type: ignore[attr-defined]


def test_chosen_and_rejected_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"takes \(rejected, chosen\)"):

        @loss("paired")
        def backwards(rejected: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
            return rejected - chosen


def test_positional_names_of_ones_own_are_legal() -> None:
    @loss("unpaired")
    def short(r: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
        return torch.where(good, -r, r)

    assert short(torch.ones(2), torch.tensor([True, False])).tolist() == [-1.0, 1.0]


def test_hyperparameter_without_a_default_is_refused() -> None:
    with pytest.raises(ConfigError, match="loss needy: hyperparameter beta has no default"):

        @loss("demonstration")
        def needy(logps: torch.Tensor, *, beta: float) -> torch.Tensor:
            return -beta * logps


def test_unknown_kind_of_feedback_is_refused() -> None:
    with pytest.raises(
        ConfigError, match='"unpaird" feedback: expected one of unpaired, paired, demonstration, scored'
    ):
        loss("unpaird")(lambda log_ratio, desirable: log_ratio)  # type: ignore[arg-type]


def test_a_second_loss_of_one_name_from_another_file_is_refused(tmp_path: Path) -> None:
    path = own_file(tmp_path, OWN.format(name="kto"))
    with pytest.raises(ConfigError, match=r'a loss named "kto" exists already, in .*unpaired\.py; choose another'):
        get_loss(f"{path}:kto")
    assert get_loss("kto").needs_reference_point


def test_the_same_function_may_be_registered_again() -> None:
    """As a notebook does when its cell is run twice."""
    for _ in range(2):

        @loss("demonstration")
        def cell(logps: torch.Tensor) -> torch.Tensor:
            return -logps


@pytest.mark.parametrize("wrong", [lambda x: x.mean(), lambda x: x.unsqueeze(1), lambda x: x[:1]])
def test_a_loss_that_does_not_give_one_value_per_example_is_refused_when_called(wrong: object) -> None:
    @loss("demonstration")
    def reduced(logps: torch.Tensor) -> torch.Tensor:
        return wrong(logps)  # type: ignore[operator]

    with pytest.raises(TypeError, match=r"loss reduced must give one value per example, \(3,\)"):
        reduced(torch.ones(3))


# -- traits --


def nothing(*tensors: torch.Tensor) -> torch.Tensor:
    return tensors[0]


def v(z: torch.Tensor) -> torch.Tensor:
    return z


@pytest.mark.parametrize(
    ("feedback", "traits", "message"),
    [
        ("paired", {"level": "token"}, 'no loss on paired feedback has level "token", only sequence'),
        ("scored", {"level": "token"}, 'no loss on scored feedback has level "token", only sequence'),
        ("unpaired", {"level": "word"}, 'no loss on unpaired feedback has level "word", only sequence or token'),
        ("unpaired", {"is_halo": True}, "is_halo needs value, its value function, and value needs is_halo"),
        ("unpaired", {"value": v}, "is_halo needs value, its value function, and value needs is_halo"),
        ("unpaired", {"is_halo": True, "value": v, "needs_reference": False}, "so is_halo needs needs_reference"),
        ("unpaired", {"needs_values": True}, 'needs_values needs level="token"'),
        ("unpaired", {"length_normalised": True, "level": "token"}, 'length_normalised .* needs level="sequence"'),
        ("paired", {"reward_model": True}, "a reward model has neither reference, reference point nor tokens"),
        (
            "paired",
            {"reward_model": True, "needs_reference": False, "needs_reference_point": True},
            "a reward model has neither reference, reference point nor tokens",
        ),
        (
            "unpaired",
            {"reward_model": True, "needs_reference": False, "level": "token"},
            "a reward model has neither reference, reference point nor tokens",
        ),
        ("paired", {"control_tokens": True}, "control_tokens say a verdict, so they need unpaired feedback"),
        ("paired", {"direction": "sideways"}, 'direction is "sideways"; expected apart, up or down'),
        ("paired", {"mean_over": "rows"}, 'mean_over is "rows"; expected examples or tokens'),
        ("sampled", {"level": "token"}, 'sampled feedback needs advantages="group", "leave_one_out" or "gae"'),
        ("sampled", {"level": "token", "advantages": "mean"}, "sampled feedback needs advantages"),
        ("paired", {"advantages": "group"}, "and no other feedback has them"),
        ("sampled", {"level": "token", "advantages": "gae"}, 'advantages="gae" needs needs_values'),
        ("paired", {"needs_refernce": False}, "unexpected keyword argument 'needs_refernce'. See prospect.losses.Loss"),
    ],
)
def test_traits_that_contradict_each_other_are_refused(
    feedback: Any, traits: dict[str, Any], message: str, registered: dict[str, Loss]
) -> None:
    with pytest.raises(ConfigError, match=f"loss nothing: .*{message}"):
        loss(feedback, **traits)(nothing)
    assert "nothing" not in registered


def test_every_tensor_that_the_traits_ask_for_comes_in_its_place() -> None:
    def spread(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return a.std()

    @loss(
        "unpaired",
        level="token",
        needs_values=True,
        needs_reference_point=True,
        needs_running_mean=True,
        over_step={"spread": spread},
    )
    def everything(
        token_log_ratio: torch.Tensor,
        completion: torch.Tensor,
        desirable: torch.Tensor,
        values: torch.Tensor,
        z0: torch.Tensor,
        running_mean: torch.Tensor,
        spread: torch.Tensor,
    ) -> torch.Tensor:
        return token_log_ratio.sum(1)

    assert everything.row_arguments == ("token_log_ratio", "completion", "desirable", "values")
    assert everything.argument_names == (*everything.row_arguments, "z0", "running_mean", "spread")
    shapes = [everything.shape_of(name) for name in everything.argument_names[:-1]]
    assert shapes == [("N", "T"), ("N", "T"), ("N",), ("N", "T"), (), ()]
    assert get_loss("nca").shape_of("log_ratio") == ("N", "K")


@pytest.mark.parametrize("kind", ARGUMENTS, ids="-".join)
def test_every_kind_of_loss_can_be_registered_and_called(kind: Any) -> None:
    names = ARGUMENTS[kind]
    scope: dict[str, Any] = {}
    exec(f"def plain({', '.join(names)}): return {names[0]} if {names[0]}.dim() == 1 else {names[0]}.sum(1)", scope)
    traits = {"advantages": "group", "needs_reference": False} if kind[0] == "sampled" else {}
    plain = loss(kind[0], level=kind[1], **traits)(scope["plain"])
    sizes = {"N": 3, "T": 5, "K": 2}
    given = [torch.ones([sizes[letter] for letter in plain.shape_of(name)]) for name in names]
    assert plain(*given).shape == (3,)


def test_over_step_sees_the_hyperparameters_that_it_names_and_gives_no_gradient() -> None:
    def scale(log_ratio: torch.Tensor, desirable: torch.Tensor, *, power: float) -> torch.Tensor:
        return log_ratio.abs().mean() ** power

    @loss("unpaired", over_step={"scale": scale})
    def scaled(
        log_ratio: torch.Tensor, desirable: torch.Tensor, scale: torch.Tensor, *, power: float = 1.0, beta: float = 0.1
    ) -> torch.Tensor:
        return -beta * log_ratio / scale

    rows = (torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([True, False]))
    (found,) = scaled.over_whole_step(rows, {"power": 2.0, "beta": 0.5})
    assert found.item() == 4.0
    assert not found.requires_grad
    half = (rows[0].detach().bfloat16(), rows[1])
    assert scaled.over_whole_step(half, {"power": 2.0})[0].dtype == torch.float32


@pytest.mark.parametrize("name", registry.MODIFIERS)
@pytest.mark.parametrize("needs_reference", [True, False])
def test_settings_of_every_recipe_are_no_names_for_hyperparameters(name: str, needs_reference: bool) -> None:
    scope: dict[str, Any] = {}
    exec(f"def taking(logps, *, {name}=1.0): return -logps * {name}", scope)
    with pytest.raises(ConfigError, match=f"loss taking: {name} is a setting of every recipe; choose another name"):
        loss("demonstration", needs_reference=needs_reference)(scope["taking"])


def test_a_human_value_takes_the_settings_that_it_names() -> None:
    ratio = torch.tensor([2.0])
    assert get_loss("hinge").human_value(ratio, beta=1.0).item() == 0.0
    assert get_loss("hinge").human_value(ratio, beta=0.1).item() == pytest.approx(-0.8)
    with pytest.raises(ConfigError, match='no hyperparameter "bta"; did you mean "beta"'):
        get_loss("hinge").human_value(ratio, bta=1.0)
    with pytest.raises(ConfigError, match="loss ipo declares no value function: it is no human-aware loss"):
        get_loss("ipo").human_value(ratio)


# -- bounds --


@pytest.mark.parametrize(
    ("text", "inside", "outside", "said"),
    [
        ("(0, 1]", [1e-9, 1.0], [0.0, 1.1, -1.0], " > 0 and <= 1"),
        ("[0, 0.5)", [0.0, 0.49], [0.5, -0.1], " >= 0 and < 0.5"),
        ("[1, inf)", [1, 1e300], [0.99, math.inf], " >= 1"),
        ("(-inf, inf)", [-1e300, 0.0], [math.inf, -math.inf, math.nan], ""),
        ("[-inf, inf]", [-1e300, 0.0], [math.inf, -math.inf, math.nan], ""),
        ("(-inf, -2)", [-3.0], [-2.0, -math.inf], " < -2"),
        (" (0,1) ", [0.5], [0.0, 1.0], " > 0 and < 1"),
    ],
)
def test_an_interval_holds_what_it_says(text: str, inside: list[float], outside: list[float], said: str) -> None:
    interval = Bounds.parse(text)
    assert all(value in interval for value in inside)
    assert not [value for value in outside if value in interval]
    if "-inf, inf" not in text:
        assert str(interval) == said


@pytest.mark.parametrize("text", ["", "0, 1", "(0)", "(0, 1, 2)", "(a, b)", "(1, 0)", "(1, 1)", "[nan, 1]", "]0, 1["])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no interval; expected"):
        Bounds.parse(text)


def test_a_losss_own_bounds_win_over_those_of_the_name() -> None:
    assert BOUNDS["label_smoothing"] == "[0, 0.5]"
    assert 0.5 in get_loss("dpo").interval("label_smoothing")
    assert 0.5 not in get_loss("robust_dpo").interval("label_smoothing")
    assert 0.0 not in get_loss("exo_pair").interval("label_smoothing")
    with pytest.raises(ConfigError, match=r"loss robust_dpo: label_smoothing is 0.5; .* number >= 0 and < 0.5\.$"):
        get_loss("robust_dpo").check({"label_smoothing": 0.5})


def bounded(logps: torch.Tensor, *, tilt: float = 0.5) -> torch.Tensor:
    return -tilt * logps


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"tild": "(0, 1)"}, "loss bounded: bounds names tild, which is none of its hyperparameters"),
        ({"tilt": "(0, 0.5)"}, "loss bounded: tilt is 0.5; expected a finite number > 0 and < 0.5"),
        ({"tilt": "0..1"}, '"0..1" is no interval'),
    ],
)
def test_bounds_that_cannot_be_meant_are_refused(bounds: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loss("demonstration", bounds=bounds)(bounded)
    assert "bounded" not in prospect.losses.all_losses()


def test_a_default_that_is_no_number_is_refused() -> None:
    def moody(logps: torch.Tensor, *, mood: str = "good") -> torch.Tensor:
        return -logps

    with pytest.raises(ConfigError, match="loss moody: mood is 'good'; expected a number"):
        loss("demonstration")(moody)


# -- shapes --


@pytest.mark.parametrize(
    ("name", "shapes", "takes"),
    [
        ("kto", [(3,), (3,), (1,)], r"log_ratio \(N\), desirable \(N\), z0 \(\)"),
        ("dpo", [(3,), (1,)], r"chosen \(N\), rejected \(N\)"),
        ("nca", [(3, 2), (3, 2), (3,)], r"log_ratio \(N, K\), score \(N, K\), present \(N, K\)"),
        ("unlikelihood", [(3, 5), (3, 4), (3,)], r"token_log_ratio \(N, T\), completion \(N, T\), desirable \(N\)"),
    ],
)
def test_wrong_shapes_are_refused_with_the_right_ones(name: str, shapes: list[tuple[int, ...]], takes: str) -> None:
    with pytest.raises(TypeError, match=f"loss {name} takes {takes}, letters of one size each; got "):
        get_loss(name)(*(torch.ones(shape).bool() for shape in shapes))


def test_what_is_read_from_the_source_of_the_losses_is_what_was_registered() -> None:
    registered = {
        name: Declared(tuple(record.hyperparameters), record.bounds)
        for name, record in registry.all_losses().items()
        if record.function.__module__.startswith("prospect.losses.")
    }
    assert declared_losses() == registered and len(registered) >= 30
