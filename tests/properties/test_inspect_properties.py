"""The data doctor never breaks, never loses a row, and reads what training reads, however files are cut or damaged."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.errors import DataError
from prospect.feedback import load_feedback
from prospect.feedback.doctor.checks import reading
from prospect.feedback.doctor.inspect import Inspection, inspect_feedback

TEXT = st.text(max_size=12)
TURNS = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXT}), max_size=3)
CELL = st.one_of(TEXT, TURNS, st.none(), st.booleans(), st.floats(), st.integers(), st.lists(st.floats(), max_size=3))
GOOD = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["a", "b", ""]) | TEXT, "completion": TEXT, "label": st.booleans()},
    optional={
        "rater": TEXT,
        "time": st.floats() | TEXT,
        "weight": st.floats(0, 1e6),
        "id": TEXT,
        "score": st.integers(),
    },
)
COLUMNS = ("prompt", "completion", "label", "chosen", "rejected", "messages", "completions", "scores", "text", "weight")
ODD = st.dictionaries(st.sampled_from([*COLUMNS, "time", "rater", "id", "tools", "finished"]), CELL)
LINES = st.lists(
    st.one_of(GOOD.map(json.dumps), ODD.map(json.dumps), TEXT.map(lambda s: s.replace("\n", " "))), max_size=12
)


def inspect_bytes(content: bytes, name: str = "a.jsonl") -> Inspection | None:
    """What the doctor says of a file; None where not a row of it can be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            found = inspect_feedback(path)
            json.dumps(found.as_dict(), allow_nan=False)
            return found
    return None


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_every_line_is_a_row_or_is_counted_as_unreadable(lines: list[str]) -> None:
    content = "\n".join(lines).encode(errors="surrogatepass")
    found = inspect_bytes(content)
    if found is not None:
        rows = [line for line in content.split(b"\n") if line.decode(errors="replace").rstrip()]
        assert found.facts.rows + found.as_dict()["unreadable"]["rows"] == len(rows)


@settings(max_examples=60, deadline=None)
@given(LINES, st.integers(1, 300))
def test_where_a_file_is_cut_into_pieces_changes_nothing(lines: list[str], size: int) -> None:
    content = "\n".join(lines).encode(errors="surrogatepass")
    whole = inspect_bytes(content)
    with patch.object(reading, "PIECE_BYTES", size):
        pieces = inspect_bytes(content)
    assert (whole and forget_path(whole)) == (pieces and forget_path(pieces))


def forget_path(found: Inspection) -> dict[str, Any]:
    said = found.as_dict()
    if said["advice"]["recipe"]:
        said["advice"]["recipe"]["data"]["train"] = ""
    return said


@settings(max_examples=60, deadline=None)
@given(st.lists(GOOD | ODD, min_size=1, max_size=6))
def test_it_reads_what_training_reads(rows: list[dict[str, Any]]) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    found = inspect_bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(content)
        try:
            loaded = load_feedback(path)
        except DataError:
            refusals = {"unreadable_rows", "ambiguous_labels"}
            assert found is None or refusals & {finding.code for finding in found.findings}
            return
    assert found is not None
    assert (found.facts.rows, found.facts.kind) == (len(loaded), loaded[0].kind)
    assert found.as_dict()["unreadable"]["rows"] == 0
    assert found.facts.prompts == len(
        {json.dumps([str(type(row.prompt)), str(row.prompt), row.tools]) for row in loaded}
    )


EXTREME = (
    {"weight": 1.7e308, "score": 1.7e308, "time": "9999-12-31T23:59:59.999999Z"},
    {"weight": 1.7e308, "score": -1.7e308, "time": "0001-01-01T00:00:00+00:00"},
    {"weight": 5e-324, "score": 0, "time": "0001-01-01T00:00:00+14:00"},
    {"weight": 1, "score": 1, "time": -1e11, "id": 10**300, "rater": "\ud800"},
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(EXTREME), min_size=1, max_size=5))
def test_the_ends_of_numbers_and_of_time_are_no_trouble(extremes: list[dict[str, Any]]) -> None:
    rows = [{"prompt": "p", "completion": f"c{i}", "label": i % 2 == 0, **row} for i, row in enumerate(extremes)]
    found = inspect_bytes("".join(json.dumps(row) + "\n" for row in rows).encode())
    assert found is not None
    assert found.facts.rows == len(rows)


SEED_FILES = {
    "a.jsonl": b'{"prompt": "p", "completion": "c d", "label": true, "rater": "r", "time": "2026-01-02"}\n' * 3
    + b'{"prompt": [{"role": "user", "content": "q"}], "completion": "\\u00e9", "label": 0, "weight": 2.5}\n' * 3,
    "b.json": b'[{"prompt": "p", "chosen": "c d", "rejected": "e"}, {"chosen": "same x", "rejected": "same y"}]',
    "c.csv": b'prompt,completion,label,score\np,"a, ""b""",1,2\nq,=1+1,0,\n"multi\nline",c,1,0.5\n',
    "d.tsv": b"prompt\tcompletion\tlabel\np\tq\t-1\np\tr\t1\n",
}
NASTY = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 3000, b'{"a":' * 2000, b'"', b"\\ud800", b"1e999", b"NaN", b"-" * 400,
    b"9" * 5000, b"=cmd|' /C calc'!A0", b"\r", b"\n\n", b"\xe2\x80\xae", b"null", b"{}", b"[]", b",", b"x" * 20_000,
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(SEED_FILES)),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(NASTY) | st.binary(max_size=6)), max_size=4
    ),
    st.floats(0.3, 1),
)
def test_no_damage_to_a_file_gives_a_traceback(name: str, edits: list[tuple[float, int, bytes]], kept: float) -> None:
    content = SEED_FILES[name]
    for place, removed, added in edits:
        at = int(place * len(content))
        content = content[:at] + added + content[at + removed :]
    inspect_bytes(content[: int(kept * len(content)) + 1], name)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.binary(max_size=8), st.floats(0.1, 1))
def test_no_damage_to_a_parquet_file_gives_a_traceback(place: int, added: bytes, kept: float) -> None:
    content = bytearray(PARQUET)
    content[place % len(content) : place % len(content) + len(added)] = added
    inspect_bytes(bytes(content[: int(kept * len(content)) + 1]) if kept < 0.9 else bytes(content), "a.parquet")


def _parquet() -> bytes:
    import io

    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    rows = [{"prompt": f"p{i}", "completion": "c" * i, "label": bool(i % 2)} for i in range(20)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


PARQUET = _parquet()
