"""Rounds with a pipeline as the model: it draws, a judge looks, it is trained, and it draws again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import write_rows
from pictures import save_picture
from pipelines import PROMPTS
from prospect.demo.image_base import IMAGE_BASE
from prospect.demo.image_world import held_out_wishes, training_wishes
from prospect.errors import ConfigError, DataError, ProspectError, UsageError
from prospect.evaluation.answers import images as drawing
from prospect.feedback import load_feedback
from prospect.feedback.images.opening import decode_image
from prospect.feedback.records import Image, Paired
from prospect.report.rounds.page import build_rounds_report
from prospect.results.rounds import Ledger
from prospect.rounds.plan import plan_rounds
from prospect.rounds.recipe import load_rounds
from prospect.rounds.run import run_rounds
from prospect.run_dir import RunDir
from rounds_runs import hashes

JUDGE = """
def odd(prompt, completion):
    return sum(completion.tobytes()) % 2

def bright(prompt, completion):
    return sum(completion.tobytes()) / len(completion.tobytes())

def brighter(prompt, first, second):
    return bright(prompt, first) - bright(prompt, second)

def never(prompt, completion):
    return sum(completion.tobytes()) % 16 == 1
"""


def judge(folder: Path, name: str = "odd") -> str:
    (folder / "judge.py").write_text(JUDGE)
    return f"{folder / 'judge.py'}:{name}"


def small(folder: Path, model: Path = IMAGE_BASE, **rounds: Any) -> dict[str, Any]:
    """A recipe of two rounds of two steps; `rounds` replaces keys of its section."""
    known = model == IMAGE_BASE
    asked = [wish.prompt for wish in training_wishes()[:6]] if known else PROMPTS[:4]
    held_out = [wish.prompt for wish in held_out_wishes()[:4]] if known else PROMPTS[4:]
    settings = {
        "protocol": "online_kto",
        "count": 2,
        "prompts": str(write_rows(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in asked])),
        "samples_per_prompt": 4,
        "steps": 2,
        "sample_batch": 8,
        "label": {"judge": judge(folder)},
        "balance": {"least_rows": 1},
        "evaluate": {
            "prompts": str(write_rows(folder / "held.jsonl", [{"prompt": prompt} for prompt in held_out])),
            "samples_per_prompt": 3,
        },
        "stop": {"no_gain": False},
    }
    return {
        "rounds": {**settings, **rounds},
        "model": {"name_or_path": str(model)},
        "train": {"batch_size": 8, "learning_rate": 1e-4, "max_steps": 2, "save_every": None},
        "output": str(folder / "rounds"),
    }


@pytest.mark.slow
def test_rounds_on_the_demo_s_pictures_are_the_same_after_a_death_in_the_middle_of_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = small(tmp_path)
    whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)
    drawn, write = 0, drawing.write_image

    def dying(*arguments: Any) -> Image:
        nonlocal drawn
        drawn += 1
        if drawn == 12 + 13:  # the start's 12, and in the middle of round 1's second batch
            raise OSError("the disk is gone")
        return write(*arguments)

    monkeypatch.setattr(drawing, "write_image", dying)
    with pytest.raises(OSError, match="the disk is gone"):
        run_rounds(values, quiet=True)
    found = run_rounds(values, resume=True, quiet=True, after=build_rounds_report)
    assert drawn == 25 + 16 + 12 + 24 + 12, "a batch that was there was drawn again"
    assert hashes(found) == hashes(whole) and len(set(hashes(found))) == 3
    assert [one.held_out and one.held_out.rate for one in found.rounds] == [
        one.held_out and one.held_out.rate for one in whole.rounds
    ]
    _check_files(found, tmp_path / "rounds")


def _check_files(found: Ledger, folder: Path) -> None:
    start, one = found.rounds[0].held_out, found.rounds[1]
    assert start and start.rate.n == 12 and start.words is None and start.kl is None
    assert one.drawn and one.judged and one.rows and one.drawn.samples == 24 and one.drawn.words is None
    assert one.judged.desirable + one.judged.undesirable == 24 and one.rows.kind == "unpaired"
    samples, rows = load_feedback(folder / "round-1" / "samples.jsonl"), load_feedback(folder / "round-1" / "rows")
    assert len({row.id for row in samples}) == 24 and {row.completion for row in rows} <= {
        row.completion for row in samples
    }
    shown = start.samples[0]
    assert [len(shown.images), shown.completion] == [3, ""] and shown.passed is not None
    assert all((folder / name).is_file() for name in shown.images)
    page = (folder / "report.html").read_text()
    assert page.count('<img class="pictures sharp" src="data:image/png;base64,') == 3 * 4
    assert f"The start: {shown.passed} of 3 pass" in page and "3 samples each" in page
    assert "judge.py:odd judges" in page and "more samples pass than at the start" in page
    assert not list(folder.glob("**/*.partial*"))


@pytest.mark.parametrize("protocol", ["online_dpo", "rft", "spin"])
def test_protocols_that_fit_make_rows_of_images(protocol: str, tmp_path: Path) -> None:
    values = small(tmp_path, protocol=protocol, count=1)
    values["rounds"]["label"]["judge"] = judge(tmp_path, "bright" if protocol == "online_dpo" else "odd")
    if protocol == "spin":
        rows = []
        for i, wish in enumerate(training_wishes()[:6]):
            save_picture(tmp_path / "real" / f"{i}.png", seed=i, size=(30, 20))
            rows.append({"prompt": wish.prompt, "image": f"real/{i}.png"})
        values["rounds"] |= {"teacher": str(write_rows(tmp_path / "real.jsonl", rows)), "samples_per_prompt": 1}
        values["rounds"] |= {"label": {}, "evaluate": {**values["rounds"]["evaluate"], "judge": judge(tmp_path)}}
    found = run_rounds(values, quiet=True)
    assert found.rounds[1].trained and len(set(hashes(found))) == 2
    rows = load_feedback(tmp_path / "rounds" / "round-1" / "rows")
    assert len(rows) > 1
    for row in rows:
        sides = (row.chosen, row.rejected) if isinstance(row, Paired) else (row.completion,)
        assert all(isinstance(side, Image) and decode_image(side, row.id).size == (8, 8) for side in sides)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("reference", ["start", "previous"])
def test_one_adapter_is_trained_on_through_all_rounds(
    reference: str, tmp_path: Path, pipelines: Callable[[str], Path]
) -> None:
    values = small(tmp_path, pipelines("sd15"), reference=reference)
    values |= {"model": {**values["model"], "lora": {"r": 2, "alpha": 6}}}
    values["train"]["learning_rate"] = 1e-2
    found = run_rounds(values, quiet=True)
    assert len(set(hashes(found))) == 3 and all(one.drawn and one.rows for one in found.rounds[1:])
    first, second = (RunDir(tmp_path / "rounds" / f"round-{number}" / "run") for number in (1, 2))
    assert first.config()["model"]["lora"]["alpha"] == 6 and second.config()["model"]["adapter"] == "continue"
    values["model"] = {"name_or_path": str(second.path)}
    with pytest.raises(ConfigError, match="trained an adapter of a pipeline, and rounds of images start from whole"):
        run_rounds({**values, "output": str(tmp_path / "more")}, quiet=True)
    step = next(row for row in second.metrics() if "loss" in row)
    assert (step["log_ratios/chosen"] == 0.0) is (reference == "previous")


def change(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    section, _, name = key.rpartition(".")
    at = values
    for part in section.split("."):
        at = at.setdefault(part, {})
    at[name] = value
    return values


@pytest.mark.parametrize(
    ("key", "value", "kind", "words"),
    [
        ("rounds.protocol", "rlaif", UsageError, "Take online_dpo, with a judge that scores images"),
        ("rounds.protocol", "orca_math", UsageError, "Take spin, which holds real images"),
        ("rounds.temperature", 1.0, ConfigError, r"rounds\.temperature is about texts"),
        ("rounds.label.cut", "drop", ConfigError, r"rounds\.label\.cut is about texts"),
        ("rounds.guidance", 2.0, UsageError, r"rounds\.guidance: .* has none"),
        ("model.lora", True, ConfigError, r"model\.lora: .* by its own weights alone"),
        ("rounds.label.judge", "verifier:exact", UsageError, "it reads text, and the model makes images"),
        ("rounds.evaluate.judge", "lm:some/model", UsageError, "it reads text, and the model makes images"),
        ("rounds.prompts", "talk", DataError, "a conversation; expected text"),
        ("rounds.prompts", "word", DataError, 'prompt "red dragon": .* does not know it'),
        ("rounds.teacher", "text", DataError, "the teacher's row is a text"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(
    key: str, value: Any, kind: type[ProspectError], words: str, tmp_path: Path
) -> None:
    files = {
        "talk": [{"prompt": [{"role": "user", "content": "a"}]}, {"prompt": "red ring top left"}],
        "word": [{"prompt": "red dragon"}, {"prompt": "red ring top left"}],
        "text": [{"prompt": training_wishes()[0].prompt, "completion": "a ring"}],
    }
    values = small(tmp_path, **({"teacher": str(tmp_path / "prompts.jsonl")} if value == "orca_math" else {}))
    given = str(write_rows(tmp_path / "given.jsonl", files[value])) if value in files else value
    with pytest.raises(kind, match=words):
        run_rounds(change(values, key, given), quiet=True)
    assert not (tmp_path / "rounds" / "start" / "evaluation" / "images").exists()


def test_a_dry_run_says_what_would_be_drawn(tmp_path: Path) -> None:
    assert "samples     24 a round, of 8 x 8 pixels, in 2 steps" in plan_rounds(load_rounds(small(tmp_path)))


def test_texts_have_no_settings_of_images(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path)
    with pytest.raises(ConfigError, match=r"rounds\.steps is about images"):
        run_rounds({**values, "model": {"name_or_path": str(model_path)}}, quiet=True)


def test_a_round_whose_thumbs_down_would_pull_more_is_not_trained_on(tmp_path: Path) -> None:
    """Unweighted, few thumbs up beside many down destroy a denoiser."""
    values = small(tmp_path, label={"judge": judge(tmp_path, "never")})
    values["rounds"]["balance"] |= {"max_desirable_weight": 1, "short": "keep"}
    found = run_rounds(values, quiet=True)
    assert found.stopped and found.stopped.kind == "one_class" and "making noise of everything" in found.stopped.text
    assert found.rounds[-1].rows is None and not (tmp_path / "rounds" / "round-1" / "run").exists()
    weighted = change({**values, "output": str(tmp_path / "weighted")}, "rounds.balance", {"least_rows": 1})
    one = run_rounds(weighted, quiet=True).rounds[1]
    assert one.rows and one.rows.weights["desirable_weight"] > 1


def test_a_judge_that_only_compares_looks_at_held_out_images(tmp_path: Path) -> None:
    values = change(small(tmp_path, count=1), "rounds.evaluate.judge", judge(tmp_path, "brighter"))
    found = run_rounds(values, quiet=True)
    assert found.compares and found.rounds[0].held_out and found.rounds[0].held_out.rate.rate == 0.5
    assert json.loads((tmp_path / "rounds" / "rounds.json").read_text())["compares"]
