"""Held-out feedback and contests, with models that were really trained: small, and a few steps long."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import make_model, make_tokenizer, pairs, thumbs, write_rows
from prospect import train
from prospect.config import ModelSettings
from prospect.errors import DataError, ModelError, UsageError
from prospect.evaluation.answers.answers import Answer
from prospect.evaluation.answers.held_out import read_held_out
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.answers.writers import Generation
from prospect.evaluation.contest.judged import judge_completions
from prospect.evaluation.contest.judges.function import FunctionJudge
from prospect.evaluation.contest.judges.names import judge_named
from prospect.evaluation.contest.sides import Judging, gather_sides
from prospect.evaluation.held_out.preference import Settings, evaluate_feedback
from prospect.evaluation.held_out.scoring import draw_own_samples
from prospect.feedback.records import Unpaired
from prospect.models.policy import load_for_scoring
from prospect.models.sampling import generate
from prospect.results.contest import ContestResult
from prospect.run_dir import RunDir
from prospect.statistics.estimates import Intervals
from tolerances import FORWARD, rounding

WITHIN = rounding(FORWARD, 70)  # nats: what is compared here is made of log-probs of completions, which are no larger
QUICK = Settings(kl_prompts=6, kl_tokens=8, intervals=Intervals(resamples=200))


@pytest.fixture
def trained(tmp_path: Path, recipe: Callable[..., dict[str, Any]]) -> Callable[..., RunDir]:
    """Trains a few steps; the held-out rows are half of the prompts."""

    def run(loss: str, rows: list[dict[str, Any]] | None = None, **sections: Any) -> RunDir:
        made = recipe(loss, rows, train={"epochs": 2, "learning_rate": 5e-3}, **sections)
        made["data"]["eval"] = 0.5
        return train(made, quiet=True)

    return run


def last_evaluation(run: RunDir) -> dict[str, Any]:
    return [row for row in run.metrics() if "eval_loss" in row][-1]


@pytest.mark.parametrize(("loss", "lora"), [("kto", None), ("kto", {"r": 2}), ("ipo", None), ("kto_no_z0", None)])
def test_the_numbers_are_those_that_the_run_logged(trained: Callable[..., RunDir], loss: str, lora: Any) -> None:
    run = trained(loss, model={"lora": lora} if lora else {})
    found, logged = evaluate_feedback(run.path, settings=QUICK), last_evaluation(run)
    assert found.accuracy.rate == pytest.approx(logged["eval_rewards/accuracies"])
    assert found.auroc.value == pytest.approx(logged["eval_rewards/auroc"])
    assert found.margin.value == pytest.approx(logged["eval_rewards/margins"], rel=0, abs=0.1 * WITHIN)
    chosen = found.rewards["desirable"].value
    assert chosen == pytest.approx(logged["eval_rewards/chosen"], rel=0, abs=0.1 * WITHIN)
    if loss == "kto":
        assert found.threshold.kind == "z0"
        assert found.threshold.value == pytest.approx(0.1 * logged["eval_kl"], rel=0, abs=0.1 * WITHIN)
    assert found.reference.kind == ("adapter_off" if lora else "frozen")
    assert found.reference.identity == run.provenance().reference.identity and found.notes == []
    json.dumps(found.as_dict(), allow_nan=False)


def test_no_number_depends_on_how_much_goes_through_at_once(trained: Callable[..., RunDir]) -> None:
    run = trained("kto")
    whole, single = (
        evaluate_feedback(
            run.path,
            settings=Settings(
                kl_prompts=6, kl_tokens=8, max_tokens=tokens, batch_size=size, intervals=Intervals(resamples=200)
            ),
        )
        for tokens, size in ((10_000, 64), (1, 1))
    )
    assert numbers(whole.as_dict()) == pytest.approx(numbers(single.as_dict()), rel=0, abs=WITHIN)
    assert len(numbers(whole.as_dict())) > 40


def numbers(value: Any, name: str = "") -> dict[str, float]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: x for inner, one in items for key, x in numbers(one, f"{name}/{inner}").items()}
    return {name: float(value)} if isinstance(value, int | float) else {}


def test_a_model_has_not_drifted_from_itself(model_path: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "thumbs.jsonl", thumbs(12))
    found = evaluate_feedback(model_path, data, str(model_path), settings=QUICK)
    assert found.drift.kl.value == pytest.approx(0, abs=WITHIN) and found.drift.kl.n == 6
    assert found.drift.log_ratio["desirable"].value == pytest.approx(0, abs=WITHIN)
    per_token = found.log_loss["reference"].value
    assert found.log_loss["policy"].value == pytest.approx(per_token, rel=rounding(FORWARD))
    # What is known of a model alone: nobody says which beta, and z0 is where its own log-ratios are.
    assert found.score.beta == 0.1 and found.threshold.kind == "z0"
    assert found.label_log_loss.value == pytest.approx(math.log(2), rel=0, abs=0.1 * WITHIN)


def test_drift_is_measured_on_what_the_policy_itself_writes(tmp_path: Path, model_path: Path) -> None:
    other = tmp_path / "other"
    make_model(seed=1).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    data = write_rows(tmp_path / "thumbs.jsonl", thumbs(12))
    found = evaluate_feedback(other, data, str(model_path), settings=QUICK).drift
    # Of random text both models think alike; of its own text each thinks better than the other does.
    assert found.kl.value > found.log_ratio["desirable"].value and found.kl.low < found.kl.high
    again = evaluate_feedback(other, data, str(model_path), settings=Settings(kl_prompts=6, kl_tokens=8, seed=1))
    assert again.drift.kl.value != found.kl.value  # samples, not the likeliest text
    assert again.drift.log_ratio["desirable"].value == found.log_ratio["desirable"].value
    assert evaluate_feedback(other, data, str(model_path), settings=Settings(kl_prompts=0)).drift.kl is None


def test_a_sample_is_scored_token_by_token_as_it_was_drawn(model_path: Path) -> None:
    # Of an untrained model the tokenizer reads hardly any sample back as the tokens that were drawn.
    policy = load_for_scoring(ModelSettings(name_or_path=str(model_path)))
    records = [
        Unpaired(prompt=f"w{i} w{i + 1}", completion="w1", desirable=True, id=str(i), where="") for i in range(6)
    ]
    asked = [*records, replace(records[0], prompt="w1 " * 60)]
    found = draw_own_samples(policy, asked, max_length=64, max_new_tokens=8, seed=3, batch_size=4)
    drawn = generate(
        policy.model,
        policy.tokenizer,
        [record.prompt for record in records],
        max_new_tokens=8,
        temperature=1.0,
        top_p=1.0,
        seed=3,
    )
    assert [tuple(one.completion_ids) for one in found.rows] == [one.ids for (one,) in drawn]
    assert found.cut == sum(not one.finished for (one,) in drawn) and found.left_out == 1


@pytest.mark.parametrize("loss", ["simpo", "sft", "cpo"])
def test_without_a_reference_likelihoods_are_reported_and_it_is_said(
    trained: Callable[..., RunDir], loss: str, tmp_path: Path
) -> None:
    run = trained(loss)
    found = evaluate_feedback(run.path, write_rows(tmp_path / "pairs.jsonl", pairs(8)), settings=QUICK)
    assert found.reference is None and found.drift is None and found.calibration is None
    # Sums of log-probs favour what is short; only a loss that compares sums is looked at by them.
    assert found.score.what == f"beta * log-prob{'' if loss == 'cpo' else ' per completion token'}"
    assert found.accuracy.n == 8 and found.log_loss["policy"].value > 0
    assert any("no reference" in note for note in found.notes)
    against = evaluate_feedback(
        run.path, tmp_path / "pairs.jsonl", run.config()["model"]["name_or_path"], settings=QUICK
    )
    assert against.drift.kl.n > 0


def test_beta_scales_a_model_alone_and_is_1_where_it_is_not_named(model_path: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", pairs(8))
    plain, scaled = (
        evaluate_feedback(model_path, data, "none", settings=replace(QUICK, beta=beta)) for beta in (None, 0.5)
    )
    assert (plain.score.beta, scaled.score.beta) == (1.0, 0.5)
    assert scaled.margin.value == pytest.approx(0.5 * plain.margin.value)


def test_a_reward_model_is_looked_at_by_its_scores(trained: Callable[..., RunDir]) -> None:
    run = trained("bradley_terry", pairs(24))
    found, logged = evaluate_feedback(run.path, settings=QUICK), last_evaluation(run)
    assert found.accuracy.rate == pytest.approx(logged["eval_rewards/accuracies"])
    assert found.score.what.startswith("score") and found.log_loss is None and found.drift is None
    with pytest.raises(UsageError, match=r"beta is 0\.5"):
        evaluate_feedback(run.path, settings=replace(QUICK, beta=0.5))
    with pytest.raises(UsageError, match="reward model"):
        judge_completions(run.path, run.config()["data"]["train"], judge_named("verifier:regex:dog"))


def test_rows_that_were_trained_on_are_called_so(trained: Callable[..., RunDir], tmp_path: Path) -> None:
    run = trained("kto")
    config = run.config()
    config["data"]["eval"], config["output"] = None, str(tmp_path / "all")
    found = evaluate_feedback(train(config, quiet=True).path, config["data"]["train"], settings=QUICK)
    assert any("trained on" in note for note in found.notes)


def test_another_reference_than_the_runs_is_noticed(trained: Callable[..., RunDir]) -> None:
    run = trained("kto")
    provenance = run.provenance()
    provenance.reference.identity = "other"
    run.write_provenance(provenance)
    assert any("not those" in note for note in evaluate_feedback(run.path, settings=QUICK).notes)


def test_a_reference_that_reads_other_tokens_is_refused(model_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_model().save_pretrained(other)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["quick brown"])
    tokenizer.save_pretrained(other)
    data = write_rows(tmp_path / "thumbs.jsonl", thumbs(4))
    with pytest.raises(ModelError, match="tokenizer"):
        evaluate_feedback(model_path, data, str(other), settings=QUICK)


def test_what_cannot_be_evaluated_is_refused(model_path: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "thumbs.jsonl", thumbs(4))
    mixed = [str(data), str(write_rows(tmp_path / "pairs.jsonl", pairs(2)))]
    for model, source, error in (
        (model_path, None, UsageError),
        ("endpoint:http://localhost:1/v1#m", data, UsageError),
        (data, data, UsageError),
        (model_path, mixed, DataError),
    ):
        with pytest.raises(error):
            evaluate_feedback(model, source, settings=QUICK)
    with pytest.raises(UsageError, match="limit"):
        evaluate_feedback(model_path, data, limit=0)


# -- contests --------------------------------------------------------------------------------------------------------

HOW = Judging(generation=Generation(samples_per_prompt=2, max_new_tokens=8))
VOWELS = "def grade(prompt, completion, target):\n    return sum(letter in 'aeiou' for letter in completion)\n"


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    (tmp_path / "vowels.py").write_text(VOWELS, encoding="utf-8")
    return judge_named(f"verifier:python:{tmp_path / 'vowels.py'}:grade")


def test_a_model_against_itself_gets_one_half(model_path: Path, tmp_path: Path, judge: Any) -> None:
    data = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"the {i}"} for i in range(6)])
    found = judge_completions(model_path, data, judge, model_path, how=HOW)
    assert found.win_rate.rate == 0.5 and found.n == found.ties == 12 and found.prompts == 6
    assert "No difference" in found.sentence and "better" not in found.sentence
    json.dumps(found.as_dict(), allow_nan=False)


def test_without_another_side_the_good_completions_of_the_data_are_it(
    model_path: Path, tmp_path: Path, judge: Any
) -> None:
    rows = [{"prompt": f"the {i}", "chosen": " aeiou" * 20, "rejected": "x"} for i in range(6)]
    found = judge_completions(model_path, write_rows(tmp_path / "pairs.jsonl", rows), judge, how=HOW, limit=4)
    assert found.losses == found.n == 8 and found.against is None
    assert found.samples[0].theirs == ("aeiou " * 20).strip() and found.samples[0].prompt == "the 0"


def test_a_run_is_asked_the_prompts_that_it_held_out(trained: Callable[..., RunDir], judge: Any) -> None:
    run = trained("kto", [{**row, "answer": i} for i, row in enumerate(thumbs(24))])
    found = judge_completions(run.path, None, judge, how=Judging(generation=HOW.generation, target="answer"))
    held_out, _ = read_held_out(find_subject(run.path), None, None)
    good = {row.prompt for row in held_out if row.desirable}
    assert {sample.prompt for sample in found.samples} == good and 0 < len(good) < 24
    assert found.data.source.endswith("(held out by prompt)")
    sides = gather_sides(
        run.path, None, run.config()["model"]["name_or_path"], how=Judging(target="answer", generation=HOW.generation)
    )
    assert {item.prompt for item in sides.items} == {row.prompt for row in held_out}
    assert all(isinstance(item.target, int) for item in sides.items)


def test_files_of_completions_meet_where_both_have_the_prompt(tmp_path: Path, judge: Any) -> None:
    def side(name: str, texts: dict[str, list[str]]) -> Path:
        rows = [{"prompt": p, "completion": text} for p, some in texts.items() for text in some]
        return write_rows(tmp_path / name, rows)

    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": p} for p in "abcd"])
    ours = side("ours.jsonl", {"a": ["ee", "e"], "b": ["x"], "c": ["a"]})
    theirs = side("theirs.jsonl", {"a": ["o"], "b": ["ooo"], "d": ["a"]})
    said: list[str] = []
    found = judge_completions(ours, prompts, judge, theirs, announce=said.append)
    assert (found.wins, found.losses, found.n) == (1, 1, 2) and found.data.left_out == 2
    # What so few can show is said before the judge is asked.
    assert "2 prompts are left out" in said[0] and "interval" in said[1] and said[2].startswith("planned")
    with pytest.raises(DataError, match="in common"):
        judge_completions(ours, write_rows(tmp_path / "z.jsonl", [{"prompt": "z"}]), judge, theirs)


def test_answers_and_verdicts_are_kept_and_not_asked_for_again(model_path: Path, tmp_path: Path, judge: Any) -> None:
    data = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"the {i}", "answer": i} for i in range(3)])
    how = Judging(generation=HOW.generation, keep=tmp_path / "result", target="answer")
    theirs = write_rows(tmp_path / "theirs.jsonl", [{"prompt": f"the {i}", "completion": "e"} for i in range(3)])
    first = judge_completions(model_path, data, judge, theirs, how=how)
    again = judge_completions(tmp_path / "result.ours.jsonl", data, judge, theirs, how=how)
    assert first.calls.calls > 0 == again.calls.calls and again.wins == first.wins
    assert not (tmp_path / "result.ours.partial").exists()


class Forgetful:
    """A server that heeds no seed: whenever it is asked, it writes another text."""

    def __init__(self) -> None:
        self.identity, self.written = "server", 0

    def answer(self, asked: Any, settings: Generation) -> Any:
        for number in range(len(asked)):
            self.written += 1
            yield number, Answer(f"text {self.written}", 2, True)


def test_a_contest_that_was_killed_while_judging_goes_on_with_the_same_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, asked = Forgetful(), []
    monkeypatch.setattr("prospect.evaluation.contest.sides.find_writer", lambda *_, **__: server)

    def killed(prompt: str, first: str, second: str) -> str:
        if len(asked) == 3:
            asked.append("killed")
            raise KeyboardInterrupt
        asked.append(first)
        return "first"

    data = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"the {i}"} for i in range(4)])
    how = Judging(keep=tmp_path / "result")

    def contest() -> ContestResult:
        return judge_completions(tmp_path, data, FunctionJudge(killed, identity="j"), tmp_path, how=how)

    with pytest.raises(KeyboardInterrupt):
        contest()
    before = [(tmp_path / f"result.{side}.jsonl").read_text() for side in ("ours", "theirs")]
    found = contest()
    # Four comparisons in two orders, of which three were paid for; nothing was written twice.
    assert server.written == 8 and (found.calls.cached, found.calls.calls) == (3, 5)
    assert [(tmp_path / f"result.{side}.jsonl").read_text() for side in ("ours", "theirs")] == before
    assert not list(tmp_path.glob("*.partial"))


def test_right_answers_come_from_their_column_and_must_agree(tmp_path: Path) -> None:
    exact = judge_named("verifier:exact")
    ours = write_rows(tmp_path / "ours.jsonl", [{"prompt": p, "completion": "4"} for p in "ab"])
    theirs = write_rows(tmp_path / "theirs.jsonl", [{"prompt": p, "completion": "5"} for p in "ab"])
    rows = [{"prompt": "a", "answer": "4"}, {"prompt": "b", "answer": "5"}]
    data = write_rows(tmp_path / "prompts.jsonl", rows)
    found = judge_completions(ours, data, exact, theirs, how=Judging(target="answer"))
    assert (found.wins, found.losses) == (1, 1)
    write_rows(data, [*rows, {"prompt": "a", "answer": "7"}])
    with pytest.raises(DataError, match=r"prompts\.jsonl:3"):
        judge_completions(ours, data, exact, theirs, how=Judging(target="answer"))
