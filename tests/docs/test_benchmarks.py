"""What benchmarks make of measurements, and the studies that they run; none is run."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from conftest import REPOSITORY
from prospect.studies.reading import check_study


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "benchmarks" / f"{name}.py"))


@pytest.mark.parametrize("tiny", [False, True])
def test_outcomes_are_compared_between_runs_that_differ_in_precision_alone(tiny: bool) -> None:
    made = load("precision")
    for name in made["PLANS"]:
        study = check_study(made["plan"](name, tiny=tiny))
        recipes = {precision: method.recipe() for precision, method in study.methods.items()}
        assert {precision: recipe["train"].pop("precision") for precision, recipe in recipes.items()} == {
            "fp32": "fp32",
            "bf16": "bf16",
        }
        assert recipes["fp32"] == recipes["bf16"]
        assert len(study.seeds) == (2 if tiny else 3)


def test_speed_is_compared_with_the_fastest_of_each_tool_and_only_with_those_that_ran() -> None:
    made = load("throughput")

    def run(seconds: float) -> list[dict[str, Any]]:
        """Four examples in a step, half of the processor time of the clock's."""
        return [{"examples_per_second": 4 / seconds, "processor_seconds": seconds / 2, "steps": 1, "peak_mb": 10.0}]

    alone = made["summarise"]({"prospect": run(2.0), "floor": run(1.0)}, {}, tokens=100)
    assert alone["floor_share"] == alone["processor"]["floor_share"] == 0.5
    assert not {"speed_ratio", "bf16_ratio", "memory_ratio", "net_memory_ratio"} & alone.keys()
    runs = {"prospect": run(2.0), "prospect fp32": run(3.0), "trl": run(12.0), "trl fp32": run(8.0)}
    whole = made["summarise"](runs, {"prospect": 5.0, "trl": 0.0}, tokens=100)
    assert (whole["speed_ratio"], whole["bf16_ratio"], whole["net_memory_ratio"]) == (4.0, 1.5, 0.5)
    assert "| kto:8 | 2.00 |  |" in made["table"]({"kto:8": alone})
