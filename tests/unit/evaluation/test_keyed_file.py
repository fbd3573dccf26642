"""The file that results are kept in, key by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import DataError
from prospect.evaluation.answers.keyed_file import KeyedFile


def opened(path: Path | None) -> KeyedFile[int]:
    return KeyedFile(path, lambda row: int(row["n"]), lambda n: {"n": n})


def test_results_are_on_disk_at_once_and_found_again_after_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "kept.jsonl"
    with opened(path) as kept:
        kept.put("a", 1, note="for people")
        assert json.loads(path.read_text()) == {"key": "a", "n": 1, "note": "for people"}
    path.write_bytes(path.read_bytes() + b'{"key": "b", "n": 2')
    with opened(path) as kept:
        assert (kept.get("a"), kept.get("b"), len(kept), kept.unread) == (1, None, 1, 1)
        kept.put("b", 3)
    with opened(path) as kept:
        assert (kept.get("b"), len(kept), kept.unread) == (3, 2, 1)


@pytest.mark.parametrize(
    "line", ["3", "[]", '{"n": 1}', '{"key": 4, "n": 1}', '{"key": "a"}', '{"key": "a", "n": "x"}']
)
def test_a_line_that_holds_no_result_is_counted(tmp_path: Path, line: str) -> None:
    (tmp_path / "kept").write_text(f"{line}\n\n")
    assert (opened(tmp_path / "kept").unread, len(opened(tmp_path / "kept"))) == (1, 0)


def test_one_process_writes_a_file_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path / "kept") as first, opened(tmp_path / "kept") as second:
        first.put("a", 1)
        with pytest.raises(DataError, match="another process writes it"):
            second.put("b", 2)
    with opened(tmp_path / "kept") as after:
        after.put("b", 2)


def test_without_a_file_results_are_in_memory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(None) as kept:
        kept.put("a", 1)
        assert kept.get("a") == 1 and not list(tmp_path.iterdir())
