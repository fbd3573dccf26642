"""Does a study agree with what is claimed? Decided by rules that were written down before, never by hand.

A rule is about a difference d between two cells (or between two changes), and a bound c:

    higher       d > 0          not lower    d > -by
    lower        d < 0          not higher   d < by

    yes           d lies on the right side of c, p < 1 - level
    no            d lies on the wrong side of c, p < 1 - level after Holm's correction over all rules
    cannot tell   everything else

The claim: yes where every rule says yes; no where one says no; else cannot tell. A yes needs no correction, for all
rules must say it together (an intersection-union test); a no does, for one of many is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prospect.errors import ConfigError
from prospect.results.study_cells import START
from prospect.results.study_entries import Agrees, ClaimAnswer, RuleAnswer
from prospect.statistics.comparisons import holm
from prospect.studies.findings import number
from prospect.studies.names import unknown
from prospect.studies.outcome import Measure
from prospect.studies.scores import Place, Scores
from prospect.studies.sections import Claim, Rule
from prospect.studies.study import Study
from prospect.studies.trained import summarise

YES: Agrees = "yes"
NO: Agrees = "no"
CANNOT_TELL: Agrees = "cannot tell"


class Question(NamedTuple):
    """A rule under one condition.

    Attributes:
        rule: as it was written.
        measure: on which.
        terms: the difference, as a weighted sum of cells.
        text: the rule in words.
    """

    rule: Rule
    measure: str
    terms: list[tuple[float, Place]]
    text: str


class Found(NamedTuple):
    """A difference with its interval, and its p value against the rule's bound."""

    value: float
    low: float
    high: float
    p: float


def judge(study: Study, claim: Claim, scores: Scores, measures: Mapping[str, Measure]) -> ClaimAnswer:
    """Return the claim with the study's answer.

    Raises:
        ConfigError: a rule is about a measure or a cell that there is not.
    """
    questions = [question for rule in claim.rules for question in _questions(study, rule, measures)]
    found = [_find(question, measures[question.measure], scores) for question in questions]
    corrected = holm([1.0 if one is None else one.p for one in found])
    rules = [
        _answer(question, measures[question.measure], one, p_holm, scores)
        for question, one, p_holm in zip(questions, found, corrected, strict=True)
    ]
    answers = [rule.agrees for rule in rules]
    agrees = NO if NO in answers else YES if set(answers) == {YES} else CANNOT_TELL
    return ClaimAnswer(text=claim.text, source=claim.source, agrees=agrees, why=_why(rules), rules=rules)


def _questions(study: Study, rule: Rule, measures: Mapping[str, Measure]) -> Iterator[Question]:
    name = rule.measure or study.primary
    if name not in measures:
        raise unknown("measure", name, list(measures), "study: claim.rules")
    under = [rule.under] if isinstance(rule.under, str) else rule.under
    if under is None:
        fixed = rule.left_under and rule.right_under
        under = [rule.left_under] if fixed and rule.left_under else _shared_conditions(study, rule)
    for condition in under:
        left, right = rule.left_under or condition, rule.right_under or condition
        terms = [(1.0, _place(study, rule.left, left)), (-1.0, _place(study, rule.right, right))]
        if rule.since:
            terms += [(-1.0, _place(study, rule.left, rule.since)), (1.0, _place(study, rule.right, rule.since))]
        yield Question(rule, name, terms, _in_words(study, rule, measures[name], left, right))


def _shared_conditions(study: Study, rule: Rule) -> list[str]:
    shared = list(study.conditions)
    for side in (rule.left, rule.right):
        if side != START:
            shared = [name for name in shared if name in study.conditions_of(side)]
    return [name for name in shared if name != rule.since]


def _place(study: Study, method: str, condition: str) -> Place:
    if method == START:
        return START
    if condition not in study.conditions_of(method):
        raise ConfigError(f'study: claim.rules: {method} is not run under "{condition}". Add it to its conditions.')
    return method, condition


def _bound(rule: Rule) -> float:
    return {"not lower": -rule.by, "not higher": rule.by}.get(rule.must_be, 0.0)


def _find(question: Question, measure: Measure, scores: Scores) -> Found | None:
    pooled = scores.contrast(question.terms, question.measure)
    if pooled is None:
        return None
    bounds = scores.difference_bounds(measure, len(question.terms) // 2)
    low, high = pooled.interval(scores.level, bounds)
    return Found(pooled.value, low, high, pooled.p_differs(_bound(question.rule), bounds))


def _answer(question: Question, measure: Measure, found: Found | None, p_holm: float, scores: Scores) -> RuleAnswer:
    bound, agrees = _bound(question.rule), CANNOT_TELL
    if found is not None:
        upwards = question.rule.must_be in ("higher", "not lower")
        right_side = found.value > bound if upwards else found.value < bound
        if right_side and found.p < 1 - scores.level:
            agrees = YES
        elif not right_side and p_holm < 1 - scores.level:
            agrees = NO
    value = low = high = ""
    if found is not None:
        value, low, high = (number(end, measure.unit, sign=True) for end in found[:3])
        value += _points(measure)
    return RuleAnswer(
        text=question.text,
        agrees=agrees,
        found=f"{value} ({low} to {high})" if found else "not run",
        measure=question.measure,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        bound=bound,
        p_holm=p_holm if found else None,
        not_tested=_not_tested(question, scores),
    )


def _not_tested(question: Question, scores: Scores) -> list[str]:
    """Return what a run of one of the cells was too short for, or held."""
    trained = [summarise(scores.done(*place)) for _, place in question.terms if place != START]
    return list(dict.fromkeys(what for one in trained if one for what in one.not_tested))


def _in_words(study: Study, rule: Rule, measure: Measure, left: str, right: str) -> str:
    several = len(study.conditions) > 1
    sides = [
        f"{side}, {condition}" if several and side != START and left != right else side
        for side, condition in ((rule.left, left), (rule.right, right))
    ]
    under = f' under "{left}"' if several and left == right else ""
    change = f' since "{rule.since}"' if rule.since else ""
    by = f" by more than {number(rule.by, measure.unit)}{_points(measure)}" if rule.by else ""
    what = f"change of {measure.label}{change}" if rule.since else measure.label
    return f"{what}: {sides[0]} is {rule.must_be} than {sides[1]}{by}{under}"


def _points(measure: Measure) -> str:
    """Return what follows a difference in a measure's unit."""
    return " points" if measure.unit == "share" else ""


def in_full(rules: Iterable[RuleAnswer]) -> str:
    """Return rules in words, each with what was found."""
    return "; ".join(f"{rule.text}: {rule.found}" for rule in rules)


def _why(rules: list[RuleAnswer]) -> str:
    of = {word: [rule for rule in rules if rule.agrees == word] for word in (YES, NO, CANNOT_TELL)}
    if of[YES] == rules:
        return "Its one rule holds." if len(rules) == 1 else f"All {len(rules)} rules hold."
    if of[NO]:
        return f"{len(of[NO])} of {len(rules)} rules broken: {in_full(of[NO])}."
    return (
        f"{len(of[YES])} of {len(rules)} rules hold, and what was found decides no other: {in_full(of[CANNOT_TELL])}."
    )
