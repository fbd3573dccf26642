"""A tiny random CLIP as a judge of images."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import PIL.Image
import pytest
import torch

from pictures import picture, save_picture, write_rows
from pipelines import save_clip
from prospect.errors import ModelError, UsageError
from prospect.evaluation.contest.judged import judge_completions
from prospect.evaluation.contest.judges import Candidate, ClipJudge, judge_named
from prospect.evaluation.contest.judges import clip as module
from prospect.feedback.images.opening import describe_image, read_bytes
from prospect.feedback.records import Image
from tolerances import FORWARD, rounding

PROMPTS = ["a red kite", "two cats on a mat in the evening sun, oil on canvas", "", "a red kite"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def image(folder: Path, seed: int) -> Image:
    path = save_picture(folder / f"{seed}.png", seed, size=(24, 20))
    return describe_image(read_bytes(path, "x"), "x", path=path)


def by_hand(model: Path, prompt: str, picture: PIL.Image.Image) -> float:
    """The model's own logit of one pair, prepared by its own processor."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    words = CLIPTokenizer.from_pretrained(model)(prompt, truncation=True, max_length=24, return_tensors="pt")
    pixels = CLIPImageProcessorPil.from_pretrained(model)(picture, return_tensors="pt")
    with torch.no_grad():
        return float(CLIPModel.from_pretrained(model)(**words, **pixels).logits_per_image)


def test_a_score_is_the_model_s_own_logit_however_images_are_put_together(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [Candidate(prompt, image(tmp_path, seed)) for seed, prompt in enumerate(PROMPTS)]
    judge = judge_named(f"clip:{model}")
    found = judge.score_many(rows)
    wanted = [by_hand(model, prompt, picture(seed, (24, 20))) for seed, prompt in enumerate(PROMPTS)]
    assert found == pytest.approx(wanted, abs=rounding(FORWARD, 20.0))
    assert min(abs(a - b) for a, b in pairwise(sorted(found))) > 0.01  # so that a mix-up would show
    monkeypatch.setattr(module, "TOGETHER", 3)
    assert judge.score_many(rows) == pytest.approx(found, abs=rounding(FORWARD, 20.0))


def test_a_contest_of_image_files_goes_to_the_images_of_higher_scores(model: Path, tmp_path: Path):
    judge = ClipJudge(str(model))
    sides: dict[str, list[dict[str, str]]] = {"better": [], "worse": []}
    for number, prompt in enumerate(PROMPTS[:3]):
        seeds = (2 * number, 2 * number + 1)
        scores = [judge.score(prompt, image(tmp_path, seed)) for seed in seeds]
        best = seeds[scores[1] > scores[0]]
        for name, seed in (("better", best), ("worse", sum(seeds) - best)):
            sides[name].append({"prompt": prompt, "image": f"{seed}.png"})
    files = [write_rows(tmp_path / f"{name}.jsonl", rows) for name, rows in sides.items()]
    found = judge_completions(files[0], None, judge, files[1])
    assert (found.wins, found.losses, found.n) == (3, 0, 3)


def test_other_weights_are_another_judge(model: Path, tmp_path: Path):
    assert ClipJudge(str(model)).identity == ClipJudge(str(model)).identity
    assert ClipJudge(str(model)).identity != ClipJudge(str(save_clip(tmp_path, seed=1))).identity


def test_texts_and_other_models_are_refused(model: Path, model_path: Path):
    with pytest.raises(UsageError, match="it looks at images, and the completions are texts"):
        ClipJudge(str(model)).score("p", "a text")
    with pytest.raises(ModelError, match="expected a CLIPModel"):
        _ = ClipJudge(str(model_path)).identity


def test_a_clip_without_weights_or_preprocessing_says_what_it_needs(model: Path, tmp_path: Path):
    save_clip(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"needs preprocessor_config\.json and safetensors weights"):
        _ = ClipJudge(str(tmp_path)).identity
