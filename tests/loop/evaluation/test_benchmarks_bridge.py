"""The bridge to lm-evaluation-harness, offline: a small task of our own, and models that know little."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import make_model, make_tokenizer
from prospect.errors import DataError, UsageError
from prospect.evaluation.benchmarks.harness import Benchmarking, _code_execution, run_benchmarks
from prospect.evaluation.benchmarks.results import Result, change_of, read_results, side_by_side
from prospect.statistics.estimates import Intervals

harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed"
)

CHOICES = [" quick", " lazy dog", " fox"]
# Rows differ in their answer's place only, so a model that likes one choice best is right in a known share of them.
DOCUMENTS = [{"question": "number one, the", "choices": CHOICES, "answer": i % 3} for i in range(12)]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three tasks: choices, free text, and one that would run code."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS), encoding="utf-8")
    common: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "metadata": {"version": 1.0},
    }
    choice = {
        "task": "little_words",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    writing = {
        "task": "little_writing",
        "output_type": "generate_until",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["dog"], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": False}],
    }
    missing = {**choice, "task": "not_here", "dataset_path": "nobody/has-such-a-dataset", "dataset_kwargs": {}}
    for task in (choice, writing, {**writing, "task": "little_code", "unsafe_code": True}, missing):
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump({**common, **task}), encoding="utf-8")
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other"
    make_model(seed=3).save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


def how(tasks: Path, **settings: Any) -> Benchmarking:
    return Benchmarking(include=tasks, intervals=Intervals(resamples=200), **settings)


@harness
def test_a_task_of_our_own_is_answered_by_both_and_compared_document_by_document(
    model_path: Path, other: Path, tasks: Path
) -> None:
    found = run_benchmarks(model_path, ["little_words", "little_writing"], other, how(tasks))
    words = found.tasks["little_words"].metrics["acc,none"]
    # One choice is the likeliest in every row, and right in a third of them.
    assert words.ours.value == words.reference.value == pytest.approx(1 / 3)
    assert words.ours.n == 12 and words.ours.stderr > 0
    assert 0 < words.ours.low < 1 / 3 < words.ours.high < 1
    change = words.change
    same = favourite(model_path) == favourite(other)
    assert change.paired and change.value == 0 and change.n == 12
    assert change.verdict == "no difference shown" and change.low < 0 < change.high
    # If the favourites differ no row is right for both: it is the pairing that makes the interval wide or narrow.
    assert (change.high > 0.3) == (not same)
    writing = found.tasks["little_writing"].metrics["exact_match,none"]
    assert words.higher_is_better and not writing.higher_is_better  # as the tasks say
    assert writing.ours.n == 12 and found.harness.version
    json.dumps(found.as_dict(), allow_nan=False)


def favourite(path: Path) -> int:
    """The choice with the highest log-prob, by our own log-probs."""
    from prospect.data.batch import Row, collate
    from prospect.data.render import Encoder
    from prospect.evaluation.answers.subject import find_subject
    from prospect.models.policy import load_for_scoring

    policy = load_for_scoring(find_subject(path).settings)
    encoded = [Encoder(policy.tokenizer, 256, end_token=False).encode("number one, the", text) for text in CHOICES]
    ids = [[np.array(part, dtype=np.int32) for part in (one.prompt_ids, one.completion_ids)] for one in encoded]
    return int(policy.logps(collate([Row(a, b, "", "", True) for a, b in ids])).argmax())


@harness
def test_the_harness_and_our_log_probs_agree_on_the_answers(model_path: Path, tasks: Path) -> None:
    rows = [{**row, "answer": favourite(model_path)} for row in DOCUMENTS]
    (tasks / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = run_benchmarks(model_path, ["little_words"], how=how(tasks, limit=5))
    result = found.tasks["little_words"].metrics["acc,none"]
    assert result.ours.value == 1.0 and result.ours.n == 5 and result.change is None
    assert found.reference is None and found.limit == 5
    assert 0.4 < result.ours.low < 1  # five of five is not certainty


@harness
def test_code_is_run_only_where_it_is_allowed(model_path: Path, tasks: Path) -> None:
    with pytest.raises(UsageError, match="--allow-code-execution"):
        run_benchmarks(model_path, ["little_code"], how=how(tasks))
    allowed = run_benchmarks(model_path, ["little_code"], how=how(tasks, allow_code_execution=True, limit=2))
    assert allowed.tasks["little_code"].n == 2


@harness
def test_unknown_tasks_and_data_that_are_not_here_are_said(model_path: Path, tasks: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        run_benchmarks(model_path, ["little_words"], how=Benchmarking(include=tasks / "absent"))
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        run_benchmarks(model_path, ["not_here"], how=how(tasks))
    with pytest.raises(UsageError, match="no task"):
        run_benchmarks(model_path, [], how=how(tasks))


def test_without_the_harness_it_is_said_how_to_install_it(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lm_eval", "lm_eval.tasks"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"pip install 'prospect-align\[eval\]'"):
        run_benchmarks(model_path, ["gsm8k"])


def test_importing_prospect_never_imports_the_harness() -> None:
    modules = "prospect, prospect.cli.evaluate, prospect.evaluation.benchmarks.harness"
    script = f"import {modules}, sys; print({{name.split('.')[0] for name in sys.modules}} & {{'lm_eval', 'torch'}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("before", ["1", None])
def test_the_environment_cannot_allow_code_and_is_left_as_it_was(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    else:
        monkeypatch.setenv("HF_ALLOW_CODE_EVAL", before)
    for allowed in (False, True):
        with _code_execution(allowed):
            assert os.environ["HF_ALLOW_CODE_EVAL"] == ("1" if allowed else "0")
        assert os.environ.get("HF_ALLOW_CODE_EVAL") == before


def result(value: float, stderr: float | None, numbers: Any = None, higher: bool | None = True) -> Result:
    return Result(value, stderr, 100, None if numbers is None else np.array(numbers, dtype=float), higher)


def test_changes_without_documents_take_the_sides_for_independent() -> None:
    change, paired = change_of(result(0.6, 0.03), result(0.5, 0.04), Intervals())
    assert not paired and change.value == pytest.approx(0.1)
    assert change.high - change.low == pytest.approx(2 * 1.959964 * 0.05) and change.p == pytest.approx(
        0.0455, abs=1e-4
    )
    assert change.verdict == "better"
    unknown, _ = change_of(result(0.9, None), result(0.1, 0.01), Intervals())
    assert unknown.verdict == "no difference shown" and unknown.p == 1


def test_where_nobody_says_which_way_is_better_neither_word_is_said() -> None:
    sides = [result(10.0, 0.1, higher=None), result(12.0, 0.1, higher=None)]
    for ours, theirs in (sides, sides[::-1]):
        assert change_of(ours, theirs, Intervals())[0].verdict == "different"
    assert change_of(sides[0], sides[0], Intervals())[0].verdict == "no difference shown"
    paired, _ = change_of(result(1, 0, [1.0] * 50, None), result(0, 0, [0.0] * 50, None), Intervals())
    assert paired.verdict == "different"


@pytest.mark.parametrize(("told", "word"), [({"acc": True}, "better"), ({"acc": None}, "different"), ({}, "different")])
def test_the_direction_is_what_the_task_says(told: dict[str, Any], word: str) -> None:
    raw: dict[str, Any] = {
        "higher_is_better": {"task": told},
        "samples": {"task": []},
        **{"versions": {}, "n-shot": {}, "group_subtasks": {}, "n-samples": {"task": {"effective": 50}}},
    }
    sides = []
    for value in (1.0, 0.0):
        samples = [{"filter": "none", "acc": value}] * 50
        sides.append(read_results({**raw, "results": {"task": {"acc,none": value}}, "samples": {"task": samples}}))
    found = side_by_side(raw, sides, Intervals())["task"].metrics["acc,none"]
    assert found.change.verdict == word and found.higher_is_better is told.get("acc")


def test_of_an_error_rate_less_is_better() -> None:
    assert (
        change_of(result(10.0, 0.1, higher=False), result(12.0, 0.1, higher=False), Intervals())[0].verdict == "better"
    )
    ours, theirs = [0.0] * 50, [1.0] * 50
    paired, is_paired = change_of(result(0, 0, ours, False), result(1, 0, theirs, False), Intervals())
    assert is_paired and paired.verdict == "better" and paired.value == -1
    assert change_of(result(0, 0, ours), result(1, 0, theirs), Intervals())[0].verdict == "worse"
