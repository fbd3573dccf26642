"""Evaluations in words and small tables, for people: every number with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def tell(result: Mapping[str, Any]) -> list[str]:
    """Return the lines that describe a result."""
    return _TELL[result["evaluation"]](result)


def _tell_feedback(result: Mapping[str, Any]) -> list[str]:
    data, score, threshold = result["data"], result["score"], result["threshold"]
    reference = result["reference"]["name"] if result["reference"] else "none"
    lines = [
        f"{data['rows']} {data['kind']} rows of {data['prompts']} prompts: {data['source']}",
        f"score   {score['what']} (beta {score['beta']:g}), reference {reference}",
        "",
    ]
    by = (
        f"right side of the {threshold['kind']}, {threshold['value']:.3g}"
        if data["kind"] == "unpaired"
        else "chosen or best first"
    )
    lines += _rows(
        [
            (f"accuracy ({by})", result["accuracy"], True),
            ("AUROC", result["auroc"], False),
            ("margin", result["margin"], False),
            *((f"reward, {name}", value, False) for name, value in result["rewards"].items()),
            ("calibration: log-loss of labels (0.693 knows nothing)", result["label_log_loss"], False),
            *(
                (f"nats per token of desirable text, {name}", value, False)
                for name, value in (result["log_loss"] or {}).items()
            ),
            *_drift(result["drift"]),
        ],
        result["level"],
    )
    if result["calibration"]:
        found = result["calibration"]
        lines.append(f"calibration error {found['ece']:.3f} (by chance {found['by_chance']:.3f} with so many rows)")
    lines += [f"note: {note}" for note in result["notes"]]
    return lines


def _drift(drift: Mapping[str, Any] | None) -> list[tuple[str, Any, bool]]:
    if drift is None:
        return []
    rows = [(f"log-ratio, {name}, nats", value, False) for name, value in drift["log_ratio"].items()]
    kl = drift["kl"]
    if kl and kl["value"] is not None:
        cut = f", {kl['cut']} of {kl['n']} cut at {kl['max_new_tokens']} tokens" if kl["cut"] else ""
        rows.append((f"KL to the reference by samples, nats{cut}", kl, False))
    return rows


def _tell_contest(result: Mapping[str, Any]) -> list[str]:
    lines = _rows(
        [("win rate", result["win_rate"], True), ("win rate", {**result["win_rate_90"], "level": 0.9}, True)], 0.95
    )
    for side, texts in (("ours", result["our_texts"]), ("theirs", result["their_texts"])):
        if texts:
            lines += _rows([(f"words, {side}", texts["words"], False)], 0.95)
    return [*lines, "", result["sentence"]]


def _tell_judge(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{result['judge']} on {result['n']} pairs that people judged: {result['data']['source']}", ""]
    lines += _rows(
        [
            ("agreement with people (a coin gets 50 %)", result["agreement"], True),
            ("kappa (0 is chance)", result["kappa"], False),
            ("agreement, people's choice shown first", result["chosen_first"], True),
            ("agreement, people's choice shown second", result["chosen_second"], True),
            ("verdicts for what is shown first (50 % is no bias)", result["shown_first"], True),
        ],
        result["level"],
    )
    return [
        *lines,
        f"of the pairs {result['position_flips']} came out otherwise in the other order, {result['ties']} tied, and "
        f"{result['unparsed']} have a verdict that could not be read",
    ]


def _tell_benchmarks(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for task, found in result["tasks"].items():
        for metric, sides in found["metrics"].items():
            lines.append(f"{task}  {metric}  (n = {sides['ours']['n']})")
            rows = [(f"  {result['model']['name']}", sides["ours"], False)]
            if "change" in sides:
                rows.append((f"  {result['reference']['name']}", sides["reference"], False))
                pairing = "document by document" if sides["change"]["paired"] else "sides independent"
                rows.append((f"  change ({pairing}): {sides['change']['verdict']}", sides["change"], False))
            lines += _rows(rows, result["level"])
    return lines


_TELL: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "feedback": _tell_feedback,
    "contest": _tell_contest,
    "judge": _tell_judge,
    "benchmarks": _tell_benchmarks,
}


def _rows(rows: list[tuple[str, Mapping[str, Any] | None, bool]], level: float) -> list[str]:
    """Lines of name, number and interval; what has no value is left out."""
    kept = [(name, value, share) for name, value, share in rows if value is not None]
    width = max((len(name) for name, _, _ in kept), default=0)
    return [f"{name:<{width}}  {_spell(value, share, level)}" for name, value, share in kept]


def _spell(found: Mapping[str, Any], share: bool, level: float) -> str:
    value = found["rate"] if "rate" in found else found["value"]
    write = (lambda x: f"{x:.1%}") if share else (lambda x: f"{x:.4g}")
    if found["low"] is None or found["high"] is None:
        return f"{write(value)}, no interval, n = {found['n']}"
    covered = found.get("level", level)
    interval = f"{write(found['low'])} to {write(found['high'])}"
    return f"{write(value)}, {100 * covered:g} % interval {interval}, n = {found['n']}"
