"""A loss is one decorated function: how it is registered, found, and refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import prospect
from prospect.errors import ConfigError
from prospect.losses import base, get_loss, loss

OWN = """
import torch
import prospect

@prospect.loss("unpaired", learning_rate=1e-6)
def {name}(log_ratio, desirable, *, beta=0.1, tilt=0.5):
    return torch.where(desirable, -beta, beta + tilt) * log_ratio
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, base.Loss]]:
    """A copy of the registry, so that what a test registers is gone after it."""
    copy = dict(base._REGISTRY)
    monkeypatch.setattr(base, "_REGISTRY", copy)
    yield copy


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
    assert "Known: dpo, kto, sft" in str(caught.value)
    assert "my_file.py:my_loss" in str(caught.value)
    assert meant is None or f'did you mean "{meant}"?' in str(caught.value)


def test_a_decorated_function_is_registered_under_its_name_or_the_given_one(
    registry: dict[str, base.Loss],
) -> None:
    @loss("paired")
    def margin(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return rejected - chosen

    @loss("paired", name="other-name", is_halo=True)
    def margin_again(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return rejected - chosen

    assert get_loss("margin") is margin is registry["margin"]
    assert get_loss("other-name").is_halo
    assert list(prospect.losses.all_losses()) == sorted(registry)
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
    with pytest.raises(ConfigError, match='"unpaird" feedback: expected one of unpaired, paired, demonstration'):
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
