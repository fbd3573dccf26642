"""Noise as diffusers' own schedulers add it, drawn by row alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from prospect.data.draw import Draw
from prospect.model_source import find_model
from prospect.models.diffusion.noising import STRATA, Noising, draw_noise, image_logps
from prospect.models.diffusion.pipelines import read_pipeline

SHAPE = (4, 6, 6)


def images(count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, noise = (torch.randn(count, *SHAPE, generator=generator) for _ in range(2))
    return image, noise, torch.tensor([0.0, 0.4321, 0.9999], dtype=torch.float64)


@pytest.mark.parametrize("target", ["epsilon", "v_prediction"])
def test_levels_are_those_of_diffusers(target: str) -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type=target)
    image, noise, place = images()
    noised = Noising(target, scheduler.alphas_cumprod.sqrt()).noised(image, place, noise)  # type: ignore[arg-type]
    assert noised.level.tolist() == [0, 432, 999]
    torch.testing.assert_close(noised.sample, scheduler.add_noise(image, noise, noised.level))
    expected = noise if target == "epsilon" else scheduler.get_velocity(image, noise, noised.level)
    torch.testing.assert_close(noised.target, expected)


def test_flow_is_that_of_diffusers() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    image, noise, _ = images()
    sigma = scheduler.sigmas[[999, 500, 3]]
    noised = Noising("flow").noised(image, sigma.double(), noise)
    torch.testing.assert_close(noised.sample, scheduler.scale_noise(image, 1000 * sigma, noise))
    torch.testing.assert_close(noised.target, noise - image)


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_shifted_levels_are_logit_normal_ones_moved_as_the_scheduler_moves_them(family: str, pipelines: Any) -> None:
    """Flux by the tokens of the image, which are 2 x 2 latent pixels."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    folder = pipelines(family)
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
    place = torch.tensor([0.001, 0.2, 0.9999], dtype=torch.float64)
    plain = torch.distributions.Normal(0.0, 1.0).icdf(place).sigmoid()
    expected = 3 * plain / (1 + 2 * plain)
    if family == "flux":
        expected = scheduler.time_shift(calculate_shift(3 * 3), 1.0, plain)
    assert family == "flux" or scheduler.config.shift == 3
    image, noise, _ = images()
    noising = read_pipeline(find_model(str(folder))).noising("shifted")
    torch.testing.assert_close(noising.noised(image, place, noise).level, expected.float())
    assert noising.noised(image, 0 * place, noise).level.tolist() == [0, 0, 0]


def test_draws_are_by_row_and_strata_cover_all_levels() -> None:
    keys = [b"a", b"b", b"a"]
    places, noise = draw_noise(Draw(0, 3), keys, SHAPE, None)
    assert places[0] == places[2] != places[1] and torch.equal(noise[0], noise[2])
    alone, _ = draw_noise(Draw(0, 3), [b"b"], SHAPE, None)
    assert alone[0] == places[1]
    spread = [float(draw_noise(Draw(0, 0), [b"a"], SHAPE, stratum)[0]) for stratum in range(STRATA)]
    assert [int(STRATA * place) for place in spread] == list(range(STRATA))


def test_a_log_prob_is_summed_in_double_precision_whatever_the_model_says_it_in() -> None:
    target, predicted = torch.ones(2, *SHAPE), torch.zeros(2, *SHAPE, dtype=torch.bfloat16)
    logps = image_logps(target, predicted)
    assert logps.dtype == torch.float64 and logps.tolist() == [-72.0, -72.0]
