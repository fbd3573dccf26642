"""The names in a study: of methods, conditions and folders; those that are not there are refused."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from prospect.errors import ConfigError
from prospect.studies.grids import Tune, check_grids, count_points
from prospect.studies.sections import Baseline, Rule
from prospect.studies.study import Study


def check_names(study: Study, where: str) -> None:
    """Refuse names that stand twice, in a circle, or for nothing.

    Raises:
        ConfigError: which name, and where it stands.
    """
    methods, conditions = list(study.methods), list(study.conditions)
    if len(set(study.seeds)) != len(study.seeds) or min(study.seeds) < 0:
        raise ConfigError(f"{where}: seeds are {study.seeds}; expected different whole numbers of at least 0.")
    if "start" in methods:
        raise ConfigError(f'{where}: a method is called "start", which is the model before any training. Rename it.')
    folders: dict[str, str] = {}
    for name in [*methods, *conditions]:
        if folders.setdefault(slug(name), name) != name:
            raise ConfigError(f'{where}: "{name}" and "{folders[slug(name)]}" differ in signs only. Rename one.')
    for name in methods:
        _check_method(study, name, where)
    for name in methods:
        _refuse_circle(study, name, where)
    if isinstance(study.baseline, Baseline):
        for kind, wanted, known in (
            ("method", study.baseline.method, methods),
            ("condition", study.baseline.condition, conditions),
        ):
            if wanted is not None:
                require(kind, wanted, known, f"{where}: baseline")
    for number, axis in enumerate(study.axes):
        for point in axis.points:
            require(axis.over, point, methods if axis.over == "method" else conditions, f"{where}: axes.{number}")
    for number, rule in enumerate(study.claim.rules if study.claim else []):
        _check_rule(study, rule, f"{where}: claim.rules.{number}")


def _check_method(study: Study, name: str, where: str) -> None:
    method = study.methods[name]
    if "name" not in method.loss:
        raise ConfigError(f"{where}: methods.{name}.loss is {method.loss}, without a name. Name one, such as kto.")
    for condition in method.conditions or []:
        require("condition", condition, list(study.conditions), f"{where}: methods.{name}.conditions")
    if method.after is not None:
        require("method", method.after, list(study.methods), f"{where}: methods.{name}.after")
        missing = set(study.conditions_of(name)) - set(study.conditions_of(method.after))
        if missing:
            raise ConfigError(
                f"{where}: methods.{name} comes after {method.after}, which is not run under "
                f'"{sorted(missing)[0]}". Add that condition to it.'
            )


def _check_rule(study: Study, rule: Rule, place: str) -> None:
    for side in (rule.left, rule.right):
        require("method", side, [*study.methods, "start"], place)
    under = [rule.under] if isinstance(rule.under, str) else rule.under or []
    for name in filter(None, [*under, rule.left_under, rule.right_under, rule.since]):
        require("condition", name, list(study.conditions), place)
    if rule.by and not rule.must_be.startswith("not"):
        raise ConfigError(f'{place}: by is {rule.by}, and must_be is "{rule.must_be}", which has no use for it.')


def check_tune(study: Study, tune: Tune, where: str) -> None:
    """Refuse tries that are not as many for every method, or that share a seed with the study.

    Raises:
        ConfigError: what was found.
    """
    check_grids(tune.tries, f"{where}: tune.tries")
    for name in tune.tries:
        require("method", name, list(study.methods), f"{where}: tune.tries")
    counts = {name: count_points(tune.tries.get(name, {})) if name in tune.tries else 0 for name in study.methods}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"{where}: tune.tries has {found}; expected as many for every method.")
    if tune.condition is not None:
        require("condition", tune.condition, list(study.conditions), f"{where}: tune.condition")
    if set(tune.seeds) & set(study.seeds):
        raise ConfigError(f"{where}: tune.seeds are {tune.seeds}, and seeds {study.seeds}; expected others.")
    after = next((name for name, method in study.methods.items() if method.after is not None), None)
    if after is not None:
        raise ConfigError(f"{where}: methods.{after}.after: tune is for methods that start from the world's model.")


def _refuse_circle(study: Study, name: str, where: str) -> None:
    seen, at = {name}, study.methods[name].after
    while at is not None:
        if at in seen:
            raise ConfigError(f"{where}: methods.{name}.after goes round in a circle.")
        seen.add(at)
        at = study.methods[at].after


def require(kind: str, name: str, known: Sequence[str], where: str) -> None:
    """Refuse a name that is none of those that are known.

    Raises:
        ConfigError: the name, and the nearest that is known.
    """
    if name not in known:
        raise unknown(kind, name, known, where)


def unknown(kind: str, name: str, known: Sequence[str], where: str) -> ConfigError:
    """Return the refusal of a name that is not there, with the nearest that is."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f". There are {', '.join(known)}."
    return ConfigError(f'{where}: there is no {kind} "{name}"{hint}')


def slug(name: str) -> str:
    """Return a name as a folder."""
    return re.sub(r"[^a-z0-9.+]+", "-", name.lower().replace("%", "percent")).strip("-") or "x"
