"""How a run renders its rows goes with it: to its resume, its model, what it generates and how it is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from transformers import AutoTokenizer

import families
import prospect
from conftest import WORDS, make_tokenizer, thumbs, write_rows
from prospect.cli.main import main
from prospect.data.render import make_renderer
from prospect.errors import CheckpointError, ConfigError, DataError
from prospect.evaluation.answers.generate import generate_file
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.answers.writers import Generation
from prospect.evaluation.contest.sides import Judging, gather_sides
from prospect.evaluation.held_out.preference import Settings, evaluate_feedback
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.records import Message
from prospect.results.run import LeftOut
from runs import killed_after

SYSTEM = {"role": "system", "content": "Be brief."}
QUICK = Settings(kl_prompts=2, kl_tokens=4)


def talks(count: int, *, system: bool = False) -> list[dict[str, Any]]:
    """Thumbs on conversations; row i is desirable if i is even."""
    return [
        {
            "prompt": [*([SYSTEM] if system else []), {"role": "user", "content": f"number {i} the"}],
            "completion": [{"role": "assistant", "content": " ".join(WORDS[: 2 + i % 5])}],
            "label": i % 2 == 0,
        }
        for i in range(count)
    ]


@pytest.fixture
def model(tmp_path: Path, model_path: Path) -> Callable[[str | None], str]:
    """The tiny model with another chat template."""

    def make(template: str | None) -> str:
        folder = copytree(model_path, tmp_path / "model")
        (folder / "chat_template.jinja").unlink()
        tokenizer = make_tokenizer()
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


def at(monkeypatch: pytest.MonkeyPatch, time: datetime) -> None:
    """Lets runs start at a time."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return time

    monkeypatch.setattr("prospect.training.train.datetime", Clock)


@pytest.mark.parametrize("template", [families.LLAMA31, families.CLOCK])
def test_a_run_goes_on_with_the_date_it_began_with(
    recipe: Any, model: Any, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    values = recipe(rows=talks(16), model={"name_or_path": model(template)}, train={"max_steps": 4, "save_every": 2})
    at(monkeypatch, datetime(2026, 11, 21, 9, 30, 15, 99))
    with killed_after(0, "save"):
        prospect.train(values, quiet=True)
    at(monkeypatch, datetime(2026, 11, 23, 18, 1, 2))
    with pytest.raises(CheckpointError, match=r"data\.template_date was '2026-11-21T09:30:15' and is now '2026-11-22"):
        prospect.train(values, overrides=["data.template_date='2026-11-22'"], resume=True, quiet=True)
    run = prospect.train(values, resume=True, quiet=True)
    assert run.config()["data"]["template_date"] == "2026-11-21T09:30:15"
    assert prospect.train(run.config(), resume=True, quiet=True).provenance().finished
    found = evaluate_feedback(run.path, values["data"]["train"], settings=QUICK)
    assert found.data.sha256 == run.provenance().data.train.sha256
    subject = find_subject(run.path)
    assert RenderingOptions().for_scoring(subject).date == datetime(2026, 11, 21, 9, 30, 15)
    assert RenderingOptions().for_writing(subject).date is None  # it is asked today
    told = datetime(2000, 1, 1)
    assert RenderingOptions(date=told).for_writing(subject).date == told


def test_a_template_that_prints_no_date_leaves_none_in_the_recipe(recipe: Any) -> None:
    run = prospect.train(recipe(rows=talks(16), train={"max_steps": 1}), quiet=True)
    assert run.config()["data"]["template_date"] is None


def test_a_model_answers_as_it_was_trained(recipe: Any, model: Any, tmp_path: Path) -> None:
    """The recipe's template is saved with it, and a run directory knows the rest."""
    template = families.GEMMA.replace("trim)", "trim) ~ (mark or '')")
    (tmp_path / "mine.jinja").write_text(template, encoding="utf-8")
    data = {"chat_template": str(tmp_path / "mine.jinja"), "template_arguments": {"mark": "!"}, "system_role": "fold"}
    values = recipe(rows=talks(16, system=True), model={"name_or_path": model(None)}, data=data, train={"max_steps": 1})
    run = prospect.train(values, quiet=True)
    (tmp_path / "mine.jinja").unlink()  # the run needs it no more
    assert prospect.train(run.config(), resume=True, quiet=True).config()["data"]["chat_template"] == template
    tokenizer = AutoTokenizer.from_pretrained(run.model_path)
    assert tokenizer.chat_template == template
    rendering = RenderingOptions().for_writing(find_subject(run.path))
    asked = (Message("system", "Be brief."), Message("user", "number 3 the"))
    assert make_renderer(tokenizer, rendering).prompt(asked) == (
        "<s><start_of_turn>user\nBe brief.\n\nnumber 3 the!<end_of_turn>\n<start_of_turn>model\n"
    )
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in talks(3, system=True)])
    assert generate_file(str(run.path), prompts, tmp_path / "out.jsonl", max_new_tokens=4).completions == 3
    with pytest.raises(DataError, match=r"no system role here\. Set data\.system_role: fold \(--system-role fold\)"):
        keep = RenderingOptions(system_role="keep")
        generate_file(str(run.path), prompts, tmp_path / "no.jsonl", max_new_tokens=4, rendering=keep)
    found = evaluate_feedback(run.path, values["data"]["train"], settings=QUICK)
    assert found.data.sha256 == run.provenance().data.train.sha256
    folded = replace(QUICK, rendering=RenderingOptions(system_role="drop"))
    other = evaluate_feedback(run.path, values["data"]["train"], settings=folded)
    assert other.data.sha256 != found.data.sha256


def test_the_model_that_a_run_started_from_is_asked_as_the_run_is(recipe: Any, model: Any, tmp_path: Path) -> None:
    start = model(families.GEMMA)
    values = recipe(
        rows=talks(16, system=True),
        model={"name_or_path": start},
        data={"system_role": "fold", "plain_as_chat": True},
        train={"max_steps": 1},
    )
    run, base = find_subject(prospect.train(values, quiet=True).path), find_subject(start)
    assert RenderingOptions().for_writing(base, run) == RenderingOptions().for_writing(run)
    assert RenderingOptions().for_writing(base) == Rendering(plain_as_chat=None)
    other = find_subject(copytree(start, tmp_path / "other"))
    assert RenderingOptions().for_writing(other, run) == Rendering(plain_as_chat=True)
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in talks(3, system=True)])
    how = Judging(generation=Generation(max_new_tokens=4))
    assert len(gather_sides(run.name, str(prompts), start, how=how).items) == 3


def test_plain_prompts_go_where_a_run_has_learnt_them_and_else_through_the_template(
    recipe: Any, tmp_path: Path, model_path: Path
) -> None:
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "the quick"}])

    def said(name: Any, **options: Any) -> list[str]:
        lines: list[str] = []
        out = tmp_path / "out.jsonl"
        generate_file(str(name), prompts, out, max_new_tokens=2, announce=lines.append, rendering=options.get("asked"))
        assert load_feedback(out)[0].prompt == "the quick"
        return lines

    as_turns, continued = "plain prompts are user turns of the chat template", "plain prompts are continued as text"
    assert said(model_path)[0].startswith(as_turns)
    assert said(model_path, asked=RenderingOptions(plain_as_chat=False))[0].startswith(continued)
    steps = {"max_steps": 1}
    for rows, data, expected in (
        (thumbs(16), {}, continued),
        (thumbs(16), {"plain_as_chat": True}, as_turns),
        (talks(16), {}, as_turns),
    ):
        values = recipe(rows=rows, data=data, train=steps, output=str(tmp_path / f"run{len(list(tmp_path.iterdir()))}"))
        assert said(prospect.train(values, quiet=True).path)[0].startswith(expected)


def test_what_a_template_refuses_is_left_out_and_counted_everywhere(
    recipe: Any, model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*talks(16), *talks(2, system=True)]
    rows[3]["prompt"] = [*rows[3]["prompt"], {"role": "user", "content": "are you there?"}]
    start = model(families.GEMMA)
    values = recipe(rows=rows, model={"name_or_path": start}, train={"max_steps": 1})
    with pytest.raises(DataError, match=r"feedback\.jsonl:4: .*roles must take turns.*data\.unrenderable: drop"):
        prospect.train(values, quiet=True)
    values["data"]["unrenderable"] = "drop"
    run = prospect.train(values, quiet=True)
    file = values["data"]["train"]
    system, turns = (
        f"the chat template refuses this conversation: {x}" for x in ("no system role here", "roles must take turns")
    )
    counted = {
        turns: LeftOut(rows=1, first=[f"{file}:4"]),
        system: LeftOut(rows=2, first=[f"{file}:17", f"{file}:18"]),
    }
    assert run.provenance().data.train.unrenderable == counted
    found = evaluate_feedback(run.path, file, settings=QUICK)
    assert found.data.unrenderable == counted and f"2 rows were left out: {system}" in found.notes
    lines: list[str] = []
    made = generate_file(str(run.path), file, tmp_path / "out.jsonl", max_new_tokens=2, announce=lines.append)
    # Equal prompts are asked once, so one of the two with system text is named.
    assert made.completions == 15 and f"1 prompts are left out: {turns} ('number 3 the are you there?')" in lines
    assert main(["train", "kto", "--model", start, "--data", file, "--set", "data.unrenderable=drop", "data.eval=null",
                 "--dry-run"]) == 0  # fmt: skip
    assert f"2 rows, {system}" in " ".join(capsys.readouterr().out.split())


def test_settings_that_the_template_does_not_read_are_refused_before_the_weights_are_loaded(recipe: Any) -> None:
    values = recipe(rows=talks(16), data={"template_arguments": {"enable_thinking": False}})
    with pytest.raises(ConfigError, match="does not read enable_thinking"):
        prospect.train(values, quiet=True)
    assert not Path(values["output"]).exists()


def test_csft_asks_after_the_good_token_with_a_template_of_the_recipe_too(recipe: Any) -> None:
    values = recipe("csft", rows=talks(16), data={"chat_template": families.CHATML}, train={"max_steps": 1})
    run = prospect.train(values, quiet=True)
    tokenizer = AutoTokenizer.from_pretrained(run.model_path)
    turn = [{"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>assistant\n<|good|>")
