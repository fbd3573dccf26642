"""`prospect data import`: what it writes, what it says, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from prospect.cli.main import main
from prospect.feedback import importers, load_feedback
from prospect.feedback.importers import all_importers

ROWS = [
    {"prompt": "Where?", "completion": "There.", "label": "good", "rater": "anna"},
    {"prompt": "Where?", "completion": "There.", "label": "bad", "rater": "anna"},
    {"prompt": "Where?", "completion": "Here.", "label": "neutral", "rater": "anna"},
    {"prompt": "Where?", "completion": "Nowhere.", "label": "bad", "rater": "bob"},
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key that is long enough")
    monkeypatch.chdir(tmp_path)
    all_importers()
    monkeypatch.setattr(importers, "_REGISTRY", dict(importers._REGISTRY))  # one's own are forgotten after each test
    write("export.jsonl", ROWS)
    return tmp_path


def write(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(*words: str) -> int:
    return main(["data", "import", *words])


def test_the_table_adds_up_on_stderr_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export.jsonl", "-o", "out.jsonl", "--json") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["rows_in"] == report["kept"] + sum(report["dropped"].values()) == 4
    assert (report["kept"], report["undesirable"], report["format"], report["kind"]) == (2, 2, "generic", "unpaired")
    assert len(load_feedback("out.jsonl")) == report["rows_out"] == 2
    assert err.splitlines() == [
        "rows with named columns (generic): found the columns completion, label, prompt, rater",
        "rows in                                                  4",
        "- a later vote of the same rater on the same completion  1",
        "- neutral verdict                                        1  first: export.jsonl:3",
        "kept                                                     2  0 desirable, 2 undesirable, 2 raters",
        "written: out.jsonl",
    ]


def test_a_dry_run_prints_the_table_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name for path in folder.iterdir()}
    assert run("generic", "export.jsonl", "--dry-run", "-o", "out.jsonl") == 0
    assert {path.name for path in folder.iterdir()} == before
    assert "kept " in capsys.readouterr().err


def test_options_reach_the_import(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"q": "Hi, I am anna@example.org", "a": {"text": "Hello"}, "stars": "five", "fix": "Good day", "who": "anna"}
    write("other.jsonl", [row, row | {"stars": "none"}])
    words = ["--map", "prompt=q", "completion=a.text", "correction=fix", "rater=who", "--label-key", "stars"]
    words += ["--label-map", "{five: true, none: null}", "--corrections", "--redact", "--keep-rater-names"]
    assert run("other.jsonl", "-o", "out.jsonl", *words) == 0
    assert "redacted: 1 " in capsys.readouterr().err
    rows = load_feedback("out.jsonl")
    assert [(row.completion, row.rater) for row in rows] == [("Good day", "anna")]


def test_relative_and_kind_reach_the_import() -> None:
    write("mixed.jsonl", [ROWS[0] | {"relative": True}, ROWS[3], {"prompt": "p", "chosen": "a", "rejected": "b"}])
    assert run("mixed.jsonl", "-o", "out.jsonl") == 1
    assert run("mixed.jsonl", "-o", "out.jsonl", "--kind", "paired") == 0
    assert [row.kind for row in load_feedback("out.jsonl")] == ["paired"]
    assert run("mixed.jsonl", "-o", "out.jsonl", "--kind", "unpaired", "--relative", "drop") == 0
    assert len(load_feedback("out.jsonl")) == 1


def test_globs_name_several_files(capsys: pytest.CaptureFixture[str]) -> None:
    write("export-2.jsonl", ROWS[3:])
    assert run("export*.jsonl", "-o", "out.jsonl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["export-2.jsonl", "export.jsonl"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["export.jsonl"], 2, "UsageError: -o OUT.jsonl"),
        (["generic", "-o", "out.jsonl"], 2, "UsageError: generic is a format; name the files"),
        (["openwebui", "export.jsonl", "-o", "out.jsonl"], 2, 'Did you mean "open-webui"?'),
        (["missing.jsonl", "-o", "out.jsonl"], 1, "DataError: missing.jsonl: no such file"),
        (["missing*.jsonl", "-o", "out.jsonl"], 1, "DataError: missing*.jsonl: no file matches"),
        (["export.jsonl", "-o", "export.jsonl"], 2, "UsageError: export.jsonl: is one of the files to import"),
        (["export.jsonl", "-o", "out.jsonl", "--map", "prompt"], 2, "UsageError: --map prompt: expected FIELD=COLUMN"),
        (["export.jsonl", "-o", "out.jsonl", "--map", "id=a", "id=b"], 2, "UsageError: --map id=b: id is there twice"),
        (["gradio", "export.jsonl", "-o", "out.jsonl"], 1, "DataError: export.jsonl: is no CSV file"),
        (["export.jsonl", "-o", "out.jsonl", "--label-map", "{good: null, bad: null}"], 1, "none of the 4 rows"),
        (["export.jsonl", "-o", "out.jsonl", "--label-map", "{good: maybe}"], 2, 'UsageError: label map: "good" is'),
    ],
)
def test_wrong_usage_and_unusable_files_end_with_a_message_and_a_code(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == code
    assert message in capsys.readouterr().err
    assert not Path("out.jsonl").exists()


def test_an_undeclared_verdict_ends_the_import_with_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    write("export.jsonl", [*ROWS, ROWS[0] | {"label": "meh"}])
    assert run("export.jsonl", "-o", "out.jsonl") == 1
    assert 'export.jsonl:5: the verdict is "meh"' in capsys.readouterr().err


def test_the_message_of_an_unknown_format_lists_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nothing", "export.jsonl", "--dry-run") == 2
    err = capsys.readouterr().err
    assert all(importer.name in err for importer in all_importers())


OWN = """
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import Vote
from prospect.feedback.importers.shapes.reading import each_row

@importer("own", title="My own", recognises=lambda samples: False, polarity={"yes": True, "no": False})
def own(paths, options):
    return each_row(paths, lambda where, row: [Vote(where=where, prompt="p", completion=row["c"], verdict=row["v"])])
"""


@pytest.mark.parametrize("words", [["--format", "own.py:own", "votes.jsonl"], ["own.py:own", "votes.jsonl"]])
def test_an_importer_of_ones_own_is_named_by_its_file(words: list[str], own_importers: None) -> None:
    Path("own.py").write_text(OWN)
    write("votes.jsonl", [{"c": "There.", "v": "yes"}, {"c": "Here.", "v": "no"}])
    assert run(*words, "-o", "out.jsonl") == 0
    assert [(row.completion, row.source) for row in load_feedback("out.jsonl")] == [("There.", "own"), ("Here.", "own")]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gone.py:own", "there is no such file"),
        ("own.py:nothing", '"nothing" in .* is nothing; expected a function under @importer'),
        ("own.py:Vote", "is type; expected a function under @importer"),
        ("taken.py:own", 'an importer named "halos" exists already'),
        ("broken.py:own", "importing .* failed: SyntaxError"),
    ],
)
def test_what_is_no_importer_of_ones_own_is_refused(
    address: str, message: str, own_importers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in {"own": OWN, "taken": OWN.replace('"own"', '"halos"'), "broken": "def"}.items():
        Path(f"{name}.py").write_text(content)
    assert run("export.jsonl", "--format", address, "-o", "out.jsonl") == 2
    assert re.search(message, capsys.readouterr().err)
