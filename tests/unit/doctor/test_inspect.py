"""The data doctor as a whole: what it returns, from every format, however the files are cut."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import REPOSITORY, make_tokenizer
from prospect.data.token_counter import TokenCounter
from prospect.errors import DataError, UsageError
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.doctor.checks import gather as gathering
from prospect.feedback.doctor.checks import reading
from prospect.feedback.doctor.inspect import inspect_feedback

ROWS: list[dict[str, Any]] = [
    {
        "prompt": f"Where is parcel {i % 50}?",
        "completion": f"It left house {i} on day {i % 7}." + " Really." * (i % 5),
        "label": i % 3 > 0,
        "rater": f"r{i % 4}",
        "time": 1_700_000_000 + 3600 * i,
        "model": "m",
        "source": "app",
        "score": float(i % 2),
    }
    for i in range(150)
]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_it_says_what_is_in_a_file(tmp_path: Path) -> None:
    found = inspect_feedback(write(tmp_path / "a.jsonl")).as_dict()
    assert {name: found[name] for name in ("kind", "rows", "prompts", "desirable", "undesirable")} == {
        "kind": "unpaired",
        "rows": 150,
        "prompts": 50,
        "desirable": 100,
        "undesirable": 50,
    }
    assert found["files"] == [{"name": "a.jsonl", "kind": "unpaired", "rows": 150, "unreadable": 0, "broken": None}]
    assert found["facts"]["pairable"] == 50
    assert found["facts"]["scores"] == 150
    assert found["raters"]["known"] == 4
    assert found["raters"]["most"][0] == {"rater": "r0", "rows": 38, "desirable": 25}
    assert (found["models"], found["sources"]) == ({"m": 150}, {"app": 150})
    assert found["turns"] == {"2": 150}
    assert found["scripts"] == {"latin": 150}
    assert found["time"]["first"] == "2023-11-14T22:13:20Z"
    assert found["time"]["unit"] == "day"
    assert sum(found["time"]["counts"]["desirable"]) == 100
    assert found["max_length"] == 2048
    assert found["advice"]["method"] in ("kto", "collect")
    for finding in found["findings"]:
        assert set(finding) == {"code", "severity", "count", "rows", "message", "advice"}


def test_lengths_are_those_of_the_completions(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "completion": "one two three", "label": True},
        {"prompt": "p", "completion": "one", "label": False},
        {"prompt": "q", "completion": "日本語です", "label": False},
    ]
    lengths = inspect_feedback(write(tmp_path / "a.jsonl", rows)).as_dict()["lengths"]
    assert lengths["unit"] == "words"
    assert lengths["completion"]["desirable"]["mean"] == 3
    # Signs of scripts without spaces are counted one by one, beside the one run of letters that they are.
    assert lengths["completion"]["undesirable"]["max"] == 6
    histogram = lengths["histogram"]
    assert sum(histogram["counts"]["undesirable"]) == 2
    assert len(histogram["edges"]) == len(histogram["counts"]["desirable"]) + 1


@pytest.mark.parametrize("suffix", [".json", ".csv", ".tsv", ".parquet"])
def test_every_format_says_the_same(tmp_path: Path, suffix: str) -> None:
    expected = inspect_feedback(write(tmp_path / "a.jsonl")).as_dict()
    found = inspect_feedback(write(tmp_path / f"a{suffix}")).as_dict()
    for one in (expected, found):
        one["files"] = one["advice"]["recipe"] = None
        for finding in one["findings"]:
            finding["rows"] = []  # lines of a CSV count from its heading
    assert found == expected


def test_a_file_read_by_two_processes_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", [*ROWS, ROWS[3], {"prompt": 1}])  # type: ignore[list-item]
    expected = inspect_feedback(path).as_dict()
    monkeypatch.setattr(reading, "PIECE_BYTES", 7000)
    monkeypatch.setattr(gathering, "_WORTH_A_PROCESS", 0)
    assert inspect_feedback(path, processes=2).as_dict() == expected


def test_rows_that_cannot_be_read_are_counted_by_reason_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    with path.open("ab") as file:
        file.write(b'{"prompt": "p", "completion": "c", "label": "good"}\n\n{oops\n\xff\n[1]\n')
        file.write(b'{"prompt": "p", "completion": "c", "label": "good"}\n' * 9)
    found = inspect_feedback(path)
    assert found.has_errors
    assert found.facts.rows == 150
    unreadable = found.as_dict()["unreadable"]
    assert unreadable["rows"] == 13
    assert [(entry["count"], entry["rows"][0]) for entry in unreadable["reasons"]] == [
        (10, "a.jsonl:151"),
        (1, "a.jsonl:153"),
        (1, "a.jsonl:154"),
        (1, "a.jsonl:155"),
    ]
    first = found.findings[0]
    assert (first.code, first.severity, first.count) == ("unreadable_rows", "error", 10)
    assert 'label is "good"' in first.message
    assert "{good: true}" in first.advice


def test_a_file_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\x89PNG\r\n\x1a\n" * 3)
    with pytest.raises(DataError, match=r"not one of .* rows can be read"):
        inspect_feedback(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(DataError, match=r"b\.jsonl: there are no rows"):
        inspect_feedback(tmp_path / "b.jsonl")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"c\.parquet: is not a readable Parquet file"):
        inspect_feedback(tmp_path / "c.parquet")


def test_a_broken_file_beside_a_good_one_is_a_finding(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    found = inspect_feedback([tmp_path / "a.jsonl", tmp_path / "b.parquet"])
    assert (found.findings[0].code, found.findings[0].rows) == ("unreadable_file", ("b.parquet",))
    assert found.facts.rows == 150


def test_a_json_list_that_breaks_off_keeps_the_rows_before(tmp_path: Path) -> None:
    text = json.dumps(ROWS)
    (tmp_path / "a.json").write_text(text[: text.index("parcel 30")])
    found = inspect_feedback(tmp_path / "a.json")
    assert found.facts.rows == 30
    assert found.findings[0].rows == ("a.json:31",)


def test_one_bad_line_of_a_csv_costs_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'prompt,completion,label\np,c,1\np,c\n"p",\xff,1\np,"c""d",0\np,"x" y,1\np,c,1\n')
    found = inspect_feedback(tmp_path / "a.csv").as_dict()
    assert (found["rows"], found["unreadable"]["rows"]) == (3, 3)


def test_files_of_two_kinds_are_told_apart(tmp_path: Path) -> None:
    pairs = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(10)]
    found = inspect_feedback([write(tmp_path / "a.jsonl", pairs), write(tmp_path / "b.jsonl")])
    assert found.facts.kind == "unpaired"
    assert found.as_dict()["other_kinds"] == {"paired": 10}
    assert {finding.code for finding in found.findings} >= {"several_kinds"}


def test_a_sample_is_named_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "prompt": f"p{i}", "completion": "write to jo.doe@example.com"} for i, row in enumerate(ROWS)]
    monkeypatch.setattr(gathering, "SAMPLE", 50)
    found = inspect_feedback(write(tmp_path / "a.jsonl", rows))
    (personal,) = (finding for finding in found.findings if finding.code == "personal_data")
    assert 0 < personal.count < 120
    assert f"in a sample of {personal.count} of 150 rows" in personal.message


def counted(tokenizer: Any, **rendering: Any) -> dict[str, Any]:
    return {"model": "some/model", "counter": TokenCounter(tokenizer, Rendering(**rendering))}


def test_conversations_are_held_against_the_chat_template(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    talk = [
        {
            "messages": [{"role": "user", "content": f"Hello {i}"}, {"role": "assistant", "content": "Hi!"}],
            "label": i % 2,
        }
        for i in range(40)
    ]
    found = inspect_feedback(write(tmp_path / "a.jsonl", talk), **counted(tokenizer), max_length=8)
    codes = {finding.code: finding for finding in found.findings}
    assert found.as_dict()["lengths"]["unit"] == "tokens"
    assert not {"template_prefix", "template_failed"} & set(codes)
    assert codes["prompts_too_long"].count == 40
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
    tokenizer.chat_template = template
    found = inspect_feedback(tmp_path / "a.jsonl", **counted(tokenizer))
    codes = {finding.code: finding for finding in found.findings}
    assert (codes["template_prefix"].severity, codes["template_prefix"].count) == ("error", 40)


def test_plain_rows_for_a_model_that_chats_are_a_finding_that_names_the_key(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    path = write(tmp_path / "a.jsonl")

    def plain(**options: Any) -> list[Any]:
        found = inspect_feedback(path, **counted(tokenizer, **options)).findings
        return [finding for finding in found if finding.code == "plain_rows"]

    (finding,) = plain()
    assert finding.severity == "warning" and "data.plain_as_chat: true" in finding.advice
    assert not plain(plain_as_chat=True)
    tokenizer.chat_template = None
    assert not plain()


def test_max_length_is_the_models_context_at_most_2048(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.save_pretrained(tmp_path / "model")
    path = write(tmp_path / "a.jsonl")
    for context, expected in ((256, 256), (100_000, 2048), ("many", 2048)):
        (tmp_path / "model" / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
        assert inspect_feedback(path, model=tmp_path / "model").as_dict()["max_length"] == expected
    with pytest.raises(UsageError, match="max_length is 1"):
        inspect_feedback(path, max_length=1)


def test_neither_torch_nor_transformers_can_be_imported_on_this_path(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    script = f"""
import sys
from importlib.machinery import ModuleSpec

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "datasets", "peft"):
            return ModuleSpec(name, self)  # to look whether it is installed is no import

    def create_module(self, spec):
        raise ImportError(f"{{spec.name}} is blocked")

    exec_module = create_module

sys.meta_path.insert(0, Blocked())
from prospect.cli.main import main
sys.exit(main(["data", "inspect", {str(path)!r}, "--eval", {str(path)!r}, "--json"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 150


def test_every_finding_is_on_the_page_of_the_doctor() -> None:
    page = (REPOSITORY / "docs" / "data-doctor.md").read_text(encoding="utf-8")
    checks = (REPOSITORY / "src" / "prospect" / "feedback" / "doctor" / "checks").glob("*.py")
    code = re.compile(r'(?:case\.finding\(\s*|code=)f?"(\w+)')
    codes = {name for path in checks for name in code.findall(path.read_text(encoding="utf-8"))}
    assert len(codes) > 30
    assert not {name for name in codes if f"`{name}" not in page}
