"""The advised recipe trains as it is: nothing but the user's own model, data and output is put into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import prospect
from conftest import pairs, thumbs, write_rows
from prospect.feedback.advice.advice import Facts, advise


@pytest.mark.parametrize(
    ("facts", "rows", "method", "steps"),
    [
        (
            Facts(kind="unpaired", rows=240, prompts=120, desirable=40, undesirable=200, pairable=40),
            [row | {"label": i % 6 == 0} for i, row in enumerate(thumbs(240, prompts=119))],
            "kto",
            21,
        ),
        (
            Facts(kind="paired", rows=180, prompts=180, desirable=180, undesirable=180, flip_rate=0.12, votes=60),
            pairs(180),
            "cdpo",
            63,
        ),
    ],
)
def test_an_advised_recipe_trains_as_it_is(
    tmp_path: Path, model_path: Path, facts: Facts, rows: Any, method: str, steps: int
) -> None:
    data = write_rows(tmp_path / "feedback.jsonl", rows)
    advice = advise(facts, model=str(model_path), data=str(data))
    assert advice.method == method and advice.recipe is not None
    run = prospect.train({**advice.recipe, "output": str(tmp_path / "run")}, quiet=True)
    assert run.provenance().finished
    assert run.metrics()[-1]["step"] == steps
    resolved = run.config()["loss"]
    if method == "kto":  # of the rows that are left after the split, about as many of each class
        assert resolved["desirable_weight"] == pytest.approx(advice.desirable_weight, rel=0.15)
        assert resolved["undesirable_weight"] == advice.undesirable_weight == 1.0
    else:
        assert resolved["label_smoothing"] == 0.12
