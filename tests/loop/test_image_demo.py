"""The demo with images, small: drawn, thumbed, aligned and compared, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prospect.cli.main import main
from prospect.demo import image_run
from prospect.feedback import load_feedback
from prospect.results.before_after import BeforeAfterResult
from prospect.run_dir import RunDir


def test_the_command_draws_aligns_compares_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_run, "PICTURES", 2)
    monkeypatch.setattr(image_run, "NOISES", 2)
    monkeypatch.setitem(image_run.IMAGE_METHODS["kto"], "steps", 2)
    assert main(["demo", "--images", "--noise", "0.2", "--output", str(tmp_path / "run"), "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert "training" not in said.err
    printed = json.loads(said.out)
    run = RunDir(tmp_path / "run")
    result = run.evaluations()["demo"]
    assert isinstance(result, BeforeAfterResult)
    assert printed.keys() == {"before", "after", "method", "seconds", "report", "rules", "thumbs"}
    assert printed["before"] == result.before._asdict()
    assert result.before.n == result.after.n == 16 * 2
    assert result.before.low < result.before.rate < result.before.high
    assert result.noise == 0.2
    assert [len(one.before) for one in result.pictures] == [2] * 16
    rows = load_feedback(run.path / "feedback.jsonl")
    assert len(rows) == 48 * 2 == sum(printed["thumbs"].values())
    page = Path(printed["report"]).read_text()
    assert page.count('alt="before: ') == page.count('alt="after: ') == 16
    assert '<img class="pictures sharp" src="data:image/png;base64,' in page
    assert len(run.metrics()) >= 2


@pytest.mark.parametrize("flags", [["--raters", "3"], ["--keep-desirable", "0.5"], ["--keep-undesirable", "0.5"]])
def test_what_is_not_of_the_demo_with_images_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--images", *flags]) == 2
    assert f"{flags[0]}: the demo with images does without" in capsys.readouterr().err
