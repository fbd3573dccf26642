"""Runs that make images before a judge, and on held-out feedback, through the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import prospect
from pipelines import PROMPTS
from prospect.cli.main import main
from prospect.demo.image_base import IMAGE_BASE
from prospect.errors import UsageError
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.contest.judged import judge_completions
from prospect.evaluation.contest.judges import judge_named
from prospect.feedback import load_feedback
from prospect.models.diffusion import sampling
from prospect.results.contest import ContestResult
from prospect.results.feedback import FeedbackResult
from prospect.run_dir import RunDir

RED = "def red(prompt, completion):\n    return completion.resize((1, 1)).getpixel((0, 0))[0]\n"
ADAPTER = {"lora": {"r": 2, "alpha": 6}}


@pytest.fixture
def judge(tmp_path: Path) -> str:
    (tmp_path / "rule.py").write_text(RED)
    return f"{tmp_path / 'rule.py'}:red"


@pytest.fixture
def train(images: Callable[..., dict[str, Any]]) -> Callable[..., RunDir]:
    def make(family: str, loss: str = "kto", **sections: Any) -> RunDir:
        changes = {"data": {"eval": 0.4}, "train": {"learning_rate": 0.01, "max_steps": 2, "eval_every": 1}}
        return prospect.train(images(family, loss, **(changes | sections)), quiet=True)

    return make


@pytest.mark.parametrize(
    ("family", "loss", "model"),
    [
        pytest.param("sd15", "kto", ADAPTER, marks=pytest.mark.slow),
        ("pixels", "kto", {}),
        ("dit", "dpo", {}),
        ("pixels", "sft", {}),
    ],
)
def test_an_evaluation_gives_the_numbers_of_trainings_last(
    train: Callable[..., RunDir], family: str, loss: str, model: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    point = {"reference_point": {"kind": "matched"}} if loss == "kto" else {}  # evaluations cross prompts all the same
    run = train(family, loss, model=model, **point)
    assert main(["evaluate", str(run.path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    found = run.evaluations()["feedback"]
    assert isinstance(found, FeedbackResult) and printed == found.as_dict()
    last = [row for row in run.metrics() if "eval_loss" in row][-1]
    assert found.drift is not None and found.errors is not None
    if loss == "kto":
        assert found.threshold is not None and found.threshold.value > 0
        assert found.threshold.value == pytest.approx(0.5 * last["eval_kl"], rel=1e-3)
    for side, name in (("chosen", "desirable"), ("rejected", "undesirable")):
        if f"eval_log_ratios/{side}" in last:
            assert found.drift.log_ratio[name].value == pytest.approx(last[f"eval_log_ratios/{side}"], abs=1e-3)
            assert found.errors[name].value == pytest.approx(last[f"eval_errors/{side}"], abs=1e-4)
    assert any(abs(one.value) > 0.01 for one in found.drift.log_ratio.values())
    page = run.report_path.read_text()
    assert "squared error over the reference&#39;s · desirable" in page


def test_a_judge_compares_a_run_with_its_start(
    train: Callable[..., RunDir], judge: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("pixels")
    assert main(["evaluate", str(run.path), "--judge", judge, "--samples", "2", "--steps", "2"]) == 0
    found = run.evaluations()["contest"]
    assert isinstance(found, ContestResult) and found.scores is not None
    assert found.theirs == str(run.config()["model"]["name_or_path"])
    assert found.n == 2 * found.prompts > 2
    assert found.drawing is not None and found.drawing.steps == 2
    assert found.scores.change.value == pytest.approx(found.scores.ours.value - found.scores.theirs.value)
    for one in found.pictures:
        assert all((run.path / "evaluation" / name).is_file() for name in (*one.ours, *one.theirs))
    page = run.report_path.read_text()
    assert page.count('<img class="pictures') == 2 * len(found.pictures) + 2  # and those that it learnt from
    origin = run.provenance().images
    assert origin is not None and {one.desirable for one in origin.shown} == {True, False}
    assert f'alt="undesirable: {"; ".join(one.prompt for one in origin.shown if not one.desirable)}"' in page
    assert "Other side: " in page and "This model: " in page
    assert main(["evaluate", str(IMAGE_BASE), "--judge", judge]) == 2
    assert main(["evaluate", str(run.path), "--kl-prompts", "3"]) == 2
    assert "--kl-prompts is about texts" in capsys.readouterr().err


def prompts_of(folder: Path, prompts: list[str]) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return str(path)


def test_pipelines_meet_with_the_same_noise_and_a_killed_contest_draws_no_image_again(
    tmp_path: Path, pipelines: Callable[[str], Path], judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(pipelines("dit"))
    call = ["contest", model, "--against", model, "--data", prompts_of(tmp_path, PROMPTS[:3]), "--steps", "2"]
    call += ["--samples", "2", "-o", str(tmp_path / "found" / "contest.json"), "--judge", judge]
    (tmp_path / "found").mkdir()
    drawn: list[str] = []
    sample = sampling.sample_images

    def counting(pipeline: Any, prompts: list[str], *more: Any, **settings: Any) -> Any:
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.extend(prompts)
        return sample(pipeline, prompts, *more, **settings)

    monkeypatch.setattr("prospect.evaluation.answers.images.sample_images", counting)
    assert main(call) != 0  # the second side is stopped
    drawn[:] = ["again"]
    assert main(call) == 0
    assert drawn == ["again", *PROMPTS[:3]]  # the first side's are kept
    result = ContestResult.parse(json.loads((tmp_path / "found" / "contest.json").read_text()), tmp_path)
    assert (result.identical, result.n) == (6, 6)
    assert {entry.our_image == entry.their_image for entry in result.entries} == {True}
    assert [one.prompt for one in result.pictures] == PROMPTS[:3]
    rows = load_feedback(tmp_path / "found" / "contest.ours.jsonl")
    assert [str(row.completion.path) for row in rows] == [entry.our_image for entry in result.entries]
    assert not [*(tmp_path / "found").glob("*.partial")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "verifier:numeric"], "it reads text, and the sides make images"),
        (["--judge", "JUDGE", "--temperature", "0.1"], "--temperature is about texts"),
        (["--judge", "JUDGE", "--guidance", "3"], "--guidance: .* has none"),
        (["--judge", "JUDGE", "--output", ""], "need a folder"),
    ],
)
def test_what_does_not_suit_images_is_refused_before_any_is_drawn(
    tmp_path: Path, judge: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = [] if "--output" in arguments else ["-o", str(tmp_path / "contest.json")]
    given = [judge if word == "JUDGE" else word for word in arguments if word not in ("--output", "")]
    data = prompts_of(tmp_path, ["red ring top left"])
    call = ["contest", str(IMAGE_BASE), "--against", str(IMAGE_BASE), "--data", data, *given, *output]
    assert main(call) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "images").exists()


def test_a_library_call_says_where_images_go(tmp_path: Path, judge: str) -> None:
    assert find_subject(IMAGE_BASE, images=True).makes_images
    with pytest.raises(UsageError, match="a model that makes images; expected one that writes text"):
        find_subject(IMAGE_BASE)
    with pytest.raises(UsageError, match="need a folder"):
        judge_completions(IMAGE_BASE, prompts_of(tmp_path, ["red ring top left"]), judge_named(judge), IMAGE_BASE)
