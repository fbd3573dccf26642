"""`prospect data convert` to and from scored completions."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import thumbs, write_rows
from prospect.cli.main import main
from prospect.feedback import load_feedback


def test_convert_to_scored_counts_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_rows(tmp_path / "t.jsonl", thumbs(7, prompts=3)), tmp_path / "s.jsonl"
    write_rows(tmp_path / "more.jsonl", [{"prompt": "alone", "completion": "a", "label": True}])
    arguments = ["data", "convert", str(source), str(tmp_path / "more.jsonl"), "--to", "scored", "-o", str(target)]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert f"8 unpaired rows in, 3 scored rows out: {target}" in said
    assert "1 rows of 1 prompts have no two completions with different scores or labels and are left out" in said
    assert [len(row.completions) for row in load_feedback(target)] == [3, 2, 2]


def test_convert_refuses_to_guess_which_score_is_desirable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "s.jsonl", [{"prompt": "a", "completions": ["b", "c"], "scores": [2, 1]}])
    assert main(["data", "convert", str(source), "--to", "unpaired", "-o", str(tmp_path / "u.jsonl")]) == 1
    assert "--to unpaired needs unpaired feedback (prompt, completion, label): " in capsys.readouterr().err
    assert not (tmp_path / "u.jsonl").exists()
