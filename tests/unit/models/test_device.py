"""One place chooses the device, and what an accelerator lacks is refused or done on the CPU. No test has one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prospect.errors import ConfigError
from prospect.models.device import default_device, has_float64, limits, on_device, random_state
from prospect.training.checkpoints import checkpoint
from prospect.training.prepare import micro_batch_tokens, require_float64
from prospect.training.processes.world import World, join_world


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let PyTorch find an accelerator of a kind, or none."""

    def find(kind: str | None) -> None:
        found = None if kind is None else torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: found)

    return find


@pytest.mark.parametrize(
    ("there", "asked", "used"),
    [
        (None, "auto", "cpu"),
        ("cuda", "auto", "cuda"),
        ("mps", "auto", "mps"),
        ("xpu", "auto", "xpu"),
        ("cuda", "cpu", "cpu"),
        ("mps", "mps", "mps"),
    ],
)
def test_the_device_is_the_one_asked_for_else_the_accelerator_else_the_cpu(
    accelerator: Any, there: str | None, asked: str, used: str
) -> None:
    accelerator(there)
    with on_device(asked):
        assert default_device().type == used


@pytest.mark.parametrize(("there", "asked"), [(None, "cuda"), ("cuda", "mps")])
def test_a_device_that_is_not_there_is_refused(accelerator: Any, there: str | None, asked: str) -> None:
    accelerator(there)
    with (
        on_device(asked),
        pytest.raises(ConfigError, match=f"device {asked} was asked for.*{there or 'no accelerator'}"),
    ):
        default_device()


def test_auto_leaves_the_choice_to_what_is_around_and_a_choice_ends_with_its_block(accelerator: Any) -> None:
    accelerator("mps")
    with on_device("cpu"), on_device("auto"):
        assert default_device().type == "cpu"
    assert default_device().type == "mps"


def test_any_accelerator_gets_larger_micro_batches_and_only_unusual_ones_a_line() -> None:
    assert micro_batch_tokens(torch.device("cpu")) < micro_batch_tokens(torch.device("mps"))
    assert [limits(torch.device(kind)) for kind in ("cpu", "cuda")] == [None, None]
    assert "computed on the CPU" in str(limits(torch.device("mps")))


def test_without_float64_what_sums_in_it_is_refused(accelerator: Any) -> None:
    moments: Any = SimpleNamespace(name="ppo_clip", over_step={"advantage_moments": None})
    plain: Any = SimpleNamespace(name="kto", over_step={})
    text: Any = SimpleNamespace(kind="transformers")
    images: Any = SimpleNamespace(kind="pipeline")
    assert has_float64(torch.device("cpu"))
    require_float64(moments, images)
    accelerator("mps")  # which this PyTorch cannot make a tensor on
    assert not has_float64(default_device())
    require_float64(plain, text)
    for loss, source in ((moments, text), (plain, images)):
        with pytest.raises(ConfigError, match="float64, which mps lacks"):
            require_float64(loss, source)


def test_the_random_state_of_any_accelerator_is_kept_and_restored(
    accelerator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[torch.Tensor] = []
    module = SimpleNamespace(get_rng_state=lambda: torch.tensor([7]), set_rng_state=restored.append)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    accelerator("mps")
    state = random_state()
    assert set(state) == {"cpu", "mps"}
    checkpoint._restore_random({f"{name}.0": value for name, value in state.items()}, World())
    assert restored == [torch.tensor([7])]


def test_processes_that_cannot_share_a_device_are_refused(accelerator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    accelerator("mps")
    with pytest.raises(ConfigError, match="no way for them to share mps"):
        join_world(sharded=True)
