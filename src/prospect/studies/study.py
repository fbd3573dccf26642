"""A study as a YAML file: which methods, on which data, with which seeds, and what the paper says of it.

Unknown keys are refused, with the nearest one that exists.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prospect.config import Number, apply_override, named_section, read_yaml
from prospect.errors import ConfigError
from prospect.feedback.convert.pairing import Pairing
from prospect.studies.contents import with_contents
from prospect.studies.grids import RECIPE_SECTIONS, Grid, Tune, at_point, check_grids, count_points, point_name, points


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _section(name: str) -> BeforeValidator:
    """Read a section of a recipe that may be written as what it names."""
    return BeforeValidator(lambda value: named_section(name, value))


class Method(_Section):
    """A method: a part of a recipe, and where it starts from."""

    after: str | None = None
    """The method whose model, of the same condition and seed, it starts from and is compared with: SFT first, say."""
    conditions: list[str] | None = None
    """The conditions it is run under; null means all."""
    model: dict[str, Any] = {}
    """As in a recipe, but for the name, which the world knows."""
    data: dict[str, Any] = {}
    """As in a recipe, but for the files, which are the study's."""
    loss: Annotated[dict[str, Any], _section("loss")]
    """As in a recipe: a name, or a name and hyperparameters."""
    reference: dict[str, Any] = {}
    """As in a recipe."""
    reference_point: Annotated[dict[str, Any], _section("reference_point")] = {}
    """As in a recipe."""
    train: dict[str, Any] = {}
    """As in a recipe, but for the seed, which is the study's."""

    def recipe(self) -> dict[str, Any]:
        """Return what the method sets, as a part of a recipe."""
        return {key: value for key in RECIPE_SECTIONS if key in self.model_fields_set and (value := getattr(self, key))}


class Condition(_Section):
    """What is done to the feedback before anybody trains on it, in this order."""

    intransitive: Number = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the comparisons that are made by a taste that goes round. For worlds whose raters compare."""
    minority: Number = Field(default=0.0, ge=0.0, le=0.5)
    """Share of the votes on each pair that go to the other side. For worlds whose raters vote on the same pair."""
    flip: Number = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the verdicts that are turned round."""
    one_per_prompt: bool = False
    """Whether each prompt keeps a single row: one y per x."""
    keep_desirable: Number = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the desirable rows that are kept."""
    keep_undesirable: Number = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the undesirable rows that are kept."""
    pairing: Pairing | None = None
    """How thumbs are made into pairs, for every method; null leaves them, and a loss on pairs makes its own."""


class Rule(_Section):
    """One difference that the claim says there is. The study agrees, disagrees or cannot tell, by its interval."""

    left: str
    """A method, or `start`."""
    right: str
    """A method, or `start`, that it is compared with."""
    must_be: Literal["higher", "lower", "not higher", "not lower"]
    """What the left one must be."""
    by: Number = Field(default=0.0, ge=0.0)
    """For "not higher" and "not lower": a difference up to here is none. In the measure's unit; a rate's is 0 to 1."""
    measure: str | None = None
    """The measure; null means the primary one."""
    under: str | list[str] | None = None
    """The condition or conditions; null means each that both methods have."""
    left_under: str | None = None
    """The left one's condition, where it is another."""
    right_under: str | None = None
    """The right one's condition, where it is another."""
    since: str | None = None
    """Compare changes since this condition, and not levels."""


class Claim(_Section):
    """What is said elsewhere, and by which rules this study agrees with it."""

    text: str
    """What is claimed."""
    source: str
    """Where: paper, version, table."""
    rules: list[Rule] = Field(min_length=1)
    """It agrees where all rules hold, does not where one is broken, and cannot tell otherwise."""


class Baseline(_Section):
    """The cell that a cell is compared with; what is null is that of the cell itself."""

    method: str | None = None
    """A method."""
    condition: str | None = None
    """A condition."""


class Axis(_Section):
    """Conditions or methods that lie on a line, to be drawn as one."""

    label: str
    """What varies."""
    unit: Literal["share", ""] = ""
    """share is shown in percent."""
    over: Literal["condition", "method"] = "condition"
    """What the names are of."""
    points: dict[str, Number]
    """Name to its place on the line."""


class Study(_Section):
    """A whole study."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Short; the name of its folder."""
    title: str = ""
    """One line."""
    question: str = ""
    """What is asked."""
    claim: Claim | None = None
    """What is said elsewhere."""
    world: dict[str, Any]
    """`kind` (demo, stories, files) and the world's own settings; `$NAME` in a path is an environment variable."""
    recipe: dict[str, Any] = {}
    """What all methods have in common, a part of a recipe."""
    methods: dict[str, Method] = Field(min_length=1)
    """Name to method."""
    grid: dict[str, Grid] = {}
    """Method to keys of a recipe with several values: a method for every combination takes its place."""
    tune: Tune | None = None
    """How the settings of each method are chosen before the study is run; null takes them as they are."""
    conditions: dict[str, Condition] = Field(default={"as it is": Condition()}, min_length=1)
    """Name to condition of the data."""
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    """Of feedback, training and sampling."""
    primary: str = "score"
    """The measure that the study is about."""
    baseline: Baseline | Literal["start"] = "start"
    """What every cell is compared with; start is the model that nothing was done to."""
    level: Number = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of the intervals."""
    axes: list[Axis] = []
    """Lines to draw."""
    keep_models: bool = False
    """Whether trained models stay after they were scored."""

    def digest(self) -> str:
        """Return a hash of everything that decides the numbers; words about them do not."""
        decides = self.model_dump(
            mode="json", exclude={"name", "title", "question", "claim", "axes", "keep_models", "tune"}
        )
        return hash_of({**decides, "world": with_contents(self.world)})

    def protocol(self) -> str:
        """Return a hash of all that is fixed before anything is run: also what is tuned, and the claim's margins."""
        decides = self.model_dump(mode="json", exclude={"name", "title", "question", "axes", "keep_models"})
        rules = decides["claim"] and decides["claim"]["rules"]
        worlds = [with_contents(one) for one in (self.world, self.tune.world if self.tune else {})]
        return hash_of({**decides, "claim": rules, "worlds": worlds})

    def conditions_of(self, method: str) -> list[str]:
        """Return the conditions that a method is run under, in the study's order."""
        wanted = self.methods[method].conditions
        return [name for name in self.conditions if wanted is None or name in wanted]

    def cells(self) -> list[tuple[str, str]]:
        """Every (method, condition), methods in order."""
        return [(method, condition) for method in self.methods for condition in self.conditions_of(method)]


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
    _check_names(study, where)
    if study.tune is not None:
        _check_tune(study, study.tune, where)
    return study


def hash_of(values: Any) -> str:
    """Return a short hash of plain values."""
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give a mapping with another laid over it, section by section."""
    inner = {
        key: merge(values[key], change)
        for key, change in changes.items()
        if isinstance(change, Mapping) and isinstance(values.get(key), Mapping)
    }
    return {**values, **changes, **inner}


def unknown(kind: str, name: str, known: Sequence[str], where: str) -> ConfigError:
    """Return the refusal of a name that is not there, with the nearest that is."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"There are {', '.join(known)}."
    return ConfigError(f'{where}: there is no {kind} "{name}"; {hint}')


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
        _require("method", name, list(study.methods), f"{where}: grid")
    values = study.model_dump(mode="json", exclude_unset=True, exclude={"grid"})
    values["methods"] = {
        point_name(name, point): at_point(method, point)
        for name, method in values["methods"].items()
        for point in points(study.grid.get(name, {}))
    }
    return check_study(values, where)


def _check_tune(study: Study, tune: Tune, where: str) -> None:
    check_grids(tune.tries, f"{where}: tune.tries")
    for name in tune.tries:
        _require("method", name, list(study.methods), f"{where}: tune.tries")
    counts = {name: count_points(tune.tries.get(name, {})) if name in tune.tries else 0 for name in study.methods}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"{where}: tune.tries has {found}; expected as many for every method.")
    if tune.condition is not None:
        _require("condition", tune.condition, list(study.conditions), f"{where}: tune.condition")
    if set(tune.seeds) & set(study.seeds):
        raise ConfigError(f"{where}: tune.seeds are {tune.seeds}, and seeds {study.seeds}; expected others.")
    after = next((name for name, method in study.methods.items() if method.after is not None), None)
    if after is not None:
        raise ConfigError(f"{where}: methods.{after}.after: tune is for methods that start from the world's model.")


def _check_names(study: Study, where: str) -> None:
    methods, conditions = list(study.methods), list(study.conditions)
    if len(set(study.seeds)) != len(study.seeds) or min(study.seeds) < 0:
        raise ConfigError(f"{where}: seeds are {study.seeds}; expected different whole numbers of at least 0.")
    if "start" in methods:
        raise ConfigError(f'{where}: a method is called "start", which is the model before any training. Rename it.')
    folders: dict[str, str] = {}
    for name in [*methods, *conditions]:
        if folders.setdefault(slug(name), name) != name:
            raise ConfigError(f'{where}: "{name}" and "{folders[slug(name)]}" differ in signs only. Rename one.')
    for name, method in study.methods.items():
        for condition in method.conditions or []:
            _require("condition", condition, conditions, f"{where}: methods.{name}.conditions")
        if method.after is not None:
            _require("method", method.after, methods, f"{where}: methods.{name}.after")
            missing = set(study.conditions_of(name)) - set(study.conditions_of(method.after))
            if missing:
                raise ConfigError(
                    f"{where}: methods.{name} comes after {method.after}, which is not run under "
                    f'"{sorted(missing)[0]}". Add that condition to it.'
                )
    for name in methods:
        _refuse_circle(study, name, where)
    if isinstance(study.baseline, Baseline):
        for kind, wanted, known in (
            ("method", study.baseline.method, methods),
            ("condition", study.baseline.condition, conditions),
        ):
            if wanted is not None:
                _require(kind, wanted, known, f"{where}: baseline")
    for number, axis in enumerate(study.axes):
        for point in axis.points:
            _require(axis.over, point, methods if axis.over == "method" else conditions, f"{where}: axes.{number}")
    for number, rule in enumerate(study.claim.rules if study.claim else []):
        place = f"{where}: claim.rules.{number}"
        for side in (rule.left, rule.right):
            _require("method", side, [*methods, "start"], place)
        under = [rule.under] if isinstance(rule.under, str) else rule.under or []
        for name in filter(None, [*under, rule.left_under, rule.right_under, rule.since]):
            _require("condition", name, conditions, place)
        if rule.by and not rule.must_be.startswith("not"):
            raise ConfigError(f'{place}: by is {rule.by}, and must_be is "{rule.must_be}", which has no use for it.')


def slug(name: str) -> str:
    """Return a name as a folder."""
    return re.sub(r"[^a-z0-9.+]+", "-", name.lower().replace("%", "percent")).strip("-") or "x"


def _refuse_circle(study: Study, name: str, where: str) -> None:
    seen, at = {name}, study.methods[name].after
    while at is not None:
        if at in seen:
            raise ConfigError(f"{where}: methods.{name}.after goes round in a circle.")
        seen.add(at)
        at = study.methods[at].after


def _require(kind: str, name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        raise unknown(kind, name, known, where)


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
