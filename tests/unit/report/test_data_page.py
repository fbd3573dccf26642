"""The page of `prospect data inspect`: what it says, and that nothing in the data can break it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report import HOSTILE, Page

from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.feedback.images.looks import Look
from prospect.report.charts.bars import MAX_COLUMNS
from prospect.report.data.page import render_data_page, write_data_page


def lengths(median: float) -> dict[str, float]:
    return {"count": 60, "mean": median + 2.5, "median": median, "p10": 3.0, "p90": 2 * median, "max": 900.0}


def inspection(**changes: Any) -> dict[str, Any]:
    """As `prospect data inspect --json` prints it."""
    edges = [10.0 * i for i in range(11)]
    return {
        "kind": "unpaired",
        **{"rows": 120, "prompts": 60, "desirable": 30, "undesirable": 90, "max_length": 64},
        "files": [{"name": "data/thumbs.jsonl", "kind": "unpaired", "rows": 120, "unreadable": 2, "broken": None}],
        "unreadable": {"rows": 2, "files": 0, "reasons": []},
        "lengths": {
            "unit": "tokens",
            "completion": {"all": lengths(40), "desirable": lengths(44), "undesirable": lengths(38)},
            "histogram": {
                "edges": edges,
                "counts": {"desirable": [3] * 10, "undesirable": [9] * 10},
                "last_is_open": True,
            },
        },
        "turns": {"2": 110, "4": 10},
        "scripts": {"latin": 118, "cyrillic": 2},
        "raters": {
            "known": 3,
            "rows_without": 4,
            "most": [{"rater": "ann", "rows": 90, "desirable": 10}, {"rater": "bo", "rows": 20, "desirable": 20}],
        },
        "sources": {"chat": 120},
        "models": {"m-1": 70, "m-2": 50},
        "time": {
            **{"first": "2025-03-01T08:00:00Z", "last": "2025-03-03T09:00:00Z", "rows": 116, "unit": "day"},
            "starts": ["2025-03-01T00:00:00Z", "2025-03-03T00:00:00Z"],
            "counts": {"desirable": [20, 10], "undesirable": [40, 46]},
        },
        "sample": {"rows": 120, "share": 1.0},
        "facts": {"pairable": 12},
        "findings": [
            {
                **{"code": "always_up", "severity": "warning", "count": 20, "message": "1 rater only ever voted up."},
                **{"rows": ["data/thumbs.jsonl:5", "data/thumbs.jsonl:9"], "advice": "Look at some."},
            },
            {
                **{"code": "unreadable_rows", "severity": "error", "count": 2, "message": "2 rows cannot be read."},
                **{"rows": ["row-7", "row-8"], "advice": "Mend or remove them."},
            },
            {
                "code": "exact",
                "severity": "note",
                "count": 1,
                "rows": [],
                "message": "1 row is there twice.",
                "advice": "",
            },
        ],
        "advice": {
            **{"method": "kto", "reasons": ["The verdicts are binary."]},
            **{"desirable_weight": 3.5, "undesirable_weight": 1.0},
            "recipe": {"model": {"name_or_path": "my/model"}, "loss": {"name": "kto", "beta": 0.1}},
            "settings": {"loss.beta": "the usual one"},
        },
        **changes,
    }


def read(found: dict[str, Any]) -> Page:
    return Page(render_data_page(found))


def text_of(found: dict[str, Any]) -> str:
    return " ".join(read(found).text.split())


def test_the_page_says_in_plain_words_what_is_in_the_files() -> None:
    text = text_of(inspection())
    assert "120 thumbs, 25% of them up: KTO suits them" in text
    assert "thumbs.jsonl holds 120 thumbs on 60 prompts: 30 desirable and 90 undesirable, both on 12 prompts." in text
    assert "3 raters voted; the busiest gave 75% of the rows, and 4 rows name nobody." in text
    assert "Half of the completions have 40 tokens or less, and nine in ten 80 or less;" in text
    assert "The votes are from 2025-03-01 to 2025-03-03." in text
    assert "2 rows could not be read and are not counted here." in text
    assert "KTO (loss kto). The verdicts are binary." in text


def test_findings_stand_by_severity_with_their_rows_and_what_to_do() -> None:
    text = text_of(inspection())
    assert "1 error, 1 warning and 1 note. Training refuses what is an error" in text
    places = [text.index(message) for message in ("2 rows cannot be read", "1 rater only ever", "1 row is there twice")]
    assert places == sorted(places)
    assert "Mend or remove them. For example row-7, row-8" in text
    assert "Look at some. For example data/thumbs.jsonl, lines 5, 9, …" in text


def test_every_figure_is_there_and_named_for_those_who_cannot_see_it() -> None:
    page = read(inspection())
    titles = ["Label balance", "Length of completions", "Votes over time", "Raters"]
    assert [label.partition(".")[0] for label in page.labels()] == titles
    assert "desirable 105 (54%), undesirable 90 (46%)" in page.labels()[0], "the advised weights make it about even"
    assert "From 2025-03-01 to 2025-03-03: desirable 30, undesirable 86." in page.labels()[2]
    assert "ann: 90 rows (75%), 11% up; bo: 20 rows (17%), 100% up" in page.labels()[3]


def test_max_length_is_marked_where_lengths_are_in_tokens() -> None:
    assert "max_length 64" in render_data_page(inspection())
    assert "guide limit" not in render_data_page(inspection(max_length=2048))
    assert "lies to the right of it" in render_data_page(inspection(max_length=2048))
    in_words = inspection(lengths=inspection()["lengths"] | {"unit": "words"})
    assert "guide limit" not in render_data_page(in_words)
    assert "--model M counts in tokens" in render_data_page(in_words)


def test_the_recipe_can_be_copied_as_it_is() -> None:
    text = render_data_page(inspection())
    copied = re.search(r'<pre class="copy"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert copied is not None
    assert yaml.safe_load(copied[1]) == inspection()["advice"]["recipe"]
    assert "the usual one" in text


def test_pairs_have_no_balance_and_are_called_chosen_and_rejected() -> None:
    found = inspection(kind="paired", advice={"method": "dpo", "reasons": [], "recipe": None})
    page = read(found)
    assert "120 preference pairs: DPO suits them" in page.text
    assert "Chosen upwards, rejected downwards." in page.text
    assert not any(label.startswith("Label balance") for label in page.labels())


def test_the_page_loads_nothing_and_is_well_formed() -> None:
    text = render_data_page(inspection())
    page = Page(text)
    assert not page.open
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert [value for _, name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    assert "http:" not in text and "https:" not in text and "url(" not in text


@pytest.mark.parametrize("key", sorted(inspection()))
def test_whatever_is_absent_is_left_out(key: str) -> None:
    found = inspection()
    del found[key]
    assert not read(found).open
    assert not read({**found, key: None}).open


def test_nothing_at_all_still_gives_a_page() -> None:
    assert "Nothing wrong was found." in text_of({})


def hostile(tree: Any) -> Any:
    """Every text of the tree, and every key below the top, made hostile."""
    if isinstance(tree, dict):
        return {key: hostile(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [hostile(value) for value in tree]
    return f"{HOSTILE}\x00\x1b[31m\u202e\ud800 {tree}" if isinstance(tree, str) else tree


def test_hostile_text_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    found = hostile(inspection()) | {"kind": "unpaired", "sources": {HOSTILE: 3}, HOSTILE: HOSTILE}
    found["findings"] = [{**finding, "severity": "error"} for finding in found["findings"]]
    write_data_page(found, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open and not {"script", "img", "b>"} & set(page.tags)
    assert 'alert("x")' in page.text
    assert not re.search("[\x00\x1b\u202e]", text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(inspection())), JSON)
def test_any_value_in_any_place_still_gives_a_page(key: str, value: Any) -> None:
    assert not read(inspection(**{key: value})).open


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_value_one_level_down_still_gives_a_page(data: st.DataObject) -> None:
    nested = {key: value for key, value in inspection().items() if isinstance(value, dict)}
    key = data.draw(st.sampled_from(sorted(nested)))
    inner = data.draw(st.sampled_from(sorted(nested[key])))
    assert not read(inspection(**{key: nested[key] | {inner: data.draw(JSON)}})).open


def test_thousands_of_days_raters_and_findings_stay_small() -> None:
    starts = [f"{year}-{month:02d}-01T00:00:00Z" for year in range(1700, 2025) for month in range(1, 13)]
    time = {"first": starts[0], "last": starts[-1], "unit": "month", "starts": starts}
    most = [{"rater": f"rater {i} {'x' * 300}", "rows": 5, "desirable": 2} for i in range(2000)]
    finding = inspection()["findings"][0]
    found = inspection(
        time={**time, "counts": {"desirable": [1] * len(starts), "undesirable": [2] * len(starts)}},
        raters={"known": 2000, "rows_without": 0, "most": most[:20]},
        findings=[finding] * 500,
        scripts={f"script {i}": 1 for i in range(3000)},
    )
    text = render_data_page(found)
    assert len(text) < 400_000
    assert text.count("fill desirable") < MAX_COLUMNS + 80
    assert "2980 more" in text


def test_what_the_doctor_finds_becomes_a_page(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q {i % 20}", "completion": "word " * (i % 7 + 1), "label": i % 3 == 0, "rater": f"r{i % 4}"}
        for i in range(120)
    ]
    file = tmp_path / "thumbs.jsonl"
    file.write_text("".join(f"{line}\n" for line in map(json.dumps, rows)))
    page = read(inspect_feedback(file).as_dict())
    assert not page.open
    assert "120 thumbs, 33% of them up" in page.text
    assert {label.partition(".")[0] for label in page.labels()} >= {"Label balance", "Length of completions", "Raters"}


def test_the_shared_feedback_becomes_pages(shared: Path) -> None:
    page = read(inspect_feedback(shared / "data" / "oasst_pairs.jsonl").as_dict())
    assert "212 preference pairs: DPO suits them" in page.text


def test_images_are_shown_as_data_with_words_for_who_does_not_see_them() -> None:
    look = Look(0, 1, "pics/<b>a.png", 1, 640, 480, "png", (), 0, False, False, b"\xff\xd8")
    html = render_data_page({"kind": "unpaired", "rows": 1}, [look, look._replace(verdict=0, name="c.png")])
    assert html.count('<img src="data:image/jpeg;base64,/9g="') == 2
    assert 'alt="pics/&lt;b&gt;a.png, 640 by 480 pixels"' in html and 'alt="c.png, 640 by 480 pixels"' in html
    assert "small copies of some images" in html
    assert "<img" not in render_data_page({"kind": "unpaired", "rows": 1})
