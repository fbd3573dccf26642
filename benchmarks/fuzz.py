"""Feeds mutated files to the feedback half: nothing may crash or hang, and no row may be lost from the counts.

    python benchmarks/fuzz.py [--files 10000] [--seed 0] [--json FILE]

Whole files (JSON lines, JSON, CSV, Parquet; thumbs, pairs, scored rows, the exports of several tools; the script makes
them) are cut short, overwritten, doubled, and stuffed with wrong types, huge fields, deep nesting, NUL bytes, broken
UTF-8 and formula cells. Each goes through `inspect_feedback`, `import_feedback`, the conversion to thumbs and the
freezing of what was converted, as the commands call them. What may come out is a result, whose counts add up, or an
error of Prospect's own; and what converts whole has no row that the data doctor cannot read.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from prospect.errors import ProspectError
from prospect.feedback.convert.streaming import Conversion, convert_files
from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.feedback.frozen.freeze import check_frozen, freeze
from prospect.feedback.importers.pipeline import import_feedback

PATIENCE = 20  # seconds; a file of a few kB that takes longer hangs
NASTY = [
    b"\x00",
    b"\xff\xfe",
    b"\xc3",
    b'"\\ud800"',
    b"NaN",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"=SUM(A1:A9)",
    b"\"=cmd|' /C calc'!A0\"",
    b"[" * 900 + b"]" * 900,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b"[" * 200_000,
    b'"' + b"x" * 300_000 + b'"',
    b"\r\n",
    b'","',
    b"\xef\xbb\xbf",
    "\u202e\u2028\x85\x1b[31m\x9b".encode(),
    b",]",
    b", ",
    b'"label": true, "label": false, ',
    b"9999-12-31T23:59:59-12:00",
]


def main() -> None:
    options = parse_arguments()
    signal.signal(signal.SIGALRM, hangs)
    draw = random.Random(options.seed)
    whole = make_files()
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in STEPS}
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.files):
            name = draw.choice(sorted(whole))
            path = Path(folder) / name
            path.write_bytes(mutate(whole[name], draw))
            for step, run in STEPS.items():
                try:
                    signal.alarm(PATIENCE)
                    run(path)
                    outcomes[step]["result"] += 1
                except ProspectError as error:
                    str(error).encode()  # a message that cannot be printed is a crash too
                    outcomes[step]["error with a message"] += 1
                except Exception:  # what is looked for
                    failures += 1
                    outcomes[step]["failure"] += 1
                    print(f"file {number}, {name}, {step}", file=sys.stderr)
                    traceback.print_exc()
                finally:
                    signal.alarm(0)
    print(f"{options.files} mutated files")
    for step, counts in outcomes.items():
        print(f"{step:<8} {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")
    if options.json:
        options.json.write_text(json.dumps({"files": options.files, "failures": failures, "steps": outcomes}) + "\n")
    sys.exit(failures > 0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other files")
    parser.add_argument("--json", type=Path, help="write the counts here")
    return parser.parse_args()


def hangs(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"not done after {PATIENCE} seconds")


def inspected(path: Path) -> None:
    found = inspect_feedback(str(path)).as_dict()
    json.dumps(found, allow_nan=False)


def imported(path: Path) -> None:
    report = import_feedback([path], path.parent / "imported.jsonl")
    assert report.rows_in == report.kept + sum(report.dropped.values()), report


def converted(path: Path) -> None:
    convert_files(str(path), path.parent / "converted.jsonl", Conversion(to="unpaired"))
    found = inspect_feedback(str(path)).as_dict()
    assert found["unreadable"]["rows"] == found["unreadable"]["files"] == 0, found["unreadable"]


def frozen(path: Path) -> None:
    convert_files(str(path), path.parent / "converted.jsonl", Conversion(to="unpaired"))
    shutil.rmtree(path.parent / "frozen", ignore_errors=True)
    freeze(path.parent / "converted.jsonl", path.parent / "frozen")
    check_frozen(path.parent / "frozen")


STEPS: dict[str, Callable[[Path], None]] = {
    "inspect": inspected,
    "import": imported,
    "convert": converted,
    "freeze": frozen,
}


def mutate(content: bytes, draw: random.Random) -> bytes:
    """A few cuts and insertions at random places; sometimes the end is missing."""
    for _ in range(draw.randint(1, 5)):
        at = draw.randrange(len(content) + 1)
        chance = draw.random()
        if chance < 0.5:
            piece = draw.choice(NASTY)
        elif chance < 0.7:
            first, last = sorted(draw.randrange(len(content) + 1) for _ in range(2))
            piece = content[first:last]
        else:
            piece = draw.randbytes(draw.randint(0, 6))
        content = content[:at] + piece + content[at + draw.randint(0, 12) :]
    if draw.random() < 0.3:
        content = content[: draw.randrange(len(content) + 1)]
    return content or b"\n"


def make_files() -> dict[str, bytes]:
    thumbs = [
        {"prompt": f"p{i % 9}", "completion": "word " * (i % 30), "label": i % 2 == 0, "rater": f"r{i % 3}", "time": i}
        for i in range(60)
    ]
    talks = [
        {"prompt": [{"role": "user", "content": f"q{i}"}], "completion": [{"role": "assistant", "content": "a"}]}
        for i in range(20)
    ]
    pairs = [{"prompt": f"p{i % 5}", "chosen": f"c{i % 7}", "rejected": f"d{i % 3}"} for i in range(40)]
    scored = [{"prompt": f"p{i}", "completions": ["c", "x"], "scores": [i, 2]} for i in range(20)]
    log = 'conversation,index,value,flag,timestamp\n"[{""role"": ""user"", ""content"": ""q""}]",1,Like,2026-01-01\n'
    return {
        "thumbs.jsonl": as_lines(thumbs),
        "talks.jsonl": as_lines([{**row, "label": 1} for row in talks]),
        "pairs.jsonl": as_lines(pairs),
        "scored.json": json.dumps(scored).encode(),
        "thumbs.csv": as_csv(thumbs),
        "thumbs.parquet": as_parquet(thumbs),
        "open-webui.json": json.dumps([open_webui_row(i) for i in range(6)]).encode(),
        "anythingllm.json": json.dumps(
            [{"prompt": "q", "response": "a", "rating": rate, "sent_at": "2026-01-01"} for rate in ("GOOD", "--")]
        ).encode(),
        "gradio.csv": log.encode() * 2,
        "langfuse.json": json.dumps(
            [{"id": "s", "name": "thumbs", "value": 1, "dataType": "BOOLEAN", "source": "API", "traceId": "t"}]
        ).encode(),
    }


def open_webui_row(number: int) -> dict[str, Any]:
    messages = {
        "q": {"id": "q", "parentId": None, "role": "user", "content": "Where?"},
        "a": {"id": "a", "parentId": "q", "role": "assistant", "content": "Here."},
    }
    return {
        "id": f"v{number}",
        "user_id": f"u{number % 2}",
        "type": "rating",
        "data": {"rating": (-1) ** number},
        "meta": {"chat_id": "c", "message_id": "a"},
        "snapshot": {"chat": {"chat": {"history": {"currentId": "a", "messages": messages}}}},
        "updated_at": 1732000000 + number,
    }


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]
    return "\n".join(lines).encode() + b"\n"


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
