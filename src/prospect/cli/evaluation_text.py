"""Evaluations in words and small tables, for people: every number with its interval."""

from __future__ import annotations

from typing import Any

from prospect.results.benchmarks import BenchmarksResult, TaskChange, TaskScore
from prospect.results.contest import ContestResult, JudgeResult
from prospect.results.feedback import Drift, FeedbackResult, Kl
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.estimates import Number, Share
from prospect.statistics.rates import Rate

Found = Rate | Share | Number | Estimate | Kl | TaskScore | TaskChange
Line = tuple[str, Found | None]


def tell(result: FeedbackResult | ContestResult | JudgeResult | BenchmarksResult) -> list[str]:
    """Return the lines that describe a result."""
    if isinstance(result, FeedbackResult):
        return _tell_feedback(result)
    if isinstance(result, JudgeResult):
        return _tell_judge(result)
    return _tell_contest(result) if isinstance(result, ContestResult) else _tell_benchmarks(result)


def _tell_feedback(result: FeedbackResult) -> list[str]:
    data, score, threshold = result.data, result.score, result.threshold
    reference = result.reference.name if result.reference else "none"
    lines = [
        f"{data.rows} {data.kind} rows of {data.prompts} prompts: {data.source}",
        f"score   {score.what} (beta {score.beta:g}), reference {reference}",
        "",
    ]
    by = f"right side of the {threshold.kind}, {threshold.value:.3g}"
    by = by if data.kind == "unpaired" else "chosen or best first"
    losses = result.log_loss or {}
    rows: list[Line] = [
        (f"accuracy ({by})", result.accuracy),
        ("AUROC", result.auroc),
        ("margin", result.margin),
        *((f"reward, {name}", value) for name, value in result.rewards.items()),
        ("calibration: log-loss of labels (0.693 knows nothing)", result.label_log_loss),
        *((f"nats per token of desirable text, {name}", value) for name, value in losses.items()),
        *(_drift(result.drift) if result.drift else []),
        *((f"error over the reference's, {name}", value) for name, value in (result.errors or {}).items()),
    ]
    lines += _rows(rows, result.level)
    if result.calibration:
        found = result.calibration
        lines.append(f"calibration error {found.ece:.3f} (by chance {found.by_chance:.3f} with so many rows)")
    return lines + [f"note: {note}" for note in result.notes]


def _drift(drift: Drift) -> list[Line]:
    rows: list[Line] = [(f"log-ratio, {name}, nats", value) for name, value in drift.log_ratio.items()]
    kl = drift.kl
    if kl and kl.value is not None:
        cut = f", {kl.cut} of {kl.n} cut at {kl.max_new_tokens} tokens" if kl.cut else ""
        rows.append((f"KL to the reference by samples, nats{cut}", kl))
    return rows


def _tell_contest(result: ContestResult) -> list[str]:
    lines = _rows([("win rate", result.win_rate), ("win rate", Share(*result.win_rate_90, level=0.9))], 0.95)
    if result.scores:
        named = {"score, ours": "ours", "score, theirs": "theirs", "score, ours less theirs": "change"}
        lines += _rows([(name, getattr(result.scores, field)) for name, field in named.items()], 0.95)
    for side, texts in (("ours", result.our_texts), ("theirs", result.their_texts)):
        if texts:
            lines += _rows([(f"words, {side}", texts.words)], 0.95)
    return [*lines, "", result.sentence]


def _tell_judge(result: JudgeResult) -> list[str]:
    lines = [f"{result.judge} on {result.n} pairs that people judged: {result.data.source}", ""]
    rows: list[Line] = [
        ("agreement with people (a coin gets 50 %)", result.agreement),
        ("kappa (0 is chance)", result.kappa),
        ("agreement, people's choice shown first", result.chosen_first),
        ("agreement, people's choice shown second", result.chosen_second),
        ("verdicts for what is shown first (50 % is no bias)", result.shown_first),
    ]
    return [
        *lines,
        *_rows(rows, result.level),
        f"of the pairs {result.position_flips} came out otherwise in the other order, {result.ties} tied, and "
        f"{result.unparsed} have a verdict that could not be read",
    ]


def _tell_benchmarks(result: BenchmarksResult) -> list[str]:
    lines = []
    for task, found in result.tasks.items():
        for metric, sides in found.metrics.items():
            lines.append(f"{task}  {metric}  (n = {sides.ours.n})")
            rows: list[Line] = [(f"  {result.model.name}", sides.ours)]
            if sides.change and result.reference:
                rows.append((f"  {result.reference.name}", sides.reference))
                pairing = "document by document" if sides.change.paired else "sides independent"
                rows.append((f"  change ({pairing}): {sides.change.verdict}", sides.change))
            lines += _rows(rows, result.level)
    return lines


def _rows(rows: list[Line], level: float) -> list[str]:
    """Return lines of name, number and interval; what has no value is left out."""
    kept = [(name, value) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name:<{width}}  {_spell(value, level)}" for name, value in kept]


def _spell(found: Found, level: float) -> str:
    share = isinstance(found, Rate | Share)
    value: Any = found.rate if isinstance(found, Rate | Share) else found.value
    write = "{:.1%}".format if share else "{:.4g}".format
    if found.low is None or found.high is None:
        return f"{write(value)}, no interval, n = {found.n}"
    covered = getattr(found, "level", level)
    return f"{write(value)}, {100 * covered:g} % interval {write(found.low)} to {write(found.high)}, n = {found.n}"
