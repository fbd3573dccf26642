"""What is in feedback files and what suits them, in plain sentences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prospect.report.page.wording import count, number, percent, short_path
from prospect.report.run.facts import dig, is_number

NOUNS = {
    "unpaired": "thumb",
    "paired": "preference pair",
    "demonstration": "demonstration",
    "scored": "scored prompt",
}
SUITS = {
    "kto": "KTO suits them",
    "dpo": "DPO suits them",
    "cdpo": "cDPO suits them",
    "ipo": "IPO suits them",
    "nca": "NCA suits them",
    "sft": "SFT comes first",
    "collect": "not enough to train on yet",
}
METHODS = {
    "kto": "KTO (loss kto).",
    "dpo": "DPO (loss dpo).",
    "cdpo": "cDPO: DPO with label smoothing (loss dpo, label_smoothing).",
    "ipo": "IPO (loss ipo).",
    "nca": "NCA (loss nca).",
    "sft": "SFT first (loss sft).",
    "collect": "There is not enough to train on yet.",
}


def headline(inspection: dict[str, Any]) -> str:
    """Return the files in one line."""
    rows, kind = inspection.get("rows"), str(inspection.get("kind"))
    up, down = inspection.get("desirable"), inspection.get("undesirable")
    what = count(rows, NOUNS.get(kind, "row")) if is_number(rows) else "Feedback"
    balance = ""
    if kind == "unpaired" and is_number(up) and is_number(down) and up + down:
        balance = f", {percent(up / (up + down))} of them up"
    suits = SUITS.get(str(dig(inspection, "advice", "method")))
    return f"{what}{balance}: {suits}" if suits else f"{what}{balance}"


def what_is_in_it(inspection: dict[str, Any]) -> tuple[str, list[str]]:
    """Rows, prompts and balance; images; lengths; who voted and when; what could not be read."""
    sentences = [
        _rows(inspection),
        _images(inspection),
        _lengths(inspection),
        _raters(inspection),
        _time(inspection),
        _unread(inspection),
    ]
    return "What is in it", [sentence for sentence in sentences if sentence]


def what_suits_it(inspection: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the method and its reasons."""
    method, reasons = dig(inspection, "advice", "method"), dig(inspection, "advice", "reasons")
    said = [METHODS[str(method)]] if str(method) in METHODS else [f"{method}."] if method else []
    return "What suits it", said + ([str(reason) for reason in reasons] if isinstance(reasons, list) else [])


def file_names(inspection: dict[str, Any]) -> list[str]:
    """Return the short names of the files that were looked at."""
    files = inspection.get("files")
    return [short_path(dig(file, "name") or "") for file in files] if isinstance(files, list) else []


def _rows(inspection: dict[str, Any]) -> str:
    rows, prompts, kind = inspection.get("rows"), inspection.get("prompts"), str(inspection.get("kind"))
    if not is_number(rows):
        return ""
    named = file_names(inspection)
    where = named[0] if len(named) == 1 else f"{len(named)} files" if named else "The feedback"
    verb = "hold" if len(named) > 1 else "holds"
    text = f"{where} {verb} {count(rows, NOUNS.get(kind, 'row'))}"
    if is_number(prompts):
        text += f" on {count(prompts, 'prompt')}"
    up, down = inspection.get("desirable"), inspection.get("undesirable")
    if kind == "unpaired" and is_number(up) and is_number(down):
        text += f": {count(up)} desirable and {count(down)} undesirable"
        pairable = dig(inspection, "facts", "pairable")
        if is_number(pairable):
            text += f", both on {count(pairable, 'prompt')}" if pairable else ", never both on one prompt"
    return f"{text}."


def _images(inspection: dict[str, Any]) -> str:
    images, different, sizes = (dig(inspection, "pictures", key) for key in ("images", "different", "sizes"))
    if not is_number(images) or not is_number(different) or not isinstance(sizes, dict) or not sizes:
        return ""
    most = next(iter(sizes))
    of_them = "all of one size" if len(sizes) == 1 else "the most frequent size being"
    files = count(different, "different file")
    return f"The completions are {count(images, 'image')} in {files}, {of_them} {most} pixels."


def _lengths(inspection: dict[str, Any]) -> str:
    lengths = inspection.get("lengths")
    median, high = (dig(lengths, "completion", "all", key) for key in ("median", "p90"))
    if not is_number(median) or not is_number(high):
        return ""
    unit = str(dig(lengths, "unit") or "words")
    up, down = (dig(lengths, "completion", name, "median") for name in ("desirable", "undesirable"))
    text = f"Half of the completions have {amount(median)} {unit} or less, and nine in ten {amount(high)} or less"
    if is_number(up) and is_number(down) and inspection.get("kind") == "unpaired":
        text += f"; the median is {amount(up)} of desirable and {amount(down)} of undesirable ones"
    return f"{text}."


def amount(value: float) -> str:
    """Return a length: whole from ten on, where a tenth of a word means nothing."""
    return count(round(value)) if value >= 10 else number(float(value)) if value % 1 else count(value)


def _raters(inspection: dict[str, Any]) -> str:
    known, most, rows = (dig(inspection, "raters", key) for key in ("known", "most", "rows_without"))
    if not is_number(known):
        return ""
    if not known:
        return "Who voted is not in the rows."
    text = f"{count(known, 'rater')} voted" if known > 1 else "One rater voted"
    first = dig(most[0], "rows") if isinstance(most, list) and most else None
    if is_number(first) and is_number(inspection.get("rows")) and known > 1:
        text += f"; the busiest gave {percent(first / inspection['rows'])} of the rows"
    if is_number(rows) and rows:
        text += f", and {count(rows, 'row')} name nobody"
    return f"{text}."


def _time(inspection: dict[str, Any]) -> str:
    first, last = dig(inspection, "time", "first"), dig(inspection, "time", "last")
    try:
        days = [datetime.fromisoformat(str(end).replace("Z", "+00:00")).strftime("%Y-%m-%d") for end in (first, last)]
    except ValueError:
        return ""
    return f"The votes are from {days[0]} to {days[1]}." if days[0] != days[1] else f"The votes are from {days[0]}."


def _unread(inspection: dict[str, Any]) -> str:
    rows, files = dig(inspection, "unreadable", "rows"), dig(inspection, "unreadable", "files")
    parts = [count(n, noun) for n, noun in ((rows, "row"), (files, "file")) if is_number(n) and n]
    verb = "could not be read and are not counted here." if parts else ""
    return f"{' and '.join(parts)} {verb}" if parts else ""
