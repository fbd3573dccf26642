"""Images by seed and prompt: whatever is drawn beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from prospect.errors import ConfigError, DataError, ModelError
from prospect.models.diffusion.sampling import ImageSampling, image_generator, sample_images
from prospect.models.diffusion.word_pipeline import WordPipeline

TWO_STEPS = ImageSampling(steps=2)


@pytest.fixture
def pipeline():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8),
        layers_per_block=1,
        cross_attention_dim=3,
        attention_head_dim=2,
        norm_num_groups=4,
        dropout=0.5,
    )
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    return WordPipeline(unet, scheduler, ["red", "blue", "ring"], length=2)


def draw(pipeline, prompts, **settings):
    return np.stack(list(sample_images(pipeline, prompts, TWO_STEPS, **settings))).astype(int)


def test_batch_size_and_other_prompts_change_no_image(pipeline):
    together = draw(pipeline, ["red ring", "blue", "ring"], samples_per_prompt=2)
    alone = [draw(pipeline, [prompt], samples_per_prompt=2, batch_size=1) for prompt in ("red ring", "blue", "ring")]
    assert together.shape == (6, 8, 8, 3)
    assert np.abs(together - np.concatenate(alone)).max() <= 1  # of 255, after rounding
    assert np.abs(together[0] - together[1]).max() > 10


def test_another_seed_draws_other_images(pipeline):
    assert np.abs(draw(pipeline, ["red"]) - draw(pipeline, ["red"], seed=1)).max() > 10


def test_there_is_no_dropout_and_the_mode_is_given_back(pipeline):
    pipeline.unet.train()
    once, again = draw(pipeline, ["red"]), draw(pipeline, ["red"])
    assert pipeline.unet.training
    assert (once == again).all()


def test_a_pipeline_is_saved_and_loaded_as_it_was(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    assert (draw(WordPipeline.from_pretrained(tmp_path), ["red ring"]) == draw(pipeline, ["red ring"])).all()
    UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    DDIMScheduler.from_pretrained(tmp_path / "scheduler")


def test_words_are_one_hot_in_the_prompts_order_and_absent_ones_are_zero(pipeline):
    assert pipeline.encode_prompts(["ring red", "blue"]).tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("red square", 'does not know "square". It knows red, blue, ring'), ("red ring red", "has 3 words.*at most 2")],
)
def test_prompts_that_cannot_be_drawn_are_refused(pipeline, prompt, message):
    with pytest.raises(DataError, match=message):
        draw(pipeline, [prompt])


def test_an_image_that_is_not_finite_is_refused_by_prompt_and_number(pipeline):
    with torch.no_grad():
        pipeline.unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match='image 1 of prompt "red" is not finite'):
        draw(pipeline, ["red"])


def test_a_number_of_steps_below_one_is_refused():
    with pytest.raises(ConfigError, match="steps is 0; expected at least 1"):
        ImageSampling(steps=0)


def test_random_numbers_are_of_seed_prompt_and_number():
    seen = {
        image_generator(seed, prompt, number).initial_seed()
        for seed in (0, 1)
        for prompt in ("a", "b")
        for number in (0, 1)
    }
    assert len(seen) == 8
