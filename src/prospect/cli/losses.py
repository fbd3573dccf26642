"""`prospect losses`: what can be trained; one loss whole; its value function drawn; one's own loss checked.

The words after `losses` are names of losses. `check` before them is no name: one's own loss is always called
`file.py:name`, and none of ours is called so.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect import progress
from prospect.errors import UsageError
from prospect.outputs import output_file
from prospect.terminal import say

if TYPE_CHECKING:
    from prospect.losses import Loss
    from prospect.losses.checks.check import CheckResult

GROUPS = ("unpaired", "paired", "scored", "demonstration", "sampled")
HEADER = ("name", "feedback", "level", "reference", "z0", "HALO", "learning rate", "hyperparameters", "paper")
NO_TERMINAL = 10_000  # columns of a file or a pipe: nothing is shortened there
LEAST_FOR_PAPER = 150  # columns; below, the hyperparameters need the room
NARROWEST = 24  # columns of the hyperparameters: the longest of their names with a number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help="show these, with equation, arguments and source: a name or my_file.py:my_loss. The word check before "
        "them checks what every loss must hold",
    )
    parser.add_argument(
        "--plot",
        type=output_file,
        metavar="FILE",
        help="draw the value functions of these human-aware losses, or those of the KTO paper's figure: an SVG, PDF or "
        "PNG file by its suffix",
    )
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")


def run(options: argparse.Namespace) -> int:
    """Print a table of all losses, some losses whole, or check; or draws.

    Returns:
        1 if a check failed, else 0.
    """
    checks = options.words[:1] == ["check"]
    names = options.words[1:] if checks else options.words
    if checks and options.plot:
        raise UsageError("losses: check and --plot are two commands; give one at a time.")
    if checks and not names:
        raise UsageError("losses check: which one? prospect losses check my_file.py:my_loss")
    with progress.phase("loading PyTorch"):
        from prospect.losses import all_losses, get_loss
    losses = [get_loss(name) for name in names]
    if checks:
        return _check(losses, options.json)
    if options.plot:
        _plot(options.plot, losses, options.json)
    elif options.json:
        print(json.dumps([_as_dict(loss) for loss in losses or all_losses().values()], indent=2))
    elif losses:
        say("\n\n".join(map(_whole, losses)), sys.stdout)
    else:
        columns = shutil.get_terminal_size((NO_TERMINAL, 24)).columns
        say(_table(list(all_losses().values()), columns), sys.stdout)
    return 0


# -- check --


def _check(losses: Sequence[Loss], as_json: bool) -> int:
    from prospect.losses.checks.check import check_loss

    found = {loss.name: check_loss(loss) for loss in losses}
    failed = {name: [r.name for r in results if r.passed is False] for name, results in found.items()}
    if as_json:
        entries = [
            {"name": name, "passed": not failed[name], "checks": [r._asdict() for r in results]}
            for name, results in found.items()
        ]
        print(json.dumps(entries, indent=2))
    else:
        say("\n\n".join(_results(name, results) for name, results in found.items()), sys.stdout)
    return 1 if any(failed.values()) else 0


def _results(name: str, results: Sequence[CheckResult]) -> str:
    words = {True: "pass", False: "FAIL", None: "not applicable"}
    lines = [f"{words[r.passed]:14}  {r.name.replace('_', ' ')}{f': {r.message}' * bool(r.message)}" for r in results]
    counts = [sum(r.passed is kind for r in results) for kind in words]
    return "\n".join([name, *lines, f"{counts[0]} passed, {counts[1]} failed, {counts[2]} not applicable"])


# -- plot --


def _plot(path: Path, losses: Sequence[Loss], as_json: bool) -> None:
    from prospect.cli.value_curves import curves_of, papers_curves
    from prospect.report.charts.figure_file import require_figure, write_figure

    require_figure(path)
    curves = curves_of(losses) if losses else papers_curves()
    write_figure(
        path,
        curves,
        title="What an outcome is worth to a human",
        x_label="z: reward above the reference point, in units of 1 / beta (nats without a beta)",
        y_label="value v(z)",
        guides=(0, 0),
    )
    if as_json:
        print(json.dumps({"plot": str(path), "curves": [curve.label for curve in curves]}))
    else:
        say(path, sys.stdout)


# -- one loss, as JSON and as text --


def _as_dict(loss: Loss) -> dict[str, Any]:
    """All traits, what stands for functions by their names."""
    from prospect.losses import Loss

    traits = {field.name: getattr(loss, field.name) for field in fields(Loss)}
    del traits["function"]
    return traits | {
        "value": loss.value and loss.value.__name__,
        "over_step": list(loss.over_step),
        "arguments": {name: f"({', '.join(loss.shape_of(name))})" for name in _given(loss)},
        "hyperparameters": loss.hyperparameters,
        "bounds": {name: loss.bounds_of(name) for name in loss.hyperparameters},
        "doc": inspect.getdoc(loss.function) or "",
    }


def _given(loss: Loss) -> list[str]:
    """Return what the trainer feeds it; what its `over_step` makes of that has whatever shape it has."""
    return [name for name in loss.argument_names if name not in loss.over_step]


def _whole(loss: Loss) -> str:
    """Name, doc, the learning rate, and every other trait that is not what a loss has anyhow."""
    from prospect.losses import Loss

    shown = _as_dict(loss)
    rows: list[tuple[str, str]] = [("feedback", loss.feedback)]
    for field in fields(Loss):
        default = field.default if field.default is not MISSING else None
        if field.name not in ("function", "name", "feedback", "over_step", "bounds", "paper"):
            value = shown[field.name]
            unusual = getattr(loss, field.name) != default or field.name == "learning_rate"
            rows += [(field.name, _plain(value))] if unusual else []
    rows += [("over_step", ", ".join(loss.over_step))] if loss.over_step else []
    rows += [(n, f"{_plain(default)}, in {loss.bounds_of(n)}") for n, default in loss.hyperparameters.items()]
    rows += [("paper", loss.paper)] if loss.paper else []
    width = max(len(name) for name, _ in rows)
    facts = "\n".join(f"{name:{width}}  {value}" for name, value in rows)
    return "\n\n".join(part for part in (loss.name, shown["doc"], facts) if part)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


# -- the table --


def _table(losses: Sequence[Loss], columns: int) -> str:
    """One line per loss, or more where hyperparameters need them; groups by feedback, human-aware losses first."""
    ordered = sorted(losses, key=lambda loss: (GROUPS.index(loss.feedback), not loss.is_halo, loss.name))
    rows = [_cells(loss) for loss in ordered]
    header: tuple[str, ...] = HEADER
    left_out = ""
    if columns < LEAST_FOR_PAPER:
        header, rows = HEADER[:-1], [row[:-1] for row in rows]
        left_out = "\n\nprospect losses NAME says where a loss comes from."
    elif _width([header, *rows]) > columns:
        rows = [(*row[:-1], row[-1].partition(", arXiv")[0]) for row in rows]
    excess = max(0, _width([header, *rows]) - columns)
    at = HEADER.index("hyperparameters")
    room = max(NARROWEST, max(len(row[at]) for row in rows) - excess)
    wrapped = [_wrap(row, at, room) for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *(line for row in wrapped for line in row), strict=True)]
    lines = [_line(header, widths)]
    for i, row in enumerate(wrapped):
        new_group = i == 0 or ordered[i].feedback != ordered[i - 1].feedback
        lines += [""] * new_group + [_line(line, widths) for line in row]
    return "\n".join(lines) + left_out


def _cells(loss: Loss) -> tuple[str, ...]:
    settings = ", ".join(f"{name}={_plain(value)}" for name, value in loss.hyperparameters.items())
    marks = ("yes" if x else "-" for x in (loss.needs_reference, loss.needs_reference_point, loss.is_halo))
    return (loss.name, loss.feedback, loss.level, *marks, _plain(loss.learning_rate), settings, loss.paper)


def _wrap(row: tuple[str, ...], at: int, room: int) -> list[tuple[str, ...]]:
    """Return the row as one line or more: those after the first hold what is left of the cell `at`."""
    parts = textwrap.wrap(row[at], room) or [""]
    more = [tuple(part if i == at else "" for i in range(len(row))) for part in parts[1:]]
    return [(*row[:at], parts[0], *row[at + 1 :]), *more]


def _width(rows: Sequence[tuple[str, ...]]) -> int:
    return sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True)) - 2


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
