"""A study's result as rows: one for each method, condition and measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.config import flat
from prospect.results.study import StudyResult
from prospect.results.study_cells import START, CellDifference, CellTraining, Pooled


def rows_of(result: StudyResult) -> list[dict[str, Any]]:
    """Return the rows, all with the same columns; null where a cell has no such number."""
    settings = _settings(result)
    nothing = dict.fromkeys(next(iter(settings.values()), {}))
    rows = [_row(result, START, None, result.start, name, nothing, None, None) for name in result.start]
    for cell in result.cells:
        compared = result.difference_of(cell)
        rows += [
            _row(
                result,
                cell.method,
                cell.condition,
                cell.estimates,
                name,
                settings[cell.method],
                compared if compared and compared.measure == name else None,
                cell.training,
            )
            for name in cell.estimates
        ]
    return rows


def _row(
    result: StudyResult,
    method: str,
    condition: str | None,
    estimates: Mapping[str, Pooled],
    name: str,
    settings: Mapping[str, Any],
    compared: CellDifference | None,
    training: CellTraining | None,
) -> dict[str, Any]:
    found, about = estimates[name], result.measures[name]
    return {
        **{"method": method, "condition": condition, **settings, "measure": name, "unit": about.unit},
        **{"mean": found.mean, "low": found.low, "high": found.high, "prompts": found.prompts, "seeds": found.seeds},
        **{
            key: getattr(compared, field, None)
            for key, field in (
                ("difference", "value"),
                ("difference_low", "low"),
                ("difference_high", "high"),
                ("p", "p"),
                ("p_holm", "p_holm"),
                ("verdict", "verdict"),
                ("detectable", "detectable"),
            )
        },
        **{key: getattr(training, key, None) for key in ("steps", "tokens", "z0_clamped", "reward_magnitude")},
        "not_tested": ", ".join(training.not_tested) if training else None,
    }


def _settings(result: StudyResult) -> dict[str, dict[str, Any]]:
    """Return, of each method, the keys of its recipe that are not the same for all; lists as text."""
    recipes = {one.name: flat(one.recipe) for one in result.methods}
    keys = dict.fromkeys(key for recipe in recipes.values() for key in recipe)
    differ = [key for key in keys if len({repr(recipe.get(key)) for recipe in recipes.values()}) > 1]
    kinds = {key: {type(recipe[key]) for recipe in recipes.values() if recipe.get(key) is not None} for key in differ}

    def plain(key: str, value: Any) -> Any:
        if value is None or (len(kinds[key]) == 1 and isinstance(value, str | bool | int | float)):
            return value
        return float(value) if kinds[key] <= {int, float} else str(value)

    return {name: {key: plain(key, recipe.get(key)) for key in differ} for name, recipe in recipes.items()}
