"""The page of `prospect compare`: the answer first, figures of cells and sweeps, tables that use the careful words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from test_report import HOSTILE, Page

from made_results import FLIPS, METHODS, study_as_json, study_cell
from prospect.errors import CheckpointError
from prospect.report.charts.plots import Line, sweep_chart
from prospect.report.comparison.figures import measures_to_draw
from prospect.report.comparison.page import render_comparison_page, write_comparison_page
from prospect.results.study import StudyResult


def result(**changes: Any) -> StudyResult:
    return StudyResult.parse(study_as_json(**changes), "result.json")


def read(found: StudyResult) -> Page:
    return Page(render_comparison_page(found))


def text_of(found: StudyResult) -> str:
    return " ".join(read(found).text.split())


@pytest.mark.parametrize(
    ("agrees", "said"),
    [
        ("yes", "Label noise: the paper's claim holds here"),
        ("no", "Label noise: the paper's claim does not hold here"),
        ("cannot tell", "Label noise: this study cannot tell whether the claim holds"),
    ],
)
def test_the_answer_stands_at_the_top(agrees: str, said: str) -> None:
    text = text_of(result(claim=study_as_json()["claim"] | {"agrees": agrees}))
    assert said in text
    assert "The claim (a paper, section 4): KTO bears noise better than DPO." in text
    assert "At 40 % flips it passes more often." in text and "Both are above the start." in text
    assert "1 better, 1 no difference shown" in text


def test_without_a_claim_nothing_is_claimed() -> None:
    page = read(result(claim=None))
    assert "claim" not in page.text.partition("What was asked")[2].partition("What to worry about")[0]
    assert re.search(r"<h1>(.*?)</h1>", render_comparison_page(result(claim=None)))[1] == "Label noise"  # type: ignore[index]


def test_cells_have_whiskers_and_sweeps_have_lines_with_bands() -> None:
    text = render_comparison_page(result())
    titles = re.findall(r"<h3>(.*?)</h3>", text)
    assert titles[:2] == ["Pass rate by label flips", "Length by label flips"], "the study's own measure comes first"
    assert titles[2:5] == ["Pass rate", "Win rate against the start", "Length"]
    sweep = text.partition("Pass rate by label flips")[2].partition("</figure>")[0]
    assert len(re.findall(r'<polygon class="band s[01]"', sweep)) == len(METHODS)
    assert "kto: 90% at 0, 88% at 0.2, 86% at 0.4; dpo: 90% at 0, 78% at 0.2, 66% at 0.4" in sweep
    cells = text.partition("<h3>Pass rate</h3>")[2].partition("</figure>")[0]
    assert len(re.findall(r'class="whisker s[01]"', cells)) == len(METHODS) * len(FLIPS)
    assert "40 % flips: kto 86% (81–91%), then dpo 66% (61–71%)" in cells


def test_a_measure_of_one_value_everywhere_is_not_drawn() -> None:
    found = study_as_json()
    flat = {"value": 0.0, "low": 0.0, "high": 0.1, "n": 400, "prompts": 200, "seeds": 2}
    found["measures"]["flat"] = {"label": "repetition", "unit": "share", "better": "lower", "kind": "value"}
    for estimates in (found["start"], *(cell["estimates"] for cell in found["cells"])):
        estimates["flat"] = flat
    drawn = result(**found)
    assert "flat" not in measures_to_draw(drawn) and "repetition" in render_comparison_page(drawn)
    found["cells"][0]["estimates"]["flat"] = {**flat, "value": 0.05}
    assert "flat" in measures_to_draw(result(**found))


def test_headings_keep_abbreviations() -> None:
    values = study_as_json()
    values["measures"][values["primary"]]["label"] = "mean KL"
    page = render_comparison_page(StudyResult.parse(values, "result.json"))
    assert "Mean KL" in page and "Mean kl" not in page


def test_words_of_the_table_are_those_after_the_correction() -> None:
    text = text_of(result())
    assert "kto · 40 % flips dpo +20.0 +12.0 to +28.0 < 0.001 better" in re.sub(r"\s+", " ", _cells(result()))
    assert "kto · 0 % flips dpo −1.0 −6.0 to +4.0 0.700 no difference shown" in _cells(result())
    assert "90% (85% to 95%)" in text and "44.0 (43.0 to 45.0)" in text


def _cells(found: StudyResult) -> str:
    """The page's tables as text with a space between cells."""
    return " ".join(re.sub(r"<[^>]+>", " ", render_comparison_page(found)).replace("&lt;", "<").split())


def test_length_failures_and_single_seeds_are_worries() -> None:
    found = result(seeds=[0], complete=False, runs={"wanted": 12, "done": 9, "failed": 2})
    text = text_of(found)
    assert "The prompts are few." in text
    assert "2 runs failed" in text and "9 of 12 runs are done" in text and "One seed:" in text
    assert "more than 1.5 times as long as the start's in dpo · 0 % flips" in text and "kto · 0 % flips," not in text


def test_samples_stand_side_by_side_with_differences_marked() -> None:
    text = render_comparison_page(result())
    assert "Dear customer, <ins>kto writes this.</ins>" in text and "Dear customer, <ins>dpo writes this.</ins>" in text
    assert text.count("Where is my order?") == 1


def test_methods_alone_are_rows_of_their_own() -> None:
    found = result(axes=[], conditions=study_as_json()["conditions"][:1], cells=study_as_json()["cells"][::3])
    labels = [label for label in read(found).labels() if label.startswith("Pass rate.")]
    assert labels == ["Pass rate. kto: 90% (85–95%); dpo: 90% (85–95%)."]


def test_a_swept_learning_rate_has_a_logarithmic_axis() -> None:
    import numpy as np

    x = np.array([1e-6, 1e-5, 1e-4])
    figure = sweep_chart(
        [Line("kto", "s0", x, np.array([0.1, 0.2, 0.3]))], title="T", reading="R", x_label="x", y_label="y"
    )
    places = [float(point.split(",")[0]) for point in re.findall(r'points="([^"]*)"', figure.svg)[0].split()]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.11)
    assert "1e−5" in figure.svg


def test_a_sweep_over_methods_draws_a_line_for_each_condition() -> None:
    axis = {"label": "learning rate", "unit": "", "points": [{"method": "kto", "x": 1.0}, {"method": "dpo", "x": 2.0}]}
    labels = [label for label in read(result(axes=[axis])).labels() if label.startswith("Pass rate by learning rate")]
    assert labels and "0 % flips: 90% at 1, 90% at 2; 20 % flips: 88% at 1, 78% at 2" in labels[0]


def test_the_page_loads_nothing_and_is_well_formed(tmp_path: Path) -> None:
    write_comparison_page(result(), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert [value for _, name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    assert "http:" not in text and "https:" not in text and "url(" not in text


FIXED = {"prospect.study/1", "done", "better", "worse", "no difference shown", "yes", "higher", "value", "rate", "pass"}
FIXED |= {"plain", "worry"}


def hostile(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: hostile(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [hostile(value) for value in tree]
    return f"{tree}{HOSTILE}" if isinstance(tree, str) and tree not in FIXED else tree


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    page = read(StudyResult.parse(hostile(study_as_json()), "result.json"))
    assert not page.open and not {"script", "img", "b>"} & set(page.tags)
    assert 'alert("x")' in page.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": {}}, r"result\.json: cells cannot be read: input should be a valid list\. Was it edited by hand\?"),
        ({"seeds": ["a"]}, r"result\.json: seeds\.0 cannot be read: "),
        ({"primary": None}, r"result\.json: primary cannot be read: input should be a valid string"),
        (
            {"format": "prospect.study/2"},
            r"format is prospect\.study/2; expected prospect\.study/1\.2 or older\. Read it",
        ),
        ({"format": "prospect.contest/1"}, r"format is 'prospect\.contest/1'; expected prospect\.study/1"),
        ({"format": None}, r"result\.json: format is None; expected prospect\.study/1"),
    ],
)
def test_a_result_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        StudyResult.parse(study_as_json(**changes), "result.json")


def test_fields_of_a_newer_minor_version_are_left_out() -> None:
    newer = study_as_json(format="prospect.study/1.7", mood="good")
    newer["cells"][0] |= {"colour": "blue"}
    assert StudyResult.parse(newer, "result.json") == result()


def test_what_is_written_holds_nothing_else() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        StudyResult(**study_as_json(mood="good"))


def test_a_large_study_stays_small() -> None:
    methods = [f"method {i}" for i in range(40)]
    conditions = [f"condition {i}" for i in range(13)]
    found = result(
        methods=[study_as_json()["methods"][0] | {"name": name} for name in methods],
        conditions=[study_as_json()["conditions"][0] | {"name": name} for name in conditions],
        cells=[study_cell(m, c, 0.5, 20) for m in methods for c in conditions],
        comparisons=study_as_json()["comparisons"] * 300,
    )
    assert len(render_comparison_page(found)) < 1_500_000
