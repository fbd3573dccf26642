"""`prospect label` on images: thumbs by functions, models and files of scores; what cannot be read is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pictures import save_picture, write_rows
from pipelines import save_clip
from prospect.cli.main import main
from prospect.feedback import load_feedback

RULE = """
def red(prompt, completion):
    return completion.resize((1, 1)).getpixel((0, 0))[0]

def fails_at_the_third(prompt, completion, seen=[]):
    seen.append(prompt)
    with open("asked.log", "a") as log:
        log.write(prompt + "\\n")
    if len(seen) == 3:
        raise OSError("the server is gone")
    return True
"""


def drawn(folder: Path, count: int = 6) -> list[dict[str, Any]]:
    """Rows as `prospect generate` writes them: two pictures of each prompt."""
    for i in range(count):
        save_picture(folder / "images" / f"{i}.png", seed=i)
    return [{"prompt": f"p{i // 2}", "image": f"images/{i}.png"} for i in range(count)]


@pytest.fixture
def label(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    Path("rule.py").write_text(RULE)

    def run(rows: list[dict[str, Any]], *arguments: str, out: str = "thumbs.jsonl") -> Any:
        write_rows(Path("drawn.jsonl"), rows)
        code = main(["label", "drawn.jsonl", "-o", out, "--json", *arguments])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    return run


@pytest.mark.parametrize("threshold", ["128", "median", "prompt_median"])
def test_scores_of_a_rule_become_thumbs_that_train(label: Any, threshold: str) -> None:
    code, counts, _ = label(drawn(Path()), "--judge", "rule.py:red", "--threshold", threshold)
    rows = [json.loads(line) for line in Path("thumbs.jsonl").read_text().splitlines()]
    assert code == 0 and counts["desirable"] + counts["undesirable"] == len(rows) == 6
    assert counts["low"] < counts["rate"] < counts["high"] and counts["n"] == 6
    assert {row["rater"] for row in rows} == {"rule.py:red"} and len({row["source"] for row in rows}) == 1
    assert rows[0]["source"].startswith("prospect label, judge ")
    for row, other in zip(rows[::2], rows[1::2], strict=True):
        pair = [(one["score"], one["label"]) for one in (row, other)]
        if threshold == "prompt_median":
            assert max(pair)[1] and not min(pair)[1]
        elif threshold == "128":
            assert all(up is (score >= 128) for score, up in pair)
    assert sum(row["label"] for row in rows) == (3 if "median" in threshold else counts["desirable"])
    assert load_feedback("thumbs.jsonl")[0].completion == load_feedback("drawn.jsonl")[0].completion


def test_images_that_cannot_be_read_are_counted_and_left_out(label: Any) -> None:
    rows = drawn(Path(), 10)
    Path("images/1.png").unlink()
    Path("images/3.png").write_bytes(b"")
    whole = Path("images/5.png").read_bytes()
    Path("images/5.png").write_bytes(whole[: len(whole) // 2])
    code, counts, said = label(rows, "--judge", "rule.py:red", "--threshold", "1")
    assert code == 0 and counts["broken"] == 3 and counts["rows"] == counts["n"] == counts["kept"] == 7
    assert "3 rows left out: their images cannot be read" in said and "images/1.png) is missing" in said
    assert [row.completion.path.name for row in load_feedback("thumbs.jsonl")] == [
        f"{i}.png" for i in (0, 2, 4, 6, 7, 8, 9)
    ]
    code, _, said = label([rows[1], rows[3]], "--judge", "rule.py:red", "--threshold", "1", out="none.jsonl")
    assert code == 1 and "none of 2 rows has images that can be read" in said and not Path("none.jsonl").exists()


def test_what_was_judged_before_a_death_is_not_asked_again(label: Any) -> None:
    rows, judge = drawn(Path()), ["--judge", "rule.py:fails_at_the_third"]
    assert label(rows, *judge)[0] == 1 and Path("thumbs.jsonl.partial").exists() and not Path("thumbs.jsonl").exists()
    code, counts, _ = label(rows, *judge)
    assert code == 0 and counts["kept"] == 6 and not Path("thumbs.jsonl.partial").exists()
    asked = Path("asked.log").read_text().splitlines()
    assert len(asked) == 2 + 1 + 4 and asked[:3] == ["p0", "p0", "p1"]


def test_a_clip_and_a_file_of_scores_judge_images(label: Any) -> None:
    rows = drawn(Path(), 4)
    save_clip(Path("clip"))
    code, counts, _ = label(rows, "--judge", "clip:clip", out="clip.jsonl")
    scores = [row.score for row in load_feedback("clip.jsonl")]
    assert code == 0 and counts["threshold"] == "a score above the median of all" and len(set(scores)) == 4
    write_rows(Path("scores.jsonl"), [{**row, "score": i} for i, row in enumerate(rows)])
    code, counts, _ = label(rows, "--judge", "scores:scores.jsonl", "--threshold", "2", out="by-file.jsonl")
    assert code == 0 and [row.desirable for row in load_feedback("by-file.jsonl")] == [False, False, True, True]


def test_an_output_that_could_not_name_the_images_is_refused_before_the_judge_is_asked(label: Any) -> None:
    Path("elsewhere").mkdir()
    code, _, said = label(drawn(Path()), "--judge", "rule.py:fails_at_the_third", out="elsewhere/thumbs.jsonl")
    assert code == 1 and "expected a file beside its images" in said and not Path("asked.log").exists()
