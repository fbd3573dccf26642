"""A study from a YAML file or a mapping. Unknown keys are refused, with the nearest one that exists."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from prospect.config import apply_override, read_yaml
from prospect.errors import ConfigError
from prospect.studies.grids import Tune, at_point, check_grids, point_name, points
from prospect.studies.names import check_names, check_tune, require
from prospect.studies.sections import Axis, Baseline, Claim, Condition, Method, Rule
from prospect.studies.study import Study


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read and check a study.

    Args:
        path: a YAML file.
        overrides: `key.path=value` strings that win over the file.

    Raises:
        ConfigError: what is wrong, at which key.
    """
    path = Path(path)
    values = {"name": path.stem, **read_yaml(path, "study", "world, methods, seeds")}
    for override in overrides:
        values = apply_override(values, override)
    return check_study(values, str(path))


def check_study(values: Mapping[str, Any], where: str = "study") -> Study:
    """Make a study of a mapping, and refuse names that are not there."""
    try:
        study = Study.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(where, detail, values) for detail in error.errors())) from None
    study = study.model_copy(update={"world": _fill_in(study.world, f"{where}: world")})
    if study.tune is not None:
        tuned_on = _fill_in(study.tune.world, f"{where}: tune.world")
        study = study.model_copy(update={"tune": study.tune.model_copy(update={"world": tuned_on})})
    if study.grid:
        study = _with_grid(study, where)
    check_names(study, where)
    if study.tune is not None:
        check_tune(study, study.tune, where)
    return study


def _fill_in(value: Any, where: str) -> Any:
    """`$NAME` and `${NAME}` in every text become the environment variable of that name."""
    if isinstance(value, dict):
        return {key: _fill_in(inner, f"{where}.{key}") for key, inner in value.items()}
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ConfigError(
                f"{where} is {value}, and the environment variable {name} is not set. Set it, or use --set "
                f"{where.rpartition(': ')[2]}=PATH."
            )
        return os.environ[name]

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", look_up, value)


def _with_grid(study: Study, where: str) -> Study:
    """Return the study with a method for every point of a grid in place of the method."""
    check_grids(study.grid, f"{where}: grid")
    for name in study.grid:
        require("method", name, list(study.methods), f"{where}: grid")
    values = study.model_dump(mode="json", exclude_unset=True, exclude={"grid"})
    values["methods"] = {
        point_name(name, point): at_point(method, point)
        for name, method in values["methods"].items()
        for point in points(study.grid.get(name, {}))
    }
    return check_study(values, where)


def _explain(where: str, detail: Any, values: Mapping[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(part for part in location if not part.startswith(("function-", "literal[")) and part != "Baseline")
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys_beside(location), n=1)
        hint = f'; did you mean "{near[0]}"?' if near else f". Known here: {', '.join(_keys_beside(location))}."
        return f"{where}: unknown key {key}{hint}"
    if detail["type"] == "missing":
        return f"{where}: {key} is missing; it has no default."
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{where}: {key} is {detail['input']!r}; {message}."


_SECTIONS: dict[str, type[BaseModel]] = {
    "methods": Method,
    "conditions": Condition,
    "rules": Rule,
    "claim": Claim,
    "baseline": Baseline,
    "axes": Axis,
    "tune": Tune,
}


def _keys_beside(location: Sequence[str]) -> list[str]:
    """Return the keys that are known where an unknown one stands."""
    for part in reversed(location[:-1]):
        if part in _SECTIONS:
            return list(_SECTIONS[part].model_fields)
    return list(Study.model_fields)
