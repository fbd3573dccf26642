"""What the data doctor says, for a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import yaml
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prospect.feedback.advice.advice import Advice
from prospect.feedback.doctor.checks.case import percent, several
from prospect.feedback.doctor.inspect import Inspection
from prospect.feedback.findings import Finding
from prospect.terminal import make_console

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_NAMES = {
    "kto": "KTO",
    "dpo": "DPO",
    "cdpo": "cDPO",
    "ipo": "IPO",
    "nca": "NCA",
    "sft": "SFT first",
    "collect": "not enough data",
}
_SHOWN = 5  # entries of a list of raters, models or scripts


def print_inspection(inspection: Inspection) -> None:
    """Print what is in the files, what was found and what to do."""
    console = make_console()
    facts = inspection.as_dict()
    console.print(Text(_title(facts), style="bold"))
    console.print(Padding(_contents(facts), (0, 0, 0, 2)))
    lengths = _lengths(facts) if "lengths" in facts else None
    if lengths is not None and lengths.row_count:
        console.print(Padding(lengths, (1, 0, 0, 2)))
    console.print()
    _print_findings(console, inspection.findings, [file["name"] for file in facts["files"]])
    _print_advice(console, inspection.advice)


def _title(facts: dict[str, Any]) -> str:
    files = [file["name"] for file in facts["files"]]
    named = files[0] if len(files) == 1 else f"{len(files)} files"
    return f"{named}: {facts['rows']:,} {facts['kind']} rows on {several(facts['prompts'], 'prompt')}"


def _contents(facts: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in _lines(facts):
        table.add_row(name, Text(value))
    return table


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of everything that is worth a line."""
    up, down, rows = facts["desirable"], facts["undesirable"], facts["rows"]
    lines = []
    if facts["kind"] == "unpaired":
        lines.append(("labels", f"{up:,} desirable ({percent(up / rows)}), {down:,} undesirable"))
        lines.append(("both labels", f"on {several(facts['facts']['pairable'], 'prompt')}"))
    unreadable = facts["unreadable"]
    if unreadable["rows"]:
        lines.append(("unreadable", f"{unreadable['rows']:,} rows"))
    if "pictures" in facts:
        lines += _pictures(facts["pictures"])
    else:
        lines.append(("turns", _listed({f"{number}": count for number, count in facts["turns"].items()}, rows)))
        lines.append(("scripts", _listed(facts["scripts"], rows)))
    raters = facts["raters"]
    if raters["known"]:
        most = {entry["rater"]: entry["rows"] for entry in raters["most"]}
        lines.append(("raters", f"{raters['known']:,}; most rows: {_listed(most, rows)}"))
    lines += [(name, _listed(facts[name], rows)) for name in ("models", "sources") if facts[name]]
    if facts["time"]:
        first, last = (datetime.fromisoformat(facts["time"][end]).strftime("%Y-%m-%d") for end in ("first", "last"))
        lines.append(("time", f"{first} to {last}" if first != last else first))
    return lines


def _pictures(pictures: dict[str, Any]) -> list[tuple[str, str]]:
    images = pictures["images"]
    return [
        ("images", f"{images:,}, of {several(pictures['different'], 'different file')}"),
        ("sizes", _listed(pictures["sizes"], images)),
        ("formats", _listed(pictures["formats"], images)),
    ]


def _listed(counts: dict[str, int], rows: int) -> str:
    """`latin 98 %, cyrillic 2 %`, the most frequent first."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} ({percent(count / rows)})" if len(most) > 1 else name for name, count in most[:_SHOWN])
    return f"{listed}, and {len(most) - _SHOWN} more" if len(most) > _SHOWN else listed


def _lengths(facts: dict[str, Any]) -> Table:
    lengths = facts["lengths"]
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column(f"completions, {lengths['unit']}")
    columns = (("median", "median"), ("mean", "mean"), ("p10", "10 %"), ("p90", "90 %"), ("max", "longest"))
    for _, title in columns:
        table.add_column(title, justify="right")
    for name, values in lengths["completion"].items():
        table.add_row(name, *(f"{values[key]:,.0f}" for key, _ in columns))
    return table


def _print_findings(console: Console, findings: tuple[Finding, ...], files: list[str]) -> None:
    if not findings:
        console.print(Text("nothing wrong was found", style="green"))
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        text = Text(finding.message)
        text.append(f"\n{finding.advice}", style="dim")
        if finding.rows:
            text.append(f"\n{_examples(finding, files)}", style="dim")
        table.add_row(Text(finding.severity, style=_STYLES[finding.severity]), text)
    console.print(table)


def _print_advice(console: Console, advice: Advice) -> None:
    console.print()
    console.print(Text(f"advice: {_NAMES[advice.method]}", style="bold"))
    for reason in advice.reasons:
        console.print(Padding(Text(reason), (0, 0, 0, 2)))
    if advice.recipe is not None:
        console.print()
        console.print(Text("a recipe to start from (prospect train RECIPE.yaml)", style="dim"))
        text = yaml.safe_dump(advice.recipe, sort_keys=False, allow_unicode=True).strip()
        console.print(Padding(Text(text), (0, 0, 0, 2)))


def _examples(finding: Finding, files: list[str]) -> str:
    """Where to look: lines alone if there is one file."""
    more = ", ..." if finding.count > len(finding.rows) else ""
    begin = f"{files[0]}:"
    if len(files) == 1 and all(row.startswith(begin) for row in finding.rows):
        return f"line{'s' * (len(finding.rows) > 1)} {', '.join(row.removeprefix(begin) for row in finding.rows)}{more}"
    return f"{', '.join(map(_short, finding.rows))}{more}"


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."
