"""Images from pipelines of every family, and the command that writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prospect
from pipelines import PROMPTS, save_pipeline
from prospect.cli.main import main
from prospect.demo.image_base import IMAGE_BASE
from prospect.feedback import load_feedback
from prospect.feedback.images.pixels import load_image
from prospect.model_source import find_model
from prospect.models.diffusion.sampling import ImageSampling, load_pipeline, sample_images


def write_prompts(folder: Path, prompts: list[str]) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers' Euler steps
@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl", "sd3", "sd35", "flux", "dit", "pixels"])
def test_a_pipeline_draws_the_same_images_whatever_the_batch(family: str, tmp_path: Path) -> None:
    pipeline = load_pipeline(find_model(save_pipeline(family, tmp_path / "model")))
    sampling = ImageSampling(steps=2, guidance=None if family == "pixels" else 2.0)
    together = [*sample_images(pipeline, PROMPTS[:2], sampling, samples_per_prompt=2)]
    alone = [*sample_images(pipeline, PROMPTS[1:2], sampling, samples_per_prompt=2, batch_size=1)]
    assert {image.dtype for image in together} == {np.dtype("uint8")}
    assert np.abs(np.subtract(together[2:], alone, dtype=int)).max() <= 1  # of 255, after rounding
    assert np.abs(np.subtract(together[0], together[1], dtype=int)).max() > 1


def test_the_command_writes_rows_of_images_that_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = write_prompts(tmp_path, ["red ring top left", "blue cross bottom right"])
    call = ["generate", str(IMAGE_BASE), "--prompts", str(prompts), "--samples", "2", "--steps", "2"]
    assert main([*call, "-o", str(tmp_path / "first.jsonl")]) == 0
    assert main([*call, "-o", str(tmp_path / "again.jsonl"), "--batch-size", "1"]) == 0
    assert "4 images" in capsys.readouterr().err
    first, again = (load_feedback(tmp_path / f"{name}.jsonl") for name in ("first", "again"))
    assert [row.prompt for row in first] == ["red ring top left"] * 2 + ["blue cross bottom right"] * 2
    pixels = [np.stack([load_image(row.completion, (8, 8), row.id) for row in rows]) for rows in (first, again)]
    assert np.abs(np.subtract(*pixels, dtype=int)).max() <= 1


def test_a_run_that_trained_an_adapter_draws_with_it(
    tmp_path: Path, images: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = images("sd15", model={"lora": {"r": 2, "alpha": 6}}, train={"learning_rate": 0.1})
    run, prompts = prospect.train(recipe, quiet=True), write_prompts(tmp_path, PROMPTS[:2])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    call = ["generate", str(run.path), "--prompts", str(prompts), "--steps", "2", "-o", str(tmp_path / "drawn.jsonl")]
    assert main(call) == 0
    drawn = [load_image(row.completion, (16, 16), row.id) for row in load_feedback(tmp_path / "drawn.jsonl")]
    pipeline = load_pipeline(find_model(recipe["model"]["name_or_path"]))
    without = [*sample_images(pipeline, PROMPTS[:2], ImageSampling(steps=2))]
    pipeline.load_lora_weights(run.model_path)
    wanted = [*sample_images(pipeline, PROMPTS[:2], ImageSampling(steps=2))]
    assert np.array_equal(drawn, wanted)
    assert not np.array_equal(drawn, without)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "0.2"], "--temperature is about texts"),
        (["--format", "alpaca_eval"], "--format is about texts"),
        (["--chat"], "--chat is about texts"),
        (["--concurrency", "2"], "are for endpoint:"),
        (["--guidance", "2"], "--guidance: .* has none"),
        (["--steps", "0"], "steps is 0; expected at least 1"),
        (["--steps", "1001"], "--steps is 1001; .* has 1000 noise levels"),
        (["--guidance", "nan"], "guidance is nan"),
    ],
)
def test_what_does_not_suit_images_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = write_prompts(tmp_path, ["red ring top left"])
    output = tmp_path / "out.jsonl"
    assert main(["generate", str(IMAGE_BASE), "--prompts", str(prompts), "-o", str(output), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not output.exists()
    assert not (tmp_path / "images").exists()


def test_a_prompt_that_the_model_does_not_know_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = write_prompts(tmp_path, ["red ring top left", "purple ring"])
    call = ["generate", str(IMAGE_BASE), "--prompts", str(prompts), "--batch-size", "1", "--steps", "1"]
    assert main([*call, "-o", str(tmp_path / "out.jsonl")]) == 1
    assert 'does not know "purple"' in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "images").exists()  # it was looked at before anything was drawn
