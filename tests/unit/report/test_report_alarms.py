"""Alarms of a run stand among the report's findings."""

from __future__ import annotations

from pathlib import Path

from prospect.report.run.facts import RunFacts
from prospect.report.run.findings import PageFinding, findings
from prospect.results.run import Alarm, AlarmsRow, SampleRow
from prospect.run_dir import RunDir


def found(path: Path, alarms: dict[int, Alarm]) -> dict[str, PageFinding]:
    run = RunDir(path)
    run.append_samples(SampleRow(step=step, prompt="p", completion="c") for step in (0, 20, 40, 60))
    for step in range(1, 61):
        run.append_metrics({"step": step, "loss": 0.5, "rewards/chosen": 0.1, "rewards/rejected": -0.1})
        if step in alarms:
            run.append_alarms(AlarmsRow(step=step, epoch=step / 60, alarms=[alarms[step]]))
    return {finding.title: finding for finding in findings(RunFacts.read(run))}


def test_an_alarm_that_lasts_is_the_first_worry(tmp_path: Path) -> None:
    loop = Alarm("repetition", "6 of 8 samples repeat themselves.")
    result = found(tmp_path, {20: loop, 60: loop})
    finding = result["Samples repeat themselves"]
    assert finding.worry and next(iter(result)) == "Samples repeat themselves"
    assert finding.text == "At step 60, and first at step 20: 6 of 8 samples repeat themselves."


def test_an_alarm_that_passed_is_told_and_no_worry(tmp_path: Path) -> None:
    finding = found(tmp_path, {20: Alarm("length", "samples went from 20 to 60 tokens.")})[
        "Samples changed in length for a while"
    ]
    assert not finding.worry and finding.text.endswith("Later samples do not show it.")


def test_rewards_that_fell_for_a_while_are_told(tmp_path: Path) -> None:
    result = found(tmp_path, {40: Alarm("rewards", "they fall.")})
    assert result["The rewards of both classes fell together at step 40"].worry


def test_no_alarm_no_finding(tmp_path: Path) -> None:
    titles = " ".join(found(tmp_path, {}))
    assert "Samples" not in titles and "fell together" not in titles
