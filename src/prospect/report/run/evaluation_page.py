"""The page of one evaluation that is in a file of its own, such as a contest between two files."""

from __future__ import annotations

from pathlib import Path

from prospect.atomic import write_text
from prospect.errors import UsageError
from prospect.report.page.pages import render_page
from prospect.report.page.parts import FIRST_SAMPLES
from prospect.report.run.evaluations import evaluation_part
from prospect.results.contest import ContestResult
from prospect.results.evaluation import parse_evaluation
from prospect.results.stored import Stored, read_json


def build_evaluation_page(file: Path) -> Path:
    """Write the page of a result beside it, as .html, and return its path.

    Args:
        file: what `prospect contest`, `evaluate` or `benchmark` wrote with -o.

    Raises:
        UsageError: the file holds no such result.
        CheckpointError: it cannot be read.
    """
    result = parse_evaluation(read_json(file), file)
    if not isinstance(result, Stored):
        raise UsageError(
            f"{file}: no result of an evaluation; expected what prospect contest or evaluate wrote with -o."
        )
    part = evaluation_part(file.stem, result, file.resolve().parent)
    page = file.with_suffix(".html")
    headline = f"{result.ours} against {result.theirs}" if isinstance(result, ContestResult) else part.title
    write_text(
        page,
        render_page(
            "evaluation.html.j2",
            kind="Prospect evaluation",
            footer="Made by prospect report from the file of the result alone.",
            byline=[file.name],
            headline=headline,
            part=part,
            first_samples=FIRST_SAMPLES,
        ),
    )
    return page
