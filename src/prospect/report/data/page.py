"""The data page: what `prospect data inspect` found, as one page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from prospect.atomic import write_text
from prospect.feedback.images.looks import Look
from prospect.report.data.figures import balance_figure, length_figure, names_of, rater_figure, time_figure
from prospect.report.data.words import amount, file_names, headline, what_is_in_it, what_suits_it
from prospect.report.page.pages import render_page
from prospect.report.page.parts import KeyNumber, PageTable, flat
from prospect.report.page.wording import count, percent, short_path
from prospect.report.run.facts import dig, is_number

SEVERITIES = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
MOST_FINDINGS = 60  # of one severity; the doctor has about as many kinds in all
MOST_ROWS = 20  # of a table of raters, sources, models, scripts or files
_SHOWN_ELSEWHERE = frozenset({"findings", "advice", "lengths", "time", "raters", "histogram"})


_VERDICTS = ((1, "Desirable"), (0, "Undesirable"), (-1, "Not judged"))


class Thumbnail(NamedTuple):
    """A small image on the page, and what it is in words."""

    source: str
    said: str


class Remark(NamedTuple):
    """One finding as it is shown."""

    severity: str
    message: str
    advice: str
    rows: str


def write_data_page(inspection: dict[str, Any], path: Path, looks: Sequence[Look] = ()) -> None:
    """Write the page for the JSON of `prospect data inspect`.

    Args:
        inspection: `Inspection.as_dict()`, or the same read from a file; what is absent is left out.
        path: where the page goes; what was there is replaced in one go.
        looks: images with thumbnails.
    """
    write_text(path, render_data_page(inspection, looks))


def render_data_page(inspection: dict[str, Any], looks: Sequence[Look] = ()) -> str:
    """Return the page for the JSON of `prospect data inspect`, with thumbnails of a few images."""
    figures = (balance_figure(inspection), length_figure(inspection), time_figure(inspection), rater_figure(inspection))
    recipe = dig(inspection, "advice", "recipe")
    settings = dig(inspection, "advice", "settings")
    remarks = _remarks(inspection)
    return render_page(
        "data.html.j2",
        kind="Prospect data report",
        footer="Made by prospect data inspect. Nothing of the rows' text is on this page; ids and names of raters are"
        + (", and small copies of some images." if looks else "."),
        byline=_byline(inspection),
        headline=headline(inspection),
        summary=[part for part in (what_is_in_it(inspection), what_suits_it(inspection)) if part[1]],
        counts=_counts_said(remarks),
        worries=[remark for remark in remarks if remark.severity != "note"],
        notes=[remark for remark in remarks if remark.severity == "note"],
        cards=_cards(inspection),
        figures=[figure for figure in figures if figure],
        galleries=_galleries(looks),
        lengths=_length_table(inspection),
        origins=_origin_tables(inspection),
        raters=_rater_table(inspection),
        recipe=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).strip() if isinstance(recipe, dict) else "",
        settings=list(settings.items()) if isinstance(settings, dict) else [],
        rest=flat({key: value for key, value in inspection.items() if key not in _SHOWN_ELSEWHERE}),
    )


def _byline(inspection: dict[str, Any]) -> list[str]:
    named = file_names(inspection)
    shown = [*named[:3], *([f"and {len(named) - 3} more files"] if len(named) > 3 else [])]
    sample = dig(inspection, "sample", "share")
    part = f"a sample of {percent(sample)} looked at closely" if is_number(sample) and sample < 1 else ""
    return [text for text in (*shown, part) if text]


def _remarks(inspection: dict[str, Any]) -> list[Remark]:
    """Return the findings, the worst first, as they come within a severity."""
    found = inspection.get("findings")
    remarks = []
    for severity in SEVERITIES:
        of_it = [f for f in found if dig(f, "severity") == severity] if isinstance(found, list) else []
        remarks += [_remark(severity, finding) for finding in of_it[:MOST_FINDINGS]]
    return remarks


def _remark(severity: str, finding: dict[str, Any]) -> Remark:
    message, advice = finding.get("message") or finding.get("code") or "", finding.get("advice") or ""
    return Remark(severity, _sentence(message), _sentence(advice), _examples(finding))


def _sentence(text: Any) -> str:
    text = str(text).strip()
    return text[:1].upper() + text[1:]


def _examples(finding: dict[str, Any]) -> str:
    """Where to look: the file's name once if there is one file alone."""
    rows = finding.get("rows")
    if not isinstance(rows, list) or not rows:
        return ""
    names = [str(row) for row in rows]
    files = {name.rpartition(":")[0] for name in names}
    more = ", …" if is_number(finding.get("count")) and finding["count"] > len(names) else ""
    if len(files) == 1 and all(name.rpartition(":")[2].isdigit() for name in names):
        lines = ", ".join(name.rpartition(":")[2] for name in names)
        return f"For example {files.pop()}, line{'s' * (len(names) > 1)} {lines}{more}"
    return f"For example {', '.join(names)}{more}"


def _counts_said(remarks: list[Remark]) -> str:
    counts = {severity: sum(remark.severity == severity for remark in remarks) for severity in SEVERITIES}
    if not remarks:
        return "Nothing wrong was found."
    parts = [count(n, severity) for severity, n in counts.items() if n]
    said = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    if counts["error"]:
        return f"{said}. Training refuses what is an error, or its result would be worthless: mend that first."
    return f"{said}, no error."


def _cards(inspection: dict[str, Any]) -> list[KeyNumber]:
    rows, prompts = inspection.get("rows"), inspection.get("prompts")
    up, down = inspection.get("desirable"), inspection.get("undesirable")
    known, unreadable = dig(inspection, "raters", "known"), dig(inspection, "unreadable", "rows")
    median = dig(inspection, "lengths", "completion", "all", "median")
    cards = []
    if is_number(rows):
        bad = f"{count(unreadable)} more cannot be read" if is_number(unreadable) and unreadable else "all can be read"
        cards.append(KeyNumber("rows", count(rows), bad))
    if is_number(prompts) and is_number(rows) and prompts:
        cards.append(
            KeyNumber("prompts", count(prompts), f"{rows / prompts:.3g} {'row' if rows == prompts else 'rows'} each")
        )
    if inspection.get("kind") == "unpaired" and is_number(up) and is_number(down) and up + down:
        cards.append(KeyNumber("desirable", percent(up / (up + down)), f"{count(up)} of {count(up + down)}"))
    if is_number(median):
        unit = str(dig(inspection, "lengths", "unit") or "words")
        cards.append(KeyNumber(f"{unit} in a completion", amount(median), "the median"))
    if is_number(known) and known:
        cards.append(KeyNumber("raters", count(known), "told apart"))
    return cards


def _length_table(inspection: dict[str, Any]) -> PageTable | None:
    classes = dig(inspection, "lengths", "completion")
    columns = ("count", "mean", "median", "p10", "p90", "max")
    names = dict(zip(("desirable", "undesirable"), names_of(inspection), strict=True))
    rows = [
        (str(names.get(name, name)), *(amount(stats[key]) for key in columns))
        for name, stats in (classes.items() if isinstance(classes, dict) else ())
        if all(is_number(dig(stats, key)) for key in columns)
    ]
    head = ("completions", "count", "mean", "median", "10% under", "90% under", "longest")
    unit = str(dig(inspection, "lengths", "unit") or "words")
    return PageTable(f"Lengths in {unit}", head, rows) if rows else None


def _origin_tables(inspection: dict[str, Any]) -> list[PageTable]:
    rows = inspection.get("rows")
    named = (
        ("sources", "Sources", "source"),
        ("models", "Models", "model"),
        ("scripts", "Scripts", "script"),
        ("turns", "Turns of prompt and completion", "turns"),
    )
    tables = [_share_table(title, head, inspection.get(key), rows) for key, title, head in named]
    images = dig(inspection, "pictures", "images")
    of_images = (("sizes", "Sizes of images", "pixels"), ("formats", "Formats of images", "format"))
    tables += [_share_table(title, head, dig(inspection, "pictures", key), images) for key, title, head in of_images]
    return [table for table in tables if table]


def _galleries(looks: Sequence[Look]) -> list[tuple[str, list[Thumbnail]]]:
    """Return the thumbnails by verdict, each with words for those who do not see it."""
    galleries = [
        (title, [_thumbnail(look) for look in looks if look.verdict == verdict]) for verdict, title in _VERDICTS
    ]
    return [(title, thumbnails) for title, thumbnails in galleries if thumbnails]


def _thumbnail(look: Look) -> Thumbnail:
    said = f"{short_path(look.name)}, {look.width} by {look.height} pixels"
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(look.thumbnail).decode()}", said)


def _share_table(title: str, head: str, counts: Any, rows: Any) -> PageTable | None:
    if not isinstance(counts, dict) or not is_number(rows) or rows < 1:
        return None
    most = sorted(((str(k), n) for k, n in counts.items() if is_number(n)), key=lambda item: -item[1])
    lines = [(name, count(n), percent(n / rows)) for name, n in most[:MOST_ROWS]]
    if len(most) > MOST_ROWS:
        rest = sum(n for _, n in most[MOST_ROWS:])
        lines.append((f"{len(most) - MOST_ROWS} more", count(rest), percent(rest / rows)))
    return PageTable(title, (head, "rows", "share"), lines) if lines else None


def _rater_table(inspection: dict[str, Any]) -> PageTable | None:
    most, rows = dig(inspection, "raters", "most"), inspection.get("rows")
    lines = [
        (
            str(dig(entry, "rater")),
            count(entry["rows"]),
            percent(entry["rows"] / rows),
            percent(entry["desirable"] / entry["rows"]) if is_number(dig(entry, "desirable")) else "",
        )
        for entry in (most if isinstance(most, list) else [])
        if is_number(dig(entry, "rows")) and entry["rows"] > 0 and is_number(rows) and rows > 0
    ]
    return PageTable("The raters with the most rows", ("rater", "rows", "share of all", "up"), lines) if lines else None
