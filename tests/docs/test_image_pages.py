"""The numbers on the pages about images are what the code computes."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from pages import read

from prospect.losses import get_loss
from prospect.training.image_recipe import nats_per_official, numbers_of

LATENTS = {"Stable": 4, "SDXL": 4, "SD3,": 16}  # channels; a cell of all has 8 x 8 pixels
ROW = re.compile(r"^\| ((\S+).* at (\d+) pixels) \| ([\d,]+) \| ([\d., ]+) \| ([\d., ]+) \|$", flags=re.MULTILINE)


def test_the_table_of_betas_is_right() -> None:
    rows = ROW.findall(read("docs/image-training.md"))
    assert len(rows) == 4
    for _, model, pixels, numbers, kto, dpo in rows:
        pipeline: Any = SimpleNamespace(channels=LATENTS[model], cell=8)
        assert numbers_of(pipeline, int(pixels)) == int(numbers.replace(",", ""))
        for loss, said in (("kto", kto), ("dpo", dpo)):
            unit = nats_per_official(get_loss(loss), pipeline, int(pixels))
            assert said == ", ".join(f"{b * unit:.2g}" for b in (1000, 2000, 5000))
