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


# What cannot be read

LINE = json.dumps(ROW)


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("f.csv", "prompt,completion,label\na,b\n", [":2: the row has 2 cells; expected 3", "Quote cells"]),
        ("f.csv", "prompt,completion,label\na,b,1,c\n", [":2: the row has 4 cells; expected 3"]),
        (
            "f.csv",
            "prompt,completion,label\na,b,\n",
            [":2: label is empty; expected true/false", "Give the row a label"],
        ),
        ("f.csv", 'prompt,completion,label\na,"b\nc,d,1\n', [":2: broken CSV", "double the quotes"]),
        ("f.csv", "prompt,prompt,label\na,b,1\n", [":1: two columns are named prompt", "Rename"]),
        (
            "f.csv",
            "prompt;completion;label\na;b;1\n",
            [':1: the columns are separated by ";"; expected ","', "Use commas"],
        ),
        ("f.csv", "prompt\tcompletion\n", [r':1: the columns are separated by "\t"; expected ","']),
        ("f.csv", "prompt,completion,label\n", [": there are no rows; expected at least one row"]),
        (
            "f.csv",
            "prompt,completion,label,weight\na,b,1,nan\n",
            [":2: weight is a number (NaN)", "finite number, at least 0"],
        ),
        (
            "f.csv",
            "prompt,completion,label,weight\na,b,1,much\n",
            [':2: weight is a string ("much"); expected a finite'],
        ),
        (
            "f.csv",
            "prompt,completion,label,finished\na,b,1,maybe\n",
            [':2: finished is a string ("maybe")', "expected true or false"],
        ),
        (
            "f.csv",
            "messages\n\"[{'role': 'user', 'content': 'x'}]\"\n",
            [":2: messages looks like a list of messages but is not JSON", "json.dumps"],
        ),
        *[
            (name, f'{LINE}\n{{"prompt": "caf\xe9"}}\n', [":2: byte 16 of the line is 0xe9; expected UTF-8. Save"])
            for name in ("f.jsonl", "f.json", "f.csv")
        ],
        (
            "f.jsonl",
            f'{LINE}\n{{"prompt": "a" "completion": "b"}}\n',
            [":2: broken JSON at column 16: Expecting ',' delimiter; expected whole", "Mend or remove it"],
        ),
        ("f.jsonl", '{"prompt": \n', [":1: broken JSON at column 11: "]),
        ("f.json", '[\n  {"prompt": "a",}\n]', [":2: broken JSON at column "]),
        ("f.json", json.dumps([ROW, {**ROW, "label": "meh"}]), [':row 2: label is "meh"']),
        *[
            (name, text, [":1: broken JSON at column "])
            for name in ("f.jsonl", "f.json")
            for text in ("[" * 100_000, '{"prompt": ' + "9" * 5000 + "}")
        ],
        ("f.jsonl", "[1]\n", [":1: the row is a list; expected an object with named columns.", "under the name .json"]),
        *[
            ("f.jsonl", f"{text}\n", [f":1: the row is {found}; expected an object with named columns."])
            for text, found in {'"x"': "a string", "5": "a number", "null": "null", "true": "true/false"}.items()
        ],
        *[
            (f"f.{suffix}", "", [": the file is empty; expected at least one row of feedback"])
            for suffix in ("jsonl", "json", "csv", "tsv")
        ],
        ("f.jsonl", "\n \n", [": there are no rows; expected at least one row of feedback"]),
        ("f.json", "[]", [": there are no rows; expected at least one row of feedback"]),
        ("f.parquet", "not parquet at all", [": is not a readable Parquet file"]),
        ("f.txt", "x", [": the name ends in .txt; expected .jsonl, .ndjson, .json, .csv, .tsv, .parquet or .sqlite"]),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(tmp_path, name, text, parts):
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    message = refusal(path)
    assert message.startswith(f"{path}{parts[0]}"), message
    assert [part for part in parts[1:] if part not in message] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian.jsonl", '{0}/trian.jsonl: no such file. Did you mean "{0}/train.jsonl"?'),
        ("nowhere/f.jsonl", "{0}/nowhere/f.jsonl: no such file. There is no folder {0}/nowhere either"),
        ("", '{0}: is a folder; expected files. Name them, with a glob: "{0}/*.jsonl"'),
        ("*.json", "{0}/*.json: no file matches"),
    ],
)
def test_a_name_of_no_file_is_refused_with_what_was_meant(tmp_path, name, message):
    write(tmp_path / "train.jsonl", ROW)
    assert refusal(f"{tmp_path}/{name}".rstrip("/")).startswith(message.format(tmp_path))


# Globs, lists, the hub


def test_a_glob_reads_its_files_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "b.jsonl", {**ROW, "prompt": "b"})
    write(tmp_path / "a.jsonl", {**ROW, "prompt": "a"})
    (tmp_path / "c.jsonl").mkdir()
    assert [row.prompt for row in load_feedback(str(tmp_path / "*.jsonl"))] == ["a", "b"]


def test_a_file_whose_name_looks_like_a_glob_wins(tmp_path):
    path = write(tmp_path / "f[1].jsonl", ROW)
    assert len(load_feedback(str(path))) == 1


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
@pytest.mark.parametrize("form", ["conversational", "standard"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("implicit_prompt_preference", Paired),
        ("language_modeling", Demonstration),
        ("preference", Paired),
        ("prompt_completion", Demonstration),
        ("unpaired_preference", Unpaired),
    ],
)
def test_every_layout_of_the_ecosystem_loads(form, name, kind):
    rows = load_feedback(SHARED / "formats" / f"{form}_{name}.jsonl")
    assert len(rows) == 17
    assert {type(row) for row in rows} == {kind}
    assert all(isinstance(row.prompt, tuple if form == "conversational" else str) for row in rows)


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
