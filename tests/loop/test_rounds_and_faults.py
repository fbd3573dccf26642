"""Rounds end to end, and what may go wrong on the way: deaths, signals, judges that fail, changed inputs."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import CheckpointError, DataError, ModelError, RunStopped, UsageError
from prospect.feedback.files.sources import load_feedback
from prospect.results.rounds import Ledger
from prospect.rounds.run import run_rounds
from rounds_runs import asked, die, hashes, ledger, prompts, small, write_judge

COMPARES = """
def better(prompt, first, second):
    return len(first) - len(second)
"""
OWN = """
from prospect.rounds.protocols import protocol

@protocol("kto", defaults={"samples_per_prompt": 2})
def only_long(gathered):
    return [gathered.thumb(one.prompt, s, len(s.completion) > 8) for one in gathered.asked for s in one.samples]
"""


def rows_of(values: dict[str, Any], number: int) -> list[Any]:
    return list(load_feedback(Path(values["output"]) / f"round-{number}" / "rows"))


def keys(path: Path) -> set[str]:
    return {json.loads(line)["prompt"] for line in path.read_text().splitlines()}


def settings_of(protocol: str, folder: Path) -> dict[str, Any]:
    if protocol == "own":
        (folder / "mine.py").write_text(OWN)
        return {"protocol": f"{folder / 'mine.py'}:only_long"}
    if protocol == "rlaif":
        (folder / "compares.py").write_text(COMPARES)
        return {"protocol": "rlaif", "label": {"judge": f"{folder / 'compares.py'}:better", "cut": "judge"}}
    if protocol == "spin":
        return {"protocol": "spin", "teach": True, "label": {"cut": "judge"}, "evaluate__judge": write_judge(folder)}
    return {"protocol": protocol, "teach": protocol == "orca_math"}


@pytest.mark.parametrize("protocol", ["online_kto", "orca_math", "online_dpo", "spin", "rft", "rlaif", "own"])
def test_two_rounds_of_every_protocol(tmp_path: Path, model_path: Path, protocol: str) -> None:
    values = small(tmp_path, model_path, **settings_of(protocol, tmp_path))
    found = run_rounds(values, quiet=True)
    assert [one.round for one in found.rounds] == [0, 1, 2] and found.stopped and found.stopped.kind == "done"
    assert found.rounds[1].trained and found.rounds[2].trained and len(set(hashes(found))) == 3
    assert found == ledger(values)
    start = tmp_path / "rounds" / "start"
    learnt, held_out = keys(start / "prompts.jsonl"), keys(start / "held_out.jsonl")
    assert len(learnt) == 12 and len(held_out) == 6 and not learnt & held_out
    for number in (1, 2):
        assert {row.prompt for row in rows_of(values, number)} <= learnt
    assert len([row for row in rows_of(values, 1) if row.source == "teacher"]) == (12 if protocol == "orca_math" else 0)


def test_no_row_is_in_two_rounds_and_no_fresh_prompt_either(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, prompts_per_round=6)
    run_rounds(values, quiet=True)
    one, two = rows_of(values, 1), rows_of(values, 2)
    assert not {row.id for row in one} & {row.id for row in two}
    assert not {row.prompt for row in one} & {row.prompt for row in two}


def test_several_samples_of_a_held_out_prompt_count_and_intervals_draw_prompts(
    tmp_path: Path, model_path: Path
) -> None:
    values = small(tmp_path, model_path, count=1, evaluate__samples_per_prompt=3)
    start, found = (one.held_out for one in run_rounds(values, quiet=True).rounds)
    assert start and found and found.against_start and found.words and len(start.samples) == 6
    assert start.rate.n == found.rate.n == found.against_start.n == 18 and found.against_start.prompts == 6
    assert found.gained + found.lost <= 6
    samples = (Path(values["output"]) / "start" / "evaluation" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in samples[:4]] == [
        *[start.samples[0].prompt] * 3,
        start.samples[1].prompt,
    ]


STAGES = [
    {"of": "prospect.evaluation.answers.keyed_file:KeyedFile.put", "call": 4, "after": True},  # the start's samples
    {"of": "prospect.rounds.story:write_jsonl"},  # sampled
    {"of": "prospect.evaluation.answers.keyed_file:KeyedFile.put", "call": 5, "after": True},  # judging
    {"of": "prospect.rounds.rows:freeze"},
    {"of": "prospect.rounds.rows:freeze", "after": True},
    {"of": "prospect.training.session:Session.count", "call": 3},
    {"of": "prospect.training.session:Session.finish", "after": True},
    {"of": "prospect.rounds.held_out:judge_written"},
    {"of": "prospect.results.rounds:Ledger.write", "after": True},  # the round is done, and its files not yet tidied
]


def _rows(found: Ledger) -> list[Any]:
    """What was trained on, in numbers; the hash of the rows knows the folder that their writer lies in."""
    return [one.rows.model_copy(update={"content": ""}) if one.rows else None for one in found.rounds]


def check_survived(values: dict[str, Any], whole: Ledger, log: Path) -> None:
    """The same weights as without deaths, no result twice, and no row in two rounds."""
    found = ledger(values)
    assert hashes(found) == hashes(whole)
    assert [one.held_out.rate for one in found.rounds if one.held_out] == [
        one.held_out.rate for one in whole.rounds if one.held_out
    ]
    assert _rows(found) == _rows(whole)
    assert max(Counter(log.read_text().splitlines()).values()) == 1, "a sample or a verdict was asked for twice"
    ids = [{row.id for row in rows_of(values, number)} for number in (1, 2)]
    assert not ids[0] & ids[1]


@pytest.mark.slow
def test_kill_nine_in_three_stages_gives_the_same_weights(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path)
    whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)
    log = tmp_path / "log"
    for stage in (STAGES[2], STAGES[5], STAGES[8]):
        assert die(values, stage, log) == -signal.SIGKILL
    assert die(values, 10**9, log) == 0
    check_survived(values, whole, log)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("optimizer", ["fresh", "carried"])
def test_twenty_deaths_in_every_stage_give_the_same_weights(tmp_path: Path, model_path: Path, optimizer: str) -> None:
    values = small(tmp_path, model_path, optimizer=optimizer)
    values["train"]["save_every"] = 1
    whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)
    log = tmp_path / "log"
    judged = len(asked(tmp_path))
    for stage in STAGES:
        assert die(values, stage, log) == -signal.SIGKILL
    deaths, code = len(STAGES), -signal.SIGKILL
    while deaths < 60 and (code := die(values, 13 + deaths % 9, log)) == -signal.SIGKILL:
        deaths += 1
    assert code == 0 and deaths >= 20
    check_survived(values, whole, log)
    assert len(asked(tmp_path)) <= 2 * judged + deaths  # a verdict that was given and not yet kept is lost


def test_a_finished_folder_is_left_as_it_is_and_goes_on_with_more_rounds(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path)
    first = run_rounds({**values, "rounds": {**values["rounds"], "count": 1}}, quiet=True)
    written = (tmp_path / "rounds" / "rounds.json").stat().st_mtime_ns
    again = run_rounds({**values, "rounds": {**values["rounds"], "count": 1}}, resume=True, quiet=True)
    assert (tmp_path / "rounds" / "rounds.json").stat().st_mtime_ns == written and again.rounds == first.rounds
    more = run_rounds(values, resume=True, quiet=True)
    assert [one.round for one in more.rounds] == [0, 1, 2] and more.rounds[:2] == first.rounds
    assert more.stopped and more.stopped.text == "all 2 rounds were made."
    whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)
    assert hashes(whole) == hashes(more)


def test_rounds_that_showed_no_gain_go_on_where_that_rule_is_dropped(tmp_path: Path, model_path: Path) -> None:
    stop = {"no_gain": True, "length": None, "repetition": None}
    values = small(tmp_path, model_path, stop=stop)
    values["train"]["learning_rate"] = 1e-9  # the same samples: no gain
    found = run_rounds(values, quiet=True)
    assert found.stopped and found.stopped.kind == "no_gain" and found.rounds[-1].round == 1
    values["rounds"]["stop"] = {**stop, "no_gain": False}
    found = run_rounds(values, resume=True, quiet=True)
    assert found.stopped and found.stopped.kind == "done" and found.rounds[-1].round == 2


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"rounds": {"temperature": 0.9}}, r"rounds\.temperature was 1\.0 and is 0\.9 now"),
        ({"train": {"learning_rate": 1e-4}}, r"train\.learning_rate was 0\.001 and is 0\.0001 now"),
        ({"rounds": {"reference": "previous"}}, r"rounds\.reference was 'start' and is 'previous' now"),
    ],
)
def test_another_recipe_is_refused_by_the_key(
    tmp_path: Path, model_path: Path, changed: dict[str, Any], key: str
) -> None:
    values = small(tmp_path, model_path, count=1)
    run_rounds(values, quiet=True)
    with pytest.raises(CheckpointError, match=r"were begun\. Go on with --resume"):
        run_rounds(values, quiet=True)
    other = {**values, **{name: {**values[name], **section} for name, section in changed.items()}}
    with pytest.raises(CheckpointError, match=key):
        run_rounds(other, resume=True, quiet=True)
    free = {**values, "train": {**values["train"], "max_tokens_per_micro_batch": 4096}}
    assert run_rounds(free, resume=True, quiet=True).rounds[-1].round == 1


def test_prompts_that_were_changed_are_refused(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, count=1)
    run_rounds(values, quiet=True)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts(20)))
    values["rounds"]["count"] = 2
    with pytest.raises(CheckpointError, match=r"begun with these prompts.*What was held out might be learnt from"):
        run_rounds(values, resume=True, quiet=True)


def test_a_judge_that_was_changed_is_refused(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, count=1)
    run_rounds(values, quiet=True)
    write_judge(tmp_path, "def good(prompt, completion, target=None):\n    return True\n")
    values["rounds"]["count"] = 2
    with pytest.raises(CheckpointError, match="is not the one that judged until now"):
        run_rounds(values, resume=True, quiet=True)


def test_what_failed_before_anything_was_kept_is_in_nobodys_way(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, count=1)
    broken = {**values, "model": {"name_or_path": str(tmp_path / "nothing")}}
    with pytest.raises(ModelError, match="there is no such model folder"):
        run_rounds(broken, quiet=True)
    assert run_rounds(values, quiet=True).rounds[-1].round == 1
    with pytest.raises(CheckpointError, match="holds a training run"):
        run_rounds({**values, "output": str(tmp_path / "rounds" / "round-1" / "run")}, quiet=True)


@pytest.mark.parametrize(
    ("says", "protocol", "kind", "words"),
    [
        ("True", "online_kto", "one_class", "0 thumbs down beside 36 up.*nothing left to learn from these prompts"),
        ("False", "online_kto", "one_class", "0 thumbs up beside 36 down"),
        ("True", "online_dpo", "no_rows", r"made no row of \d+ samples \(12 comparisons were ties"),
        ("False", "rft", "no_rows", "made no row of"),
    ],
)
def test_a_judge_that_always_says_the_same_ends_the_rounds_with_advice(
    tmp_path: Path, model_path: Path, says: str, protocol: str, kind: str, words: str
) -> None:
    code = f"def good(prompt, completion, target=None):\n    return {says}\n"
    values = small(tmp_path, model_path, protocol=protocol)
    write_judge(tmp_path, code)
    for resume in (False, True):
        found = run_rounds(values, resume=resume, quiet=True)
        assert found.stopped and found.stopped.kind == kind and re.search(words, found.stopped.text)
        assert [one.round for one in found.rounds] == [0, 1] and found.kept.round == 0


def test_a_judge_that_cannot_be_read_is_refused_before_training(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path)
    write_judge(tmp_path, "def good(prompt, completion, target=None):\n    return float('nan')\n")
    with pytest.raises(DataError, match="none of its answers on 6 held-out samples of the start could be read"):
        run_rounds(values, quiet=True)


def test_a_judge_that_only_compares_is_refused_where_scores_are_needed(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, **{**settings_of("rlaif", tmp_path), "protocol": "online_kto"})
    with pytest.raises(UsageError, match="it compares two completions and scores none"):
        run_rounds(values, quiet=True)
    assert not (tmp_path / "rounds" / "start").exists()


def test_a_judge_that_fails_in_the_middle_is_asked_only_what_is_left(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, count=1)
    whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)
    calls = asked(tmp_path)
    (tmp_path / "asked.log").unlink()
    broken = tmp_path / "broken"
    stop = f"    if Path({str(broken)!r}).exists() and Path(log.name).stat().st_size > 900:\n        raise OSError\n"
    code = (tmp_path / "judge.py").read_text()
    write_judge(tmp_path, code.replace("    return", f"{stop}    return"))
    broken.touch()
    with pytest.raises(DataError):
        run_rounds(values, quiet=True)
    assert 6 < len(asked(tmp_path)) < len(calls)
    broken.unlink()
    assert hashes(run_rounds(values, resume=True, quiet=True)) == hashes(whole)
    lost = asked(tmp_path)[:]
    assert len(lost) == len(calls) + 1 and set(lost) == set(calls)  # the call that failed is made again


def test_a_reference_that_is_missing_is_refused_before_anything_is_sampled(tmp_path: Path, model_path: Path) -> None:
    values = {**small(tmp_path, model_path), "reference": {"name_or_path": str(tmp_path / "gone")}}
    with pytest.raises(ModelError, match="gone: there is no such model folder"):
        run_rounds(values, quiet=True)
    assert not (tmp_path / "rounds" / "start").exists()


def test_a_model_of_a_round_that_was_removed_is_named(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, count=1)
    run_rounds(values, quiet=True)
    shutil.rmtree(tmp_path / "rounds" / "round-1" / "run")
    values["rounds"]["count"] = 2
    with pytest.raises(ModelError, match=r"round-1/run: there is no such model folder"):
        run_rounds(values, resume=True, quiet=True)


@pytest.mark.parametrize("stage", ["prospect.rounds.story.write_jsonl", "prospect.rounds.rows.freeze"])
def test_a_full_disk_is_survived(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    values = small(tmp_path, model_path, count=1)
    whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def on_a_full_disk(*arguments: Any, **more: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr("prospect.atomic.os.fsync", full)
            return original(*arguments, **more)

    module, _, name = stage.rpartition(".")
    original = getattr(importlib.import_module(module), name)
    with monkeypatch.context() as patch:
        patch.setattr(stage, on_a_full_disk)
        with pytest.raises(DataError, match="No space left on device"):
            run_rounds(values, quiet=True)
    assert not list((tmp_path / "rounds").rglob(".tmp-*"))
    assert hashes(run_rounds(values, resume=True, quiet=True)) == hashes(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["judging", "training"])
def test_a_signal_stops_the_rounds_and_says_how_to_go_on(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, stage: str
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        values = small(tmp_path, model_path, count=1)
        whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)
        place = {
            "judging": "prospect.rounds.feedback.score_completions",
            "training": "prospect.training.session.Session.count",
        }[stage]
        with monkeypatch.context() as patch:
            import prospect.rounds.feedback as feedback
            from prospect.training.session import Session

            original: Any = feedback.score_completions if stage == "judging" else Session.count

            def interrupted(*arguments: Any, **more: Any) -> Any:
                os.kill(os.getpid(), number)
                return original(*arguments, **more)

            patch.setattr(place, interrupted)
            with pytest.raises(RunStopped, match=r"what is done is kept in .*the same command and --resume") as stop:
                run_rounds(values, quiet=True)
        assert stop.value.exit_code == 128 + number
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert hashes(run_rounds(values, resume=True, quiet=True)) == hashes(whole)
    finally:
        signal.signal(signal.SIGINT, before)
