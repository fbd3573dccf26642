"""From file to file as from list to list: the same rows, the same counts, the same refusals; and fast JSON as json."""

import csv
import json
import math
import tempfile
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.errors import DataError
from prospect.feedback import (
    Demonstration,
    Message,
    Paired,
    Scored,
    Unpaired,
    as_kind,
    count_unpairable,
    count_unscorable,
    load_feedback,
    write_jsonl,
)
from prospect.feedback.convert.pairing import PAIRINGS, to_paired
from prospect.feedback.convert.streaming import Conversion, convert_files
from prospect.feedback.convert.subsample import ClassShares, keep_shares, one_per_prompt
from prospect.feedback.convert.thresholds import Threshold, to_unpaired_by_score
from prospect.feedback.files.readers import parse_line
from prospect.feedback.files.rowstore import RowStore
from prospect.feedback.files.write import as_columns, encode
from prospect.feedback.split import group_keys
from prospect.feedback.times import write_time

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
prompts = st.sampled_from(["", "a", "b", "ä"])
scores = st.none() | st.integers(-2, 2).map(float) | st.floats(allow_nan=False, allow_infinity=False)
common = {
    "id": texts,
    "where": st.just("f"),
    "weight": st.sampled_from([1.0, 0.5]),
    "score": scores,
    "rater": st.none() | st.sampled_from(["ann", "bob"]),
    "tools": st.sampled_from([None, None, None, ({"name": "f"},)]),
    "model": st.sampled_from([None, "m", "n"]),
    "time": st.none() | st.datetimes(timezones=st.just(UTC)),
}
thumbs = st.builds(Unpaired, prompt=prompts, completion=texts, desirable=st.booleans(), **common)
shown = st.builds(Demonstration, prompt=prompts, completion=texts, **common)
pairs = st.builds(Paired, prompt=prompts, chosen=texts, rejected=texts, **common)
options = st.lists(st.tuples(texts, st.integers(-2, 2).map(float)), min_size=2, max_size=4)
scored = st.builds(
    lambda options, **more: Scored(
        completions=tuple(t for t, _ in options), scores=tuple(s for _, s in options), **more
    ),
    options,
    prompt=prompts,
    **common,
)
files = st.one_of(*[st.lists(kind, min_size=1, max_size=10) for kind in (thumbs, thumbs, shown, pairs, scored)])
seeds = st.integers(0, 3)


def numbered(rows):
    return [replace(row, id=str(i)) for i, row in enumerate(rows)]


def converted(rows, conversion, suffix=".jsonl"):
    """The rows of the written file, and the tally; or the refusal."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        write_jsonl(rows, source)
        if suffix == ".csv":
            source = as_csv(source)
        try:
            tally = convert_files(source, target, conversion, method="it")
        except DataError as error:
            assert not target.exists()
            return str(error).replace(f"{folder}/", ""), None
        return stripped(load_feedback(target)), tally


def as_csv(source):
    lines = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line]
    columns = list(dict.fromkeys(column for line in lines for column in line))
    target = source.with_suffix(".csv")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for line in lines:
            cells = (line.get(column, "") for column in columns)
            writer.writerow([json.dumps(c) if isinstance(c, list) else str(c) for c in cells])
    return target


def stripped(rows):
    return [replace(row, where="") for row in rows]


def on_lists(rows, conversion):
    """What the functions on lists make of the rows; or their refusal."""
    with tempfile.TemporaryDirectory() as folder:
        write_jsonl(rows, Path(folder) / "in.jsonl")
        rows = load_feedback(Path(folder) / "in.jsonl")
        try:
            if conversion.threshold is not None:
                rows = to_unpaired_by_score(rows, conversion.threshold)
            if conversion.to == "paired":
                rows = to_paired(rows, pairing=conversion.pairing, seed=conversion.seed)
            rows = as_kind(rows, conversion.to, method="it")
            if conversion.one_per_prompt:
                rows = one_per_prompt(rows, seed=conversion.seed)
            if conversion.to == "unpaired":
                rows = keep_shares(rows, conversion.shares, seed=conversion.seed)
        except DataError as error:
            return str(error).replace(f"{folder}/", "")
        return stripped(rows)


thresholds = st.builds(
    Threshold, st.sampled_from(["mean", "median", "bernoulli"]), per_prompt=st.booleans(), seed=seeds
) | st.builds(Threshold, st.integers(-2, 2).map(float))
conversions = st.one_of(
    st.builds(Conversion, to=st.sampled_from(["unpaired", "paired", "demonstration", "scored"])),
    st.builds(Conversion, to=st.just("paired"), pairing=st.sampled_from(PAIRINGS), seed=seeds),
    st.builds(Conversion, to=st.sampled_from(["unpaired", "demonstration"]), threshold=thresholds),
    st.builds(
        Conversion,
        to=st.just("unpaired"),
        one_per_prompt=st.booleans(),
        shares=st.floats(0, 1).map(ClassShares),
        seed=seeds,
    ),
)


@settings(deadline=None, max_examples=150)  # each example writes and syncs several files
@given(files, conversions)
def test_files_are_converted_like_lists_and_the_counts_add_up_or_they_are_refused_in_the_same_words(rows, conversion):
    rows = numbered(rows)
    made, tally = converted(rows, conversion)
    expected = on_lists(rows, conversion)
    if tally is None:
        assert (expected == [] and "no row is left to write" in made) or made.endswith(expected)
        return
    assert made == expected
    assert (sum(tally.rows_in.values()), tally.rows_out) == (len(rows), len(made))
    left_out = {left.reason: left.rows for left in tally.left_out}
    assert all(left_out.values())
    if conversion.to == "unpaired":
        assert tally.classes == (sum(row.desirable for row in made), sum(not row.desirable for row in made))
        assert tally.rows_out + sum(left_out.values()) == completions(rows, conversion.threshold)
    elif conversion.to in ("paired", "scored"):
        count = count_unpairable if conversion.to == "paired" else count_unscorable
        assert sum(left_out.values()) == count(rows).rows


def completions(rows, threshold):
    """How many rows are read or, where a row has several completions, how many of these."""
    sides = 2 if isinstance(rows[0], Paired) else 1
    return sum(len(row.scores) if isinstance(row, Scored) and threshold else sides for row in rows)


@settings(deadline=None, max_examples=40)
@given(st.lists(thumbs, min_size=1, max_size=8))
def test_rows_of_a_csv_file_are_remembered_like_lines(rows):
    """A row of another format cannot be found again by its place, so it is put into a temporary file."""
    rows = [
        replace(row, tools=None, completion=f"c{i}", prompt=row.prompt or "p") for i, row in enumerate(numbered(rows))
    ]
    for kind in ("paired", "scored"):
        assert converted(rows, Conversion(to=kind), ".csv")[0] == converted(rows, Conversion(to=kind))[0]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_remembered_row_is_the_row_that_was_read_and_names_its_line(tmp_path, suffix):
    write_jsonl(
        [Unpaired(prompt="p", completion=f"c{i}", desirable=True, id=f"{i}", where="") for i in range(4)],
        tmp_path / "f.jsonl",
    )
    source = as_csv(tmp_path / "f.jsonl") if suffix == ".csv" else tmp_path / "f.jsonl"
    with RowStore(source, None, tmp_path) as store:
        for row in store:
            if row.id != "1":
                store.remember(row)
        assert [store[2], store[0], store[1]] == [load_feedback(source)[i] for i in (3, 0, 2)]
        assert store.kinds == {"unpaired": 4}


@settings(deadline=None)
@given(st.lists(st.binary(min_size=16, max_size=16) | st.sampled_from([b"a" * 16, b"b" * 16]), max_size=20))
def test_rows_are_grouped_by_key_in_order_of_first_appearance(keys):
    order, starts = group_keys(bytearray(b"".join(keys)))
    groups = [order[a:b].tolist() for a, b in pairwise(starts)]
    expected = {}
    for number, key in enumerate(keys):
        expected.setdefault(key, []).append(number)
    assert groups == list(expected.values())


# Fast JSON

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63 - 2, 2**64 + 2)
    | st.integers(-(2**64), -(2**63) + 2)
    | st.floats()
    | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=6,
)


def same(a, b):
    """Equal, of the same types, and NaN where NaN is."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def by_json(line):
    return json.loads(line.decode())


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=4), st.booleans(), st.sampled_from(["", " ", "\r"]))
def test_a_line_is_read_as_json_reads_it(row, escaped, end):
    line = (json.dumps(row, ensure_ascii=escaped) + end + "\n").encode(errors="replace")
    assert same(parse_line(line, Path("f.jsonl"), 1), by_json(line))


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=3), st.data())
def test_a_damaged_line_is_read_as_json_reads_it_or_refused(row, data):
    line = bytearray(json.dumps(row).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(line)))
        line[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"0", b"-", b'"', b"\\", b"\xff", b"\x00", b"{", b",", b"NaN", b"1e999", b"\\ud800"])
        )
    try:
        expected = by_json(bytes(line))
    except ValueError:
        expected = None
    try:
        found = parse_line(bytes(line), Path("f.jsonl"), 2)
    except DataError as error:
        assert str(error).startswith("f.jsonl:2: ")
        assert not isinstance(expected, dict)
    else:
        assert found is None if not line.strip() else same(found, expected)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", ":", '":']), json_values), max_size=4),
    st.sampled_from([":", " :", "\t: "]),
    st.sampled_from([":", "\\u003a", "\\u003A"]),
)
def test_a_key_that_is_there_twice_is_refused_however_the_line_is_written(items, colon, escape):
    text = ", ".join(json.dumps(key).replace(":", escape) + colon + json.dumps(cell) for key, cell in items)
    line = f"{{{text}}}\n".encode()
    if len({key for key, _ in items}) == len(items):
        assert same(parse_line(line, Path("f.jsonl"), 1), dict(items))
        return
    with pytest.raises(DataError, match=r"f\.jsonl:1: .* is there twice in one object"):
        parse_line(line, Path("f.jsonl"), 1)


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        (b'{"a": [{"b": -9223372036854775809}]}', {"a": [{"b": -9223372036854775809}]}),
        (b'{"a": 1e20}', {"a": 1e20}),
        (b'{"a": Infinity}', {"a": math.inf}),
        (b'{"a": "\\ud83d"}', {"a": "\ud83d"}),
        (b'{"a": 1}\x0b\n', {"a": 1}),
        (b"\xef\xbb\xbf  \n", None),
    ],
)
def test_what_the_fast_parser_cannot_read_is_read_all_the_same(line, row):
    assert parse_line(line, Path("f.jsonl"), 1) == row


extras = st.dictionaries(
    st.text(max_size=3).filter(lambda key: key not in ("role", "content")), json_values, max_size=1
)
turns = st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), st.text(max_size=5), extras), max_size=2)


@settings(deadline=None)
@given(
    st.builds(
        Unpaired,
        prompt=st.text(max_size=8) | turns.map(tuple),
        completion=st.text(max_size=8),
        desirable=st.booleans(),
        **{
            **common,
            "id": st.text(max_size=4),
            "weight": st.floats(),
            "score": st.none() | st.floats(),
            "tools": st.none() | st.lists(st.dictionaries(st.text(max_size=2), json_values, max_size=2)).map(tuple),
        },
    )
)
def test_a_row_is_written_as_json_writes_it_or_refused(row):
    try:
        expected = json.dumps(as_columns(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError:
        with pytest.raises(DataError, match="f: the row cannot be written as JSON"):
            encode(row, Path())
    else:
        assert encode(row, Path()) == expected


@settings(deadline=None)
@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(minutes=330))])))
def test_a_time_is_written_as_times_are(time):
    row = Demonstration(prompt="p", completion="c", id="i", where="f", time=time)
    try:
        assert as_columns(row)["time"] == write_time(time)
    except OverflowError:
        with pytest.raises(OverflowError):
            write_time(time)
