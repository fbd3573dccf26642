"""Evaluations of a run for tests of what reads them, without a model that is asked anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult
from prospect.results.feedback import FeedbackResult
from prospect.results.run import Alarm, AlarmsRow
from prospect.run_dir import RunDir
from prospect.statistics.rates import proportion


def a_run(folder: Path) -> RunDir:
    """Return a run directory that holds nothing but its recipe."""
    run = RunDir(folder)
    folder.mkdir(parents=True)
    run.write_config({"output": str(folder)})
    return run


def a_run_that_passes(folder: Path, current: str) -> RunDir:
    """Return a run with all that is asked of one that is to replace `current`."""
    run = a_run(folder)
    run.write_evaluation("contest", a_contest(current))
    run.write_evaluation("feedback", held_out())
    run.write_evaluation("benchmarks", benchmarks(current))
    return run


def raise_alarm(run: RunDir, text: str) -> None:
    """Write an alarm into a run's metrics."""
    run.append_alarms(AlarmsRow(step=3, epoch=0.5, alarms=[Alarm("length", text)]))


def a_contest(against: str, wins: int = 260, n: int = 400, judge: str = "verifier", kind: str = "run") -> ContestResult:
    """Return a contest of `n` prompts without ties."""
    rate = proportion(wins, n)._asdict()
    calls = {"questions": n, "cached": 0, "calls": n, "prompt_tokens": 0, "completion_tokens": 0, "cost": None}
    result: dict[str, Any] = {
        "format": "prospect.contest/1", "evaluation": "contest", "level": 0.95, "samples": [], "entries": [],
        "model": {"name": "new", "kind": "run"}, "against": {"name": against, "kind": kind},
        "data": {"source": "f.jsonl", "left_out": 0}, "ours": "new", "theirs": against, "judge": judge,
        "generation": {"samples_per_prompt": 1, "max_new_tokens": 9, "temperature": 0.8, "top_p": 0.9, "seed": 0},
        "n": n, "prompts": n, "orders": 2, "wins": wins, "losses": n - wins, "ties": 0, "unparsed": 0,
        "position_flips": 0, "identical": 0, "not_judged": 0, "shown_first": None, "length_controlled": None,
        "win_rate": rate, "win_rate_90": rate, "win_rate_by_rows": None, "our_texts": None, "their_texts": None,
        "comparison": {**rate, "p": 0.001, "p_holm": 0.001, "verdict": "better"},
        "plan": {"n": n, "half_width": 0.05, "detectable": 0.57, "level": 0.95, "power": 0.8, "comparisons": 1},
        "planned_calls": {**calls, "estimated": True}, "calls": {**calls, "estimated": False},
    }  # fmt: skip
    return ContestResult.parse(result, "contest.json")


def held_out(auroc: float = 0.8, half: float | None = 0.05) -> FeedbackResult:
    """Return an evaluation on held-out thumbs; without `half` its AUROC has no interval."""
    low, high = (None, None) if half is None else (auroc - half, auroc + half)
    result: dict[str, Any] = {
        "format": "prospect.feedback/1", "evaluation": "feedback", "level": 0.95, "reference": None, "notes": [],
        "model": {"name": "new", "kind": "run", "identity": "ab", "loss": "kto"}, "rewards": {}, "accuracy": None,
        "data": {
            "source": "f.jsonl", "sha256": "ab", "kind": "unpaired", "rows": 400, "prompts": 400, "desirable": 200,
            "undesirable": 200, "cut": 0, "dropped": 0, "unrenderable": {},
        },
        "score": {"what": "beta * log-ratio", "beta": 0.1}, "threshold": {"kind": "z0", "value": 0.1},
        "auroc": {"value": auroc, "low": low, "high": high, "n": 400, "prompts": 400, "level": 0.95},
        "auroc_delong": None, "margin": None, "calibration": None, "label_log_loss": None, "log_loss": None,
        "drift": None,
    }  # fmt: skip
    return FeedbackResult.parse(result, "feedback.json")


def benchmarks(
    reference: str, change: float = 0.0, half: float | None = 0.02, *, better: bool | None = True, value: float = 0.6
) -> BenchmarksResult:
    """Return one task with one metric, which changed by `change`."""
    score = {"value": value, "stderr": 0.01, "low": value - 0.02, "high": value + 0.02, "n": 900, "level": 0.95}
    ends = {"low": None, "high": None} if half is None else {"low": change - half, "high": change + half}
    changed = {
        "value": change, **ends, "n": 900, "prompts": 900, "p": 0.5, "p_holm": 0.5, "verdict": "no difference shown",
        "level": 0.95, "paired": True,
    }  # fmt: skip
    metric = {"ours": score, "reference": score, "higher_is_better": better, "change": changed}
    task = {"version": 1, "num_fewshot": 0, "n": 900, "part_of": [], "metrics": {"acc": metric}}
    result: dict[str, Any] = {
        "format": "prospect.benchmarks/1", "evaluation": "benchmarks", "model": {"name": "new", "kind": "run"},
        "reference": {"name": reference, "kind": "run"}, "harness": {"name": "lm_eval", "version": "0"}, "limit": None,
        "chat_template": False, "level": 0.95, "tasks": {"polite": task},
    }  # fmt: skip
    return BenchmarksResult.parse(result, "benchmarks.json")
