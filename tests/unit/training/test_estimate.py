"""The estimate of memory counts what it says it counts; benchmarks/estimates.py compares it with real runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaModel

from conftest import make_model, rows_for, thumbs
from prospect.cli.dry_run import show
from prospect.config import load_config
from prospect.training.memory.estimate import PARTS, estimate_memory, largest_micro_batch, resident_bytes
from prospect.training.prepare import prepare


def estimate(recipe: Any, loss: str = "kto", **sections: Any) -> dict[str, Any]:
    return estimate_memory(prepare(load_config(recipe(loss, rows_for(loss), **sections))))


def test_weights_gradients_moments_and_reference_are_those_of_the_model(recipe: Any) -> None:
    found, size = estimate(recipe), make_model().num_parameters()
    assert found["parameters"] == found["trainable_parameters"] == size
    parts = [found[name] / size for name in ("weights", "gradients", "optimizer", "reference")]
    assert parts == [4, 4, 8, 4]
    assert found["total"] == sum(found[part] for part in PARTS)


def test_an_adapter_needs_no_second_model_unless_the_reference_moves(recipe: Any) -> None:
    lora = estimate(recipe, model={"lora": {"r": 2}})
    assert lora["reference"] == 0 and lora["trainable_parameters"] < 0.2 * lora["parameters"]
    moving = estimate(recipe, model={"lora": {"r": 2}}, reference={"sync": {"every": 2}})
    assert moving["reference"] == moving["weights"]


@pytest.mark.parametrize(
    ("changes", "others"),
    [({"train": {"max_tokens_per_micro_batch": 64}}, {}), ({"train": {"gradient_checkpointing": True}}, {})],
)
def test_what_saves_memory_is_seen_to_save_it(recipe: Any, changes: dict[str, Any], others: dict[str, Any]) -> None:
    assert estimate(recipe, **changes)["activations"] < 0.8 * estimate(recipe, **others)["activations"]


def test_a_heap_in_pieces_takes_more_and_most_with_adapters(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lora = {"model": {"lora": {"r": 2}}}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
    whole = [estimate(recipe, **sections)["activations"] for sections in ({}, lora)]
    monkeypatch.delenv("GLIBC_TUNABLES")
    broken = [estimate(recipe, **sections)["activations"] for sections in ({}, lora)]
    assert 1.1 < broken[0] / whole[0] < broken[1] / whole[1]


@pytest.mark.parametrize("loss", ["sft", "dpo", "bradley_terry", "offline_ppo"])
def test_every_kind_of_loss_has_an_estimate(recipe: Any, loss: str) -> None:
    found = estimate(recipe, loss)
    assert found["activations"] > 0 and bool(found["reference"]) is (loss in ("dpo", "offline_ppo"))


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux"])
def test_images_are_walked_through_as_the_denoiser_gets_them(family: str, images: Any, tmp_path: Path) -> None:
    """What it is told has the sizes that the encoders give it; more images at once take more, recomputing less."""
    from prospect.models.diffusion.encodings import Encodings
    from prospect.training.memory.image_walk import told_shapes

    def of(at_once: int, *, again: bool) -> dict[str, Any]:
        train = {"images_per_micro_batch": at_once, "gradient_checkpointing": again}
        return estimate_memory(prepare(load_config(images(family, train=train))))

    prepared = prepare(load_config(images(family)))
    assert prepared.pipeline is not None
    encodings = Encodings(tmp_path, prepared.pipeline, "float32")
    encodings.add([prepared.train.examples[0][0]])  # type: ignore[list-item]
    told = encodings.conditions(prepared.train.records[0].prompt)  # type: ignore[arg-type]
    assert told_shapes(prepared.pipeline) == {name: value.shape for name, value in told.items()}
    found, few, recomputed = of(8, again=False), of(2, again=False), of(8, again=True)
    assert found["micro_batch"] == [8, 16, 16] and found["reference"] == found["weights"] == 4 * found["parameters"]
    assert few["activations"] < 0.6 * found["activations"] and recomputed["activations"] < 0.95 * found["activations"]


@pytest.mark.parametrize("model", [{}, {"lora": {"r": 2}}])
def test_bfloat16_arithmetic_has_an_estimate(recipe: Any, model: dict[str, Any]) -> None:
    kept = estimate(recipe, model=model, train={"precision": "bf16"})["activations"]
    again = estimate(recipe, model=model, train={"precision": "bf16", "gradient_checkpointing": True})["activations"]
    assert 0 < again < kept


def test_the_largest_micro_batch_is_one_that_the_run_has(recipe: Any) -> None:
    prepared = prepare(load_config(recipe(train={"max_tokens_per_micro_batch": 100})))
    shape = largest_micro_batch(prepared)
    assert 50 < shape.rows * shape.longest <= 100 and 0 < shape.scored < shape.rows * shape.longest


@pytest.mark.parametrize("place", [0, 60, 120, 180, 239])
def test_the_longest_row_is_in_the_largest_micro_batch_wherever_it_stands(recipe: Any, place: int) -> None:
    rows = thumbs(240)
    rows[place] = {**rows[place], "completion": " fox" * 190}
    prepared = prepare(load_config(recipe("kto", rows, train={"batch_size": 2})))
    lengths = sorted(row.length for (row,) in prepared.train.examples)
    assert lengths[-1] > 190 > 4 * lengths[-2]
    shape = largest_micro_batch(prepared)
    assert shape.longest == lengths[-1] and shape.rows <= 2


def test_the_process_itself_is_counted() -> None:
    block = bytearray(b"x" * 50_000_000)
    assert resident_bytes() > 100e6 + len(block) / 2


def test_a_model_that_asks_for_numbers_gets_no_estimate_and_the_dry_run_says_what_to_do(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = LlamaModel.forward

    def branching(self: LlamaModel, input_ids: Any = None, **arguments: Any) -> Any:
        assert input_ids.sum().item() >= 0
        return forward(self, input_ids=input_ids, **arguments)

    monkeypatch.setattr(LlamaModel, "forward", branching)
    found = estimate(recipe)
    assert found["activations"] is None and found["total"] is None and found["weights"] > 0
    show(load_config(recipe()), as_json=False)
    printed = " ".join(capsys.readouterr().out.split())
    assert found["unknown"][:40] in printed and "--probe measures it" in printed
