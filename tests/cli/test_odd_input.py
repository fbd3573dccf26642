"""Input that is merely odd: every command reads it, or refuses it with its place, and all commands agree."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import thumbs
from prospect.cli.main import main
from prospect.errors import DataError
from prospect.feedback.files.sources import load_feedback

DEEP = "[" * 500 + "]" * 500


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROSPECT_RATER_KEY", "0123456789abcdef")
    return tmp_path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def prospect(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        assert code in (0, 1, 2)
        assert "Traceback" not in err and "RecursionError" not in err
        return code, out, err

    return run


def rows(*odd: str) -> list[str]:
    """Rows of thumbs as text, the odd ones in their middle."""
    lines = [json.dumps(row) for row in thumbs(8)]
    return [*lines[:3], *odd, *lines[3:]]


def row(**cells: Any) -> str:
    return json.dumps({"prompt": "a", "completion": "b", "label": True, **cells})


def with_text(column: str, text: str) -> str:
    """A row with JSON text of one's own in a column."""
    return f"{row()[:-1]}, {json.dumps(column)}: {text}}}"


DEEP_ROWS = {
    "a column that nobody reads": with_text("extra", DEEP),
    "tools": with_text("tools", f'[{{"name": "t", "parameters": {DEEP}}}]'),
    "provenance": with_text("model", DEEP),
    "a turn": f'{{"messages": [{{"role": "assistant", "content": "a", "x": {DEEP}}}], "label": true}}',
    "deeper than the stack": with_text("extra", "[" * 30_000 + "]" * 30_000),
}


@pytest.mark.parametrize("case", DEEP_ROWS)
@pytest.mark.parametrize("name", ["f.jsonl", "f.json"])
def test_a_row_nested_500_deep_is_refused_or_counted_by_every_command(
    case: str, name: str, prospect: Run, model_path: Path
) -> None:
    lines = rows(DEEP_ROWS[case])
    Path(name).write_text("\n".join(lines) + "\n" if name == "f.jsonl" else "[" + ",\n".join(lines) + "]")
    where = f"DataError: {name}:4: broken JSON at column 1: it is nested more than 100 levels deep"
    for words in (
        ["data", "convert", name, "--to", "unpaired", "-o", "out.jsonl"],
        ["data", "freeze", name, "-o", "frozen"],
        ["data", "split", name, "-o", "a.jsonl", "b.jsonl"],
        ["data", "export", name, "--to", "trl", "-o", "out.jsonl"],
        ["data", "diff", name, name],
        ["train", "kto", "--model", str(model_path), "--data", name, "--output", "run", "--quiet"],
    ):
        code, _, message = prospect(*words)
        assert (code, message[: len(where)]) == (1, where), words
    assert {path.name for path in Path().iterdir()} == {name}
    code, out, _ = prospect("data", "inspect", name, "--json")
    found = json.loads(out)
    assert (code, found["rows"], found["unreadable"]["rows"]) == (0, 8, 1)
    assert found["unreadable"]["reasons"][0]["rows"] == [f"{name}:4"]
    code, out, _ = prospect("data", "import", name, "-o", "out.jsonl", "--json")
    report = json.loads(out)
    assert (code, report["kept"], report["dropped"]) == (0, 8, {"row is nested too deeply": 1})


def test_a_deep_row_that_an_object_wraps_is_dropped_and_the_others_are_kept(prospect: Run) -> None:
    Path("f.json").write_text('{"items": [' + ",".join(rows(with_text("extra", DEEP))) + '], "total": 9}')
    code, out, _ = prospect("data", "import", "generic", "f.json", "-o", "out.jsonl", "--json")
    report = json.loads(out)
    assert (code, report["kept"], report["dropped"]) == (0, 8, {"row is nested too deeply": 1})


@pytest.mark.parametrize(
    ("text", "readable", "message"),
    [
        ("[" + ",\n".join(rows()) + ",\n]", 8, "f.json:9: broken JSON at column 1: there is a comma before the end"),
        ("[" + ",\n".join(rows()) + "\n] x", 8, "f.json:9: broken JSON at column 3: there is more after the end"),
        ("[" + ",\n".join(rows())[:-4], 7, "f.json:8: broken JSON at column "),
        ("[" + "\n".join(rows()) + "]", 1, "f.json:2: broken JSON at column 1: there is no comma between two rows"),
        ("\n\n" + "\n".join(rows()), 8, None),
        ("\n".join(rows()), 8, None),
        ("[" + ",".join(rows('{"prompt": 1, "prompt": 2}')) + "]", 8, 'the key "prompt" is there twice in one object'),
    ],
    ids=[
        "trailing comma",
        "more at the end",
        "cut short",
        "no comma",
        "lines after blank ones",
        "lines",
        "a key twice",
    ],
)
def test_the_doctor_and_conversion_agree_on_what_a_json_file_holds(
    text: str, readable: int, message: str | None, prospect: Run
) -> None:
    Path("f.json").write_text(text)
    _, out, _ = prospect("data", "inspect", "f.json", "--json")
    found = json.loads(out)
    code, _, said = prospect("data", "convert", "f.json", "--to", "unpaired", "-o", "out.jsonl")
    assert found["rows"] == readable
    if message is None:
        assert (code, found["unreadable"]["rows"]) == (0, 0)
        return
    assert code == 1 and message in said
    (reason,) = found["unreadable"]["reasons"]
    assert message.rpartition("broken JSON")[2] in reason["message"]


def test_a_key_that_is_there_twice_is_refused_wherever_it_is(prospect: Run) -> None:
    for odd in (
        '{"prompt": "a", "completion": "b", "label": true, "label": false}',
        '{"prompt": "say \\":\\"", "completion": "b", "label": true, "label": false}',
        '{"prompt" : "a", "completion" : "b", "label" : true, "label" : false}',
        '{"prompt": "a", "completion" : "b", "label": true, "label": false}',
        '{"messages": [{"role": "assistant", "content": "a", "content": "b"}], "label": true}',
    ):
        Path("f.jsonl").write_text("\n".join(rows(odd)))
        code, _, message = prospect("data", "convert", "f.jsonl", "--to", "unpaired", "-o", "out.jsonl")
        assert code == 1 and "f.jsonl:4: " in message and "is there twice in one object" in message


def test_texts_that_look_like_keys_are_no_keys() -> None:
    odd = [
        {"prompt": '"a": "b":', "completion": ":\\", "label": True},
        {"prompt": "\\", "completion": '":', "label": 0},
    ]
    Path("f.jsonl").write_text("".join(json.dumps(one) + "\n" for one in odd))
    assert [(one.prompt, one.completion) for one in load_feedback("f.jsonl")] == [
        (one["prompt"], one["completion"]) for one in odd
    ]


# -- what is no file --


@pytest.mark.parametrize("verb", ["inspect", "convert", "import", "train", "generate", "evaluate", "purge", "votes"])
def test_a_pipe_is_refused_by_name_and_not_waited_for(verb: str, prospect: Run, model_path: Path) -> None:
    os.mkfifo("f.jsonl")
    Path("ok.jsonl").write_text("\n".join(rows()))
    words = {
        "inspect": ["data", "inspect", "f.jsonl"],
        "convert": ["data", "convert", "f.jsonl", "--to", "unpaired", "-o", "out.jsonl"],
        "import": ["data", "import", "f.jsonl", "-o", "out.jsonl"],
        "train": ["train", "kto", "--model", str(model_path), "--data", "f.jsonl", "--output", "run"],
        "generate": ["generate", str(model_path), "--prompts", "f.jsonl", "-o", "out.jsonl"],
        "evaluate": ["evaluate", str(model_path), "--data", "f.jsonl"],
        "purge": ["data", "purge", "f.jsonl", "--id", "a"],
        "votes": ["contest", "ok.jsonl", "--judge", "human:f.jsonl", "--data", "ok.jsonl", "--against", "ok.jsonl"],
    }[verb]
    code, _, message = prospect(*words)
    assert code == 1 and "f.jsonl: " in message and "is a pipe; expected " in message


def test_a_device_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="/dev/zero: is a device; expected a file"):
        load_feedback("/dev/zero")


@pytest.mark.parametrize("name", ["x" * 300 + ".jsonl", "a\0b.jsonl", "d/" * 3000 + "f.jsonl"])
def test_a_name_that_no_file_can_have_is_an_error_with_a_message(name: str) -> None:
    with pytest.raises(DataError):
        load_feedback(name)


def test_every_real_file_is_matched_once_though_links_make_a_loop(prospect: Run) -> None:
    Path("data/deep").mkdir(parents=True)
    for name in ("data/a.jsonl", "data/deep/b.jsonl"):
        Path(name).write_text("\n".join(rows()))
    Path("data/loop").symlink_to(".", target_is_directory=True)
    Path("data/deep/up").symlink_to("../..", target_is_directory=True)
    Path("data/latest.jsonl").symlink_to("a.jsonl")
    Path("data/gone.jsonl").symlink_to("nowhere.jsonl")
    for words in (
        ["data", "convert", "data/**/*.jsonl", "--to", "unpaired", "-o", "out.jsonl"],
        ["data", "import", "data/**/*.jsonl", "-o", "out.jsonl"],
    ):
        assert prospect(*words)[0] == 0
        assert len(Path("out.jsonl").read_text().splitlines()) == 16
        Path("out.jsonl").unlink()


# -- what is odd in cells --


def test_parquet_times_of_every_kind_are_read_or_left_out(prospect: Run) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    day = 86_400_000
    columns = {
        "far": pa.array([253_402_300_800_000 + 400 * day, 0], pa.timestamp("ms")),  # the year 10001
        "before": pa.array([-62_135_596_800_000 - 400 * day, 0], pa.timestamp("ms", tz="UTC")),  # two years before 1
        "fine": pa.array([1_700_000_000_123_456_789, 0], pa.timestamp("ns", tz="Europe/Berlin")),
        "nowhere": pa.array([1, 0], pa.timestamp("us", tz="No/Where")),
        "day": pa.array([19_000, 0], pa.date32()),
        "clock": pa.array([1, 0], pa.time64("ns")),
        "span": pa.array([2**62, 0], pa.duration("ns")),
    }
    expected = {
        "far": None,
        "before": None,
        "fine": "2023-11-14T22:13:20.123456Z",
        "day": "2022-01-08T00:00:00Z",
        "clock": None,
        "span": None,
        "nowhere": None,
    }
    base = {"prompt": ["a", "b"], "completion": ["c", "d"], "label": [True, False]}
    for name, column in columns.items():
        for command in ("convert", "import"):
            pyarrow.parquet.write_table(pa.table({**base, "time": column}), "f.parquet")
            words = ["f.parquet", "--to", "unpaired"] if command == "convert" else ["generic", "f.parquet"]
            code, _, message = prospect("data", command, *words, "-o", "out.jsonl")
            assert code == 0, (name, message)
            written = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
            assert written[0].get("time") == expected[name], name
            assert len(written) == 2
        assert prospect("data", "inspect", "f.parquet")[0] == 0


def test_a_cell_that_holds_such_a_time_inside_is_read_too() -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    kind = pa.list_(pa.struct([("at", pa.timestamp("ms")), ("n", pa.int64())]))
    cell = pa.array([[{"at": 2**60, "n": 1}], [{"at": 0, "n": 2}]], kind)
    base = {"prompt": ["a", "b"], "completion": ["c", "d"], "label": [True, False]}
    pyarrow.parquet.write_table(pa.table({**base, "reason": cell}), "f.parquet")
    first, second = load_feedback("f.parquet")
    assert json.loads(first.reason or "") == [{"at": f"{2**60} as timestamp[ms]", "n": 1}]
    assert json.loads(second.reason or "") == [{"at": str(datetime(1970, 1, 1)), "n": 2}]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:00:00-05:00", "1e400", "inf", -1e300])
def test_a_time_at_the_ends_of_the_calendar_costs_no_row(time: Any, prospect: Run) -> None:
    Path("f.jsonl").write_text("\n".join(rows(row(time=time))))
    for words in (
        ["data", "convert", "f.jsonl", "--to", "unpaired", "-o", "out.jsonl"],
        ["data", "import", "f.jsonl", "-o", "out.jsonl"],
        ["data", "freeze", "f.jsonl", "-o", "frozen"],
        ["data", "inspect", "f.jsonl"],
    ):
        assert prospect(*words)[0] == 0, words
    assert len(Path("out.jsonl").read_text().splitlines()) == 9


def test_weights_that_are_none_are_left_out_and_counted_on_import(prospect: Run) -> None:
    odd = ["NaN", "Infinity", "-Infinity", "true", "false", "-1", '"heavy"', "1e400", "[1]", "9" * 400]
    fine = ["0", "2.5", '"0.5"', "null", '""']
    lines = [
        f'{{"prompt": "p{i}", "completion": "c", "label": true, "weight": {text}}}'
        for i, text in enumerate([*odd, *fine])
    ]
    Path("f.jsonl").write_text("\n".join(lines))
    code, out, message = prospect("data", "import", "f.jsonl", "-o", "out.jsonl", "--json")
    report = json.loads(out)
    assert (code, report["rows_in"], report["kept"], report["unusable_weights"]) == (0, 15, 15, 10)
    assert "10 weights are no number of at least 0; those rows weigh 1" in message
    assert [one.weight for one in load_feedback("out.jsonl")] == [1.0] * 10 + [0.0, 2.5, 0.5, 1.0, 1.0]


# -- what would command a terminal --


def test_no_escape_byte_of_a_file_reaches_the_terminal(prospect: Run, model_path: Path) -> None:
    evil = "\x1b[31mred\x9b2J\u202e"
    plain = [json.loads(line) for line in rows()]
    odd = [
        {**one, "prompt": one["prompt"] + evil, "completion": f"{evil}{i}", "rater": f"{evil}{i % 2}", "model": evil}
        for i, one in enumerate(plain)
    ]
    name = f"{evil}.jsonl"
    Path(name).write_text("".join(json.dumps({**one, "id": f"{evil}{i}"}) + "\n" for i, one in enumerate(odd)))
    Path("bad.jsonl").write_text("".join(json.dumps({**one, "label": evil, evil: 1}) + "\n" for one in odd))
    recipe = {"model": {"name_or_path": str(model_path)}, "data": {"train": name, "eval": None}, "output": f"{evil}run"}
    Path("r.yaml").write_text(yaml.safe_dump(recipe))
    forbidden = {"\x1b", "\x9b", "\u202e"}
    for words in (
        ["data", "inspect", name],
        ["data", "inspect", name, "bad.jsonl"],
        ["data", "convert", name, "--to", "unpaired", "-o", f"{evil}out.jsonl"],
        ["data", "diff", name, "bad.jsonl"],
        ["data", "diff", name, name],
        ["data", "import", name, "-o", f"{evil}imported.jsonl", "--keep-rater-names"],
        ["data", "convert", "bad.jsonl", "--to", "unpaired", "-o", "out.jsonl"],
        ["data", "convert", f"{evil}absent.jsonl", "--to", "unpaired", "-o", "out.jsonl"],
        ["train", "r.yaml", "--dry-run", "--set", "train.batch_size=8", "data.overlong_prompts=drop"],
        ["train", "r.yaml", "--set", f"loss.name={evil}"],
        ["train", "kto", "--model", f"./{evil}", "--data", name],
    ):
        _, out, err = prospect(*words)
        assert not forbidden & set(out + err), words
    _, out, _ = prospect("data", "inspect", name, "--json")
    assert json.loads(out)["models"] == {"?[31mred?2J?": 8}  # the doctor groups by names that can be printed


# -- other odd files --


@pytest.mark.parametrize("name", ["f.jsonl", "f.json", "f.csv", "f.tsv", "f.parquet"])
@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b"\0\0\0", b"\xff\xfe{\0}\0"])
def test_a_file_without_rows_is_refused_by_every_reader(name: str, content: bytes, prospect: Run) -> None:
    Path(name).write_bytes(content)
    for words in (
        ["data", "convert", name, "--to", "unpaired", "-o", "out.jsonl"],
        ["data", "inspect", name],
        ["data", "import", name, "-o", "out.jsonl"],
    ):
        code, _, message = prospect(*words)
        assert code in (1, 2) and "Error: " in message, words
    assert not Path("out.jsonl").exists()


def test_a_folder_named_like_a_file_is_refused(prospect: Run) -> None:
    Path("f.jsonl").mkdir()
    assert "f.jsonl: is a folder" in prospect("data", "inspect", "f.jsonl")[2]
    assert "f.jsonl: is a folder" in prospect("data", "import", "f.jsonl", "-o", "out.jsonl")[2]


def test_a_cell_longer_than_the_csv_module_allows_by_default_is_read(prospect: Run) -> None:
    long = "word " * 40_000
    Path("f.csv").write_text(f"prompt,completion,label\np,{long},true\nq,short,false\n")
    assert prospect("data", "convert", "f.csv", "--to", "unpaired", "-o", "out.jsonl")[0] == 0
    assert load_feedback("out.jsonl")[0].completion == long
    assert prospect("data", "inspect", "f.csv")[0] == 0


@pytest.mark.parametrize(
    "odd",
    [
        row(prompt="half \ud800"),
        row(prompt="NUL \0 in it"),
        row(id=10**400),
        row(label=10**400),
        row(score=10**400),
        row(weight=10**4000),
        row(completion=""),
        row(**{"\ud800": 1}),
        row(**{"": 1}),
        row(tools=[{"a": float("nan")}]),
        "5",
        "null",
        '"text"',
        "[]",
        "{}",
    ],
)
def test_an_odd_row_is_read_or_refused_with_its_place(odd: str, prospect: Run) -> None:
    Path("f.jsonl").write_text("\n".join(rows(odd)))
    code, _, message = prospect("data", "convert", "f.jsonl", "--to", "unpaired", "-o", "out.jsonl")
    assert code == 0 or (code == 1 and "f.jsonl:4: " in message)
    assert prospect("data", "inspect", "f.jsonl")[0] == 0
    code, _, message = prospect("data", "import", "f.jsonl", "-o", "imported.jsonl")
    assert code == 0 or (code == 1 and "f.jsonl:4: " in message)
