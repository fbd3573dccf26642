"""The report of a run on scored feedback speaks of the best completions and the others."""

from __future__ import annotations

from pathlib import Path

from prospect.report.run.build import build_report
from prospect.report.run.facts import RunFacts
from prospect.report.run.summary import what_changed, what_was_done
from prospect.results.run import Provenance
from prospect.run_dir import RunDir

HISTOGRAM = {"edges": [0, 10, 20], "desirable": [4, 2], "undesirable": [1, 5]}
TOKENS = {"mean": 9.0, "p50": 8.0, "p90": 14.0, "max": 19}


def scored_run(path: Path) -> RunDir:
    """A finished run of five steps on six prompts with two completions each."""
    train = {
        "source": "scored.jsonl",
        "kind": "scored",
        "rows": 6,
        "prompts": 6,
        "desirable": 6,
        "undesirable": 6,
        "prompt_tokens": TOKENS,
        "completion_tokens": {"desirable": TOKENS, "undesirable": TOKENS},
        "completion_histogram": HISTOGRAM,
        "cut": 0,
        "empty_completions": 0,
        "dropped": 0,
    }
    run = RunDir(path)
    path.mkdir()
    run.write_provenance(
        Provenance(
            finished="2026-11-21T07:32:41+00:00",
            loss={"name": "infonca", "feedback": "scored", "hyperparameters": {"beta": 0.1}},
            data={"train": train, "eval": None},
        )
    )
    for step in range(1, 6):
        rewards = {"rewards/chosen": 0.1 * step, "rewards/rejected": -0.1 * step, "rewards/margins": 0.2 * step}
        run.append_metrics({"step": step, "loss": 1 / step, "logps/chosen": -9.0, "logps/rejected": -9.5, **rewards})
        run.append_metrics({"step": step, "eval_rewards/auroc": 0.5 + 0.05 * step})
    return run


def test_scored_runs_are_told_in_words_of_their_own(tmp_path: Path) -> None:
    facts = RunFacts.read(scored_run(tmp_path / "run"))
    assert facts.class_names == ("best", "others")
    assert facts.class_counts is None, "no classes to balance"
    assert "on 6 scored prompts, over 6 prompts" in " ".join(what_was_done(facts))
    assert "ranks a best completion above the others with AUROC 0.75" in " ".join(what_changed(facts))


def test_a_scored_run_has_a_page_that_names_its_classes(tmp_path: Path) -> None:
    page = build_report(scored_run(tmp_path / "run").path).read_text(encoding="utf-8")
    assert "scored prompts" in page
    assert "Best upwards, others downwards." in page
    assert "undesirable</span>" not in page and "Label balance" not in page
