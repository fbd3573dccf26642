"""Figures of what is in feedback files; one without data is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prospect.report.charts.bars import Share, columns_over_time, share_bars, stacked_bars
from prospect.report.charts.drawing import Figure
from prospect.report.charts.plots import histogram_pair
from prospect.report.page.wording import count, percent
from prospect.report.run.facts import CLASS_NAMES, DESIRABLE_UNDESIRABLE, dig, is_number

LOOKS = ("desirable", "undesirable")
MOST_RATERS = 12  # bars of one figure
_SECONDS = {"day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
KEYS = (("desirable area", "desirable"), ("undesirable area", "undesirable"))


def names_of(inspection: dict[str, Any]) -> tuple[str, str]:
    """Return what the two classes of completions are called in this kind of feedback."""
    return CLASS_NAMES.get(str(inspection.get("kind")), DESIRABLE_UNDESIRABLE)


def balance_figure(inspection: dict[str, Any]) -> Figure | None:
    """How many completions of each class, and what the advised class weights make of it."""
    counts = [n for look in LOOKS if is_number(n := inspection.get(look)) and n >= 0]
    if inspection.get("kind") != "unpaired" or len(counts) < 2 or sum(counts) == 0:
        return None
    weights = [dig(inspection, "advice", f"{look}_weight") for look in LOOKS]
    parts = list(zip(LOOKS, LOOKS, counts, strict=True))
    rows: list[tuple[str, list[tuple[str, str, float]]]] = [("Completions", parts)]
    weighted = dig(inspection, "advice", "method") == "kto" and all(is_number(w) and w > 0 for w in weights)
    if weighted:
        name = f"Weight in the loss, at {weights[0]:.3g} and {weights[1]:.3g} each"
        rows.append((name, [(a, b, n * w) for (a, b, n), w in zip(parts, weights, strict=True)]))
    under = "The lower bar is what the loss sees with the advised class weights. KTO wants it about even."
    only = "Every completion with a verdict, by its label."
    return stacked_bars(rows, title="Label balance", reading=under if weighted else only)


def length_figure(inspection: dict[str, Any]) -> Figure | None:
    """How long completions are, by class, with the limit of training where both are in tokens."""
    lengths = inspection.get("lengths")
    edges, counts = dig(lengths, "histogram", "edges"), dig(lengths, "histogram", "counts")
    if not isinstance(edges, list) or len(edges) < 2 or not all(map(is_number, edges)) or edges[0] >= edges[-1]:
        return None
    names = dict(zip(LOOKS, names_of(inspection), strict=True)) | {"all": "completions"}
    shown = [
        (look if look != "all" else "main", names[look], values)
        for look in (*LOOKS, "all")
        if isinstance(values := dig(counts, look), list)
        and len(values) == len(edges) - 1
        and all(map(is_number, values))
        and any(values)
    ][:2]
    if not shown:
        return None
    unit, limit = str(dig(lengths, "unit") or "words"), inspection.get("max_length")
    sides = f" {shown[0][1].capitalize()} upwards, {shown[1][1]} downwards." if len(shown) > 1 else ""
    last = " The last bar holds all that are longer." if dig(lengths, "histogram", "last_is_open") else ""
    about = "Share of each class by length" if len(shown) > 1 else "Share of completions by length"
    return histogram_pair(
        edges,
        shown,
        title="Length of completions",
        reading=f"{about}.{sides}{last}{_limit_said(unit, limit, edges)}",
        x_label=unit,
        limit=(limit, f"max_length {count(limit)}") if unit == "tokens" and is_number(limit) else None,
    )


def _limit_said(unit: str, limit: Any, edges: list[float]) -> str:
    if not is_number(limit):
        return ""
    if unit != "tokens":
        return f" data.max_length is {count(limit)} tokens; --model M counts in tokens and shows it here."
    if limit > edges[-1]:
        return f" data.max_length, {count(limit)} tokens for prompt and completion together, lies to the right of it."
    return f" data.max_length is {count(limit)} tokens for prompt and completion together."


def time_figure(inspection: dict[str, Any]) -> Figure | None:
    """Votes over time by class."""
    time = inspection.get("time")
    starts, counts = dig(time, "starts"), dig(time, "counts")
    if not isinstance(starts, list) or not starts or not isinstance(counts, dict):
        return None
    try:
        times = [_seconds(start) for start in starts]
    except ValueError:  # a page without this figure is better than none
        return None
    looks = {"desirable": ("desirable", "desirable"), "undesirable": ("undesirable", "undesirable")}
    shown = [
        (*looks.get(name, ("main", name)), values)
        for name, values in counts.items()
        if isinstance(values, list) and len(values) == len(times) and all(map(is_number, values))
    ][:2]
    if not shown or not any(sum(values) for *_, values in shown):
        return None
    unit = str(dig(time, "unit") or "day")
    sides = " Desirable upwards, undesirable downwards." if len(shown) > 1 else ""
    return columns_over_time(
        times,
        shown,
        title="Votes over time",
        reading=f"Votes by {unit}, or by longer periods where there are many.{sides}"
        " A change of the balance on one day often comes from a change in the product, not in the answers.",
        y_label="votes" if len(shown) > 1 else "rows",
        width=_SECONDS.get(unit, 86_400),
    )


def _seconds(text: Any) -> float:
    when = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def rater_figure(inspection: dict[str, Any]) -> Figure | None:
    """Who voted how often, and which way."""
    raters, rows = inspection.get("raters"), inspection.get("rows")
    most = dig(raters, "most")
    if not isinstance(most, list) or not is_number(rows) or rows < 1:
        return None
    bars = []
    for entry in most[:MOST_RATERS]:
        n, up = dig(entry, "rows"), dig(entry, "desirable")
        if not is_number(n) or n < 1:
            continue
        share = up / n if is_number(up) else None
        habit = f", {percent(share)} up" if share is not None else ""
        bars.append(Share(str(dig(entry, "rater")), n / rows, share, f"{count(n, 'row')} ({percent(n / rows)}){habit}"))
    if not bars:
        return None
    known = dig(raters, "known")
    among = f"The {len(bars)} busiest of {count(known)} raters." if is_number(known) and known > len(bars) else ""
    return share_bars(
        bars,
        title="Raters",
        reading=f"{among} A bar is a rater's share of all rows, its two colours the votes up and down."
        " A rater who always votes one way says little about the answers.".strip(),
        keys=KEYS if any(bar.desirable is not None for bar in bars) else (),
    )
