"""Where feedback comes from: files in every format, globs, lists, the hub; and what cannot be read."""

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from prospect.errors import DataError
from prospect.feedback import (
    Demonstration,
    Message,
    Paired,
    Scored,
    Unpaired,
    iter_feedback,
    load_feedback,
    write_jsonl,
)

ROW = {"prompt": "Hi", "completion": " there", "label": True}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def refusal(source: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load_feedback(source, **options)
    return str(caught.value)


def test_a_jsonl_row_becomes_a_record_with_its_place_as_id(tmp_path):
    path = write(tmp_path / "f.jsonl", ROW, ROW)
    assert load_feedback(path)[1] == Unpaired(
        prompt="Hi", completion=" there", desirable=True, id="f.jsonl:2", where=f"{path}:2"
    )


def test_blank_lines_count_as_lines_but_not_as_rows(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(f"\n{json.dumps(ROW)}\r\n  \n\n{json.dumps(ROW)}")
    assert [row.id for row in load_feedback(path)] == ["f.jsonl:2", "f.jsonl:5"]


def test_other_unicode_line_separators_do_not_end_a_line(tmp_path):
    path = write(tmp_path / "f.jsonl", {**ROW, "prompt": "a\u2028b\x85c"})
    assert load_feedback(path)[0].prompt == "a\u2028b\x85c"


@pytest.mark.parametrize("name", ["f.jsonl", "f.ndjson", "f.json", "F.JSONL"])
def test_a_byte_order_mark_is_not_part_of_the_first_row(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\n")
    assert load_feedback(path)[0].prompt == "Hi"


@pytest.mark.parametrize(
    "text", [json.dumps([ROW, ROW]), json.dumps([ROW, ROW], indent=2), f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n"]
)
def test_a_json_file_is_an_array_or_one_object_per_line(tmp_path, text):
    path = tmp_path / "f.json"
    path.write_text(text)
    rows = load_feedback(path)
    assert [row.prompt for row in rows] == ["Hi", "Hi"]
    assert len({row.id for row in rows}) == 2


def test_a_json_array_names_its_rows_by_number(tmp_path):
    path = tmp_path / "f.json"
    path.write_text(json.dumps([ROW, {**ROW, "label": "meh"}]))
    assert refusal(path).startswith(f'{path}:row 2: label is "meh"')


def test_parquet_reads_like_json(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    turns = [{"role": "user", "content": "Hi", "name": None}]
    path = tmp_path / "f.parquet"
    table = pa.Table.from_pylist([{"prompt": turns, "completion": "Hello", "label": 1, "weight": None}] * 1500)
    pyarrow.parquet.write_table(table, path)
    rows = load_feedback(path)
    assert len(rows) == 1500
    assert rows[-1] == Unpaired(
        prompt=(Message("user", "Hi"),),
        completion=(Message("assistant", "Hello"),),
        desirable=True,
        id="f.parquet:row 1500",
        where=f"{path}:row 1500",
    )


def test_a_broken_parquet_file_is_refused(tmp_path):
    path = tmp_path / "f.parquet"
    path.write_bytes(b"not parquet at all")
    assert refusal(path).startswith(f"{path}: is not a readable Parquet file")


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path = tmp_path / "f.parquet"
    pyarrow.parquet.write_table(pa.table({"prompt": pa.array([], pa.string())}), path)
    assert "there are no rows; expected at least one row" in refusal(path)


# CSV


def test_csv_cells_take_the_types_json_would_have(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(
        "prompt,completion,label,weight,score,id,rater,finished,tools,other\n"
        '"a, ""b""\nc",x,True,0.5,2,7,ann,False,"[{""name"": ""f""}]",z\n'
        ",,-1,,,,,,,\n"
    )
    first, second = load_feedback(path)
    assert (first.prompt, first.desirable, first.weight, first.score) == ('a, "b"\nc', True, 0.5, 2.0)
    assert (first.id, first.rater, first.finished, first.tools) == ("7", "ann", False, ({"name": "f"},))
    assert second == Unpaired(prompt="", completion="", desirable=False, id="f.csv:4", where=f"{path}:4")


def test_tsv_is_separated_by_tabs(tmp_path):
    path = tmp_path / "f.tsv"
    path.write_text("prompt\tcompletion\tlabel\na, b\tc\t1\n")
    assert load_feedback(path)[0].prompt == "a, b"


def test_csv_cells_with_json_messages_are_conversations(tmp_path):
    path = tmp_path / "f.csv"
    cell = json.dumps([{"role": "user", "content": 'say "hi", twice'}]).replace('"', '""')
    path.write_text(f'prompt,completion,label\n"{cell}",hi hi,1\n"[{{not messages",x,0\n"[{{""a"": 1}}]",x,0\n')
    rows = load_feedback(path)
    assert rows[0].prompt == (Message("user", 'say "hi", twice'),)
    assert rows[0].completion == (Message("assistant", "hi hi"),)
    assert [row.prompt for row in rows[1:]] == ["[{not messages", '[{"a": 1}]']


def test_csv_cells_with_json_lists_are_scored_completions(tmp_path):
    path = tmp_path / "f.csv"
    rows = [["prompt", "completions", "scores"], ["a", json.dumps(["b", 'c "d"']), "[1, 0.5]"]]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    (row,) = load_feedback(path)
    assert (type(row), row.completions, row.scores) == (Scored, ("b", 'c "d"'), (1.0, 0.5))


def test_a_csv_cell_longer_than_the_csv_modules_limit_is_read(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(f"prompt,completion,label\n{'x' * 200_000},y,1\n")
    assert len(load_feedback(path)[0].prompt) == 200_000


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("prompt,completion,label\na,b\n", [":2: the row has 2 cells; expected 3", "Quote cells"]),
        ("prompt,completion,label\na,b,1,c\n", [":2: the row has 4 cells; expected 3"]),
        ("prompt,completion,label\na,b,\n", [":2: label is empty; expected true/false", "Give the row a label"]),
        ('prompt,completion,label\na,"b\nc,d,1\n', [":2: broken CSV", "double the quotes"]),
        ("prompt,prompt,label\na,b,1\n", [":1: two columns are named prompt", "Rename"]),
        ("prompt;completion;label\na;b;1\n", [':1: the columns are separated by ";"; expected ","', "Use commas"]),
        ("prompt\tcompletion\n", [r':1: the columns are separated by "\t"; expected ","']),
        ("prompt,completion,label\n", [": there are no rows; expected at least one row"]),
        ("prompt,completion,label,weight\na,b,1,nan\n", [":2: weight is a number (NaN)", "finite number, at least 0"]),
        ("prompt,completion,label,weight\na,b,1,much\n", [':2: weight is a string ("much"); expected a finite']),
        (
            "prompt,completion,label,finished\na,b,1,maybe\n",
            [':2: finished is a string ("maybe")', "expected true or false"],
        ),
        (
            "messages\n\"[{'role': 'user', 'content': 'x'}]\"\n",
            [":2: messages looks like a list of messages but is not JSON", "json.dumps"],
        ),
    ],
)
def test_bad_csv_is_refused_with_its_line(tmp_path, text, parts):
    path = tmp_path / "f.csv"
    path.write_text(text)
    message = refusal(path)
    assert message.startswith(f"{path}{parts[0]}"), message
    for part in parts[1:]:
        assert part in message


# What cannot be read


@pytest.mark.parametrize("name", ["f.jsonl", "f.json", "f.csv"])
def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(json.dumps(ROW).encode() + b'\n{"prompt": "caf\xe9"}\n')
    assert refusal(path).startswith(f"{path}:2: byte 16 of the line is 0xe9; expected UTF-8. Save")


def test_broken_json_is_refused_with_line_and_column(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(ROW) + '\n{"prompt": "a" "completion": "b"}\n')
    message = refusal(path)
    assert message.startswith(f"{path}:2: broken JSON at column 16: Expecting ',' delimiter; expected whole")
    assert "Mend or remove it" in message


def test_a_line_that_was_cut_is_refused_on_its_own_line(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"prompt": \n')
    assert refusal(path).startswith(f"{path}:1: broken JSON at column 11: ")


def test_a_broken_json_array_is_refused_with_line_and_column(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('[\n  {"prompt": "a",}\n]')
    assert f"{path}:2: broken JSON at column " in refusal(path)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"prompt": ' + "9" * 5000 + "}"])
def test_json_beyond_the_parsers_limits_is_a_data_error(tmp_path, line):
    for name in ("f.jsonl", "f.json"):
        path = tmp_path / name
        path.write_text(line)
        assert refusal(path).startswith(f"{path}:1: broken JSON at column ")


@pytest.mark.parametrize(
    ("line", "found"),
    [("[1]", "a list"), ('"x"', "a string"), ("5", "a number"), ("null", "null"), ("true", "true/false")],
)
def test_a_row_that_is_no_object_is_refused(tmp_path, line, found):
    path = tmp_path / "f.jsonl"
    path.write_text(line + "\n")
    message = refusal(path)
    assert message.startswith(f"{path}:1: the row is {found}; expected an object with named columns.")
    assert ("under the name .json" in message) == (found == "a list")


@pytest.mark.parametrize("name", ["f.jsonl", "f.json", "f.csv", "f.tsv"])
def test_an_empty_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.touch()
    assert refusal(path).startswith(f"{path}: the file is empty; expected at least one row of feedback")


@pytest.mark.parametrize(("name", "text"), [("f.jsonl", "\n \n"), ("f.json", "[]")])
def test_a_file_without_rows_is_refused(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert refusal(path).startswith(f"{path}: there are no rows; expected at least one row of feedback")


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path):
    write(tmp_path / "train.jsonl", ROW)
    path = tmp_path / "trian.jsonl"
    assert refusal(str(path)) == f'{path}: no such file. Did you mean "{tmp_path / "train.jsonl"}"?'


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "nowhere" / "f.jsonl"
    assert f"{path}: no such file. There is no folder {path.parent} either" in refusal(path)


def test_a_folder_is_refused_with_a_glob_to_use(tmp_path):
    message = refusal(tmp_path)
    assert message == f'{tmp_path}: is a folder; expected files. Name them, with a glob: "{tmp_path}/*.jsonl"'


def test_an_unknown_suffix_is_refused(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("x")
    message = refusal(path)
    assert message.startswith(f"{path}: the name ends in .txt; expected .jsonl, .ndjson, .json, .csv, .tsv or .parquet")


# Globs, lists, the hub


def test_a_glob_reads_its_files_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "b.jsonl", {**ROW, "prompt": "b"})
    write(tmp_path / "a.jsonl", {**ROW, "prompt": "a"})
    (tmp_path / "c.jsonl").mkdir()
    assert [row.prompt for row in load_feedback(str(tmp_path / "*.jsonl"))] == ["a", "b"]


def test_a_file_whose_name_looks_like_a_glob_wins(tmp_path):
    path = write(tmp_path / "f[1].jsonl", ROW)
    assert len(load_feedback(str(path))) == 1


def test_a_glob_that_matches_nothing_is_refused(tmp_path):
    assert f"{tmp_path}/*.jsonl: no file matches" in refusal(f"{tmp_path}/*.jsonl")


def test_a_list_of_sources_is_read_in_its_order_and_may_mix_kinds(tmp_path):
    unpaired = write(tmp_path / "u.jsonl", ROW)
    pairs = write(tmp_path / "p.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"})
    assert [type(row) for row in load_feedback([pairs, str(unpaired)])] == [Paired, Unpaired]


def test_an_empty_list_of_sources_is_refused():
    assert "the list of feedback sources is empty; expected a file" in refusal([])


def test_iter_feedback_finds_files_at_once_and_reads_them_lazily(tmp_path):
    path = write(tmp_path / "f.jsonl", ROW, "not an object")
    rows = iter_feedback(path)
    assert next(rows).prompt == "Hi"
    with pytest.raises(DataError, match=r"f\.jsonl:2: the row is a string"):
        next(rows)
    with pytest.raises(DataError, match="no such file"):
        iter_feedback(tmp_path / "absent.jsonl")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for `datasets` that serves one dataset and notes what it is asked for."""
    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        if name != "owner/name":
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub or cannot be accessed.\nmore")
        return [{**ROW, "weight": None}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("owner/name", ("owner/name", "train")),
        ("owner/name:test", ("owner/name", "test")),
        ("owner/name:train[:10%]", ("owner/name", "train[:10%]")),
    ],
)
def test_a_hub_dataset_is_read_by_name_and_split(hub, source, asked):
    rows = load_feedback(source)
    assert hub == [asked]
    assert rows[0].id == rows[0].where == f"owner/name:{asked[1]}:row 1"


def test_a_local_file_of_a_hub_name_wins(hub, tmp_path):
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name").write_text("x")
    assert "the name ends in no suffix" in refusal("owner/name")
    assert hub == []


@pytest.mark.parametrize(
    "source",
    ["data/train.jsonl", "./owner/name", "/owner/name", "~/owner/name", "a/b/c", "name", "data/x.PARQUET", Path("a/b")],
)
def test_what_looks_like_a_path_is_a_missing_file_not_a_hub_name(hub, source):
    assert f"{source}: no such file" in refusal(source)
    assert hub == []


def test_a_hub_dataset_that_cannot_be_read_gives_its_reason(hub):
    message = refusal("owner/nome:test")
    assert message.startswith("owner/nome: hub dataset, split test, cannot be read: Dataset 'owner/nome' doesn't exist")
    assert "Check the name and the split" in message
    assert "more" not in message


# The ecosystem's layouts and the real data, read in place

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not on this machine")


@needs_shared
@pytest.mark.parametrize(
    ("name", "kind", "conversational"),
    [
        ("conversational_implicit_prompt_preference", Paired, True),
        ("conversational_language_modeling", Demonstration, True),
        ("conversational_preference", Paired, True),
        ("conversational_prompt_completion", Demonstration, True),
        ("conversational_unpaired_preference", Unpaired, True),
        ("standard_implicit_prompt_preference", Paired, False),
        ("standard_language_modeling", Demonstration, False),
        ("standard_preference", Paired, False),
        ("standard_prompt_completion", Demonstration, False),
        ("standard_unpaired_preference", Unpaired, False),
    ],
)
def test_every_layout_of_the_ecosystem_loads(name, kind, conversational):
    rows = load_feedback(SHARED / "formats" / f"{name}.jsonl")
    assert len(rows) == 17
    assert {type(row) for row in rows} == {kind}
    assert all(isinstance(row.prompt, tuple if conversational else str) for row in rows)


@needs_shared
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("conversational_prompt_only", "the row is a prompt only; nobody has answered it"),
        ("standard_prompt_only", "the row is a prompt only; nobody has answered it"),
        ("standard_stepwise_supervision", "stepwise supervision, one label per step; expected one label for a whole"),
    ],
)
def test_layouts_without_a_verdict_on_a_whole_completion_are_refused(name, why):
    path = SHARED / "formats" / f"{name}.jsonl"
    assert refusal(path).startswith(f"{path}:1: ")
    assert why in refusal(path)


@needs_shared
def test_the_shared_prompt_of_an_implicit_pair_is_what_a_person_would_split_off():
    implicit = load_feedback(SHARED / "formats" / "standard_implicit_prompt_preference.jsonl")
    explicit = load_feedback(SHARED / "formats" / "standard_preference.jsonl")
    assert (implicit[0].prompt, implicit[0].chosen, implicit[0].rejected) == (
        "Beautiful is better than",
        " ugly.",
        " the moon.",
    )
    for ours, theirs in zip(implicit, explicit, strict=True):
        assert ours.prompt + ours.chosen == theirs.prompt + theirs.chosen
        assert ours.prompt.startswith(theirs.prompt), "their authors split at a word too, some of them earlier"


@needs_shared
@pytest.mark.parametrize(
    ("name", "rows", "desirable"),
    [
        ("stories_sentiment", 2000, 996),
        ("stories_sentiment_pairs", 991, None),
        ("stories_real", 2000, 1000),
        ("gsm8k_solutions", 5276, 2001),
        ("kto_mix_300", 300, 150),
        ("oasst_pairs", 212, None),
    ],
)
def test_the_real_data_loads_whole(name, rows, desirable):
    records = load_feedback(SHARED / f"{name}.jsonl")
    assert len(records) == rows
    if desirable is not None:
        assert sum(record.desirable for record in records) == desirable


def test_nulls_that_arrow_fills_into_objects_are_left_out_and_those_in_json_stay(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    def row(name, arguments, properties):
        call = {"function": {"name": name, "arguments": arguments}}
        tool = {"name": name, "parameters": {"properties": properties}}
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
        return {"messages": turns, "tools": [tool], "label": True, "weight": None}

    rows = [
        row("order", {"number": 1}, {"number": {"type": "string"}}),
        row("weather", {"city": "Ulm", "days": [1, 2]}, {"city": {"type": "string", "enum": ["Ulm"]}}),
        row("ping", {}, {}),
    ]
    path = tmp_path / "f.parquet"
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    read = load_feedback(path)
    write(tmp_path / "f.jsonl", *rows)
    for one, written in zip(read, load_feedback(tmp_path / "f.jsonl"), strict=True):
        assert (one.prompt, one.completion, one.tools) == (written.prompt, written.completion, written.tools)
    assert write_jsonl(read, tmp_path / "again.jsonl") == 3 and b"null" not in (tmp_path / "again.jsonl").read_bytes()
    rows[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]["unit"] = None
    write(tmp_path / "f.jsonl", *rows)
    call = load_feedback(tmp_path / "f.jsonl")[0].completion[0].extra["tool_calls"][0]
    assert call["function"]["arguments"] == {"number": 1, "unit": None}


def test_a_turn_of_tool_calls_alone_keeps_them(tmp_path):
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "ping", "arguments": {}}}]}
    write(tmp_path / "f.jsonl", {"prompt": "Hi", "completion": [turn], "label": True})
    assert load_feedback(tmp_path / "f.jsonl")[0].completion == (
        Message("assistant", "", {"tool_calls": turn["tool_calls"]}),
    )
