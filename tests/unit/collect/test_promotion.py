"""What a run has to show before it is promoted, and that a person may waive it, in writing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collecting import a_turn, a_vote, fill, open_store, with_store
from evaluations import a_contest, a_run, a_run_that_passes, benchmarks, held_out, raise_alarm
from prospect.cli.promote import _WAIVABLE
from prospect.collect.offline import check_run
from prospect.collect.promotion import Promotion
from prospect.collect.registry import Move, Registry
from prospect.errors import PromotionError
from prospect.results.registry import Check, RegistryEntry
from prospect.run_dir import RunDir

OLD = "runs/old"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry in which the run `runs/old` is current."""
    monkeypatch.chdir(tmp_path)
    a_run(Path(OLD))
    found = Registry("registry")
    Promotion(found, OLD, "old").make_current(None)
    return found


@pytest.fixture
def current(registry: Registry) -> RegistryEntry:
    found = registry.read().current
    assert found is not None
    return found


@pytest.fixture
def new(registry: Registry) -> RunDir:
    """A run that passes."""
    return a_run_that_passes(Path("runs/new"), OLD)


def failed(run: RunDir, current: RegistryEntry, margin: float = 0.05) -> list[Check]:
    return [check for check in check_run(run, current, margin) if not check.passed]


def test_a_run_that_shows_everything_passes(new: RunDir, current: RegistryEntry) -> None:
    checks = check_run(new, current, 0.05)
    assert [(check.name, check.passed) for check in checks] == [
        ("contest", True), ("thumbs", True), ("benchmarks", True), ("alarms", True)
    ]  # fmt: skip
    assert "win rate of 65.0% (60.1% to 69.7%, n = 400)" in checks[0].found


def test_every_check_can_be_waived_on_the_command_line(new: RunDir, current: RegistryEntry) -> None:
    assert (*(check.name for check in check_run(new, current, 0.05)), "canary") == _WAIVABLE


def test_what_is_missing_is_named_with_the_command_that_makes_it(current: RegistryEntry) -> None:
    run = a_run(Path("runs/my new"))
    missing = {check.name: check.remedy for check in failed(run, current)}
    assert missing == {
        "contest": f"prospect contest 'runs/my new' --against {current.source} --judge JUDGE",
        "thumbs": "prospect evaluate 'runs/my new'",
        "benchmarks": f"prospect benchmark 'runs/my new' --against {current.source} --tasks TASKS",
    }


def test_results_beside_another_model_do_not_count(new: RunDir, current: RegistryEntry) -> None:
    new.write_evaluation("contest", a_contest("runs/older"))
    new.write_evaluation("benchmarks", benchmarks("runs/older"))
    assert [check.name for check in failed(new, current)] == ["contest", "benchmarks"]


@pytest.mark.parametrize(
    ("named", "kind"), [(OLD, "run"), ("./runs/../runs/old", "run"), ("endpoint:http://127.0.0.1:1/v1#old", "endpoint")]
)
def test_the_current_model_may_be_named_in_several_ways(
    new: RunDir, current: RegistryEntry, named: str, kind: str
) -> None:
    new.write_evaluation("contest", a_contest(named, kind=kind))
    assert failed(new, current) == []


@pytest.mark.parametrize(("wins", "margin", "passes"), [(205, 0.05, True), (205, 0.03, False), (195, 0.05, False)])
def test_a_contest_may_be_lost_by_less_than_the_margin(
    new: RunDir, current: RegistryEntry, wins: int, margin: float, passes: bool
) -> None:
    new.write_evaluation("contest", a_contest(OLD, wins=wins))
    assert [check.name for check in failed(new, current, margin)] == ([] if passes else ["contest"])


def test_every_judge_counts_and_not_the_kindest(new: RunDir, current: RegistryEntry) -> None:
    new.write_evaluation("contest-strict", a_contest(OLD, wins=180, judge="strict"))
    (check,) = failed(new, current)
    assert check.name == "contest" and "strict gives it a win rate of 45.0%" in check.found
    assert "the interval should be above 45.0%" in check.found and "verifier" not in check.found


@pytest.mark.parametrize(("auroc", "half", "said"), [(0.54, 0.05, "should be above 0.5"), (0.9, None, "no AUROC")])
def test_held_out_thumbs_have_to_be_told_apart(
    new: RunDir, current: RegistryEntry, auroc: float, half: float | None, said: str
) -> None:
    new.write_evaluation("feedback", held_out(auroc, half))
    (check,) = failed(new, current)
    assert check.name == "thumbs" and said in check.found


@pytest.mark.parametrize(
    ("change", "half", "better", "value", "passes"),
    [
        (0.0, 0.049, True, 0.6, True),
        (0.0, 0.051, True, 0.6, False),  # the interval reaches beyond the margin
        (-0.1, 0.02, True, 0.6, False),
        (-0.1, 0.02, False, 0.6, True),  # lower is better
        (0.1, 0.02, False, 0.6, False),
        (0.5, 0.2, False, 20.0, True),  # a perplexity: 5 % of 20 is 1
        (0.5, 0.6, False, 20.0, False),
        (0.0, None, True, 0.6, False),
    ],
)
def test_no_benchmark_may_have_become_worse_by_the_margin(
    new: RunDir, current: RegistryEntry, change: float, half: float | None, better: bool, value: float, passes: bool
) -> None:
    new.write_evaluation("benchmarks", benchmarks(OLD, change, half, better=better, value=value))
    assert [check.name for check in failed(new, current)] == ([] if passes else ["benchmarks"])


def test_an_alarm_of_training_stands_in_the_way(new: RunDir, current: RegistryEntry) -> None:
    raise_alarm(new, "answers have become twice as long")
    (check,) = failed(new, current)
    assert check.name == "alarms" and check.found == "step 3: answers have become twice as long"


def test_a_refused_run_changes_nothing_and_a_waived_check_is_written_down(registry: Registry, new: RunDir) -> None:
    raise_alarm(new, "answers have become twice as long")
    before = registry.path.read_bytes()
    with pytest.raises(PromotionError, match=r"runs/new is not promoted:\nfailed  alarms: step 3: answers have"):
        Promotion(registry, "runs/new", "new").start_canary(0.05)
    assert registry.path.read_bytes() == before
    Promotion(registry, "runs/new", "new", reason="they should be longer", waive=["alarms"]).start_canary(0.05)
    entry, canary = registry.read().history[-2:]
    assert [(check.name, check.waived) for check in entry.checks if not check.passed] == [("alarms", True)]
    assert (entry.state, entry.reason, canary.state) == ("candidate", "they should be longer", "canary")


def test_a_run_that_was_no_canary_is_not_promoted_but_by_a_waiver(registry: Registry, new: RunDir) -> None:
    with pytest.raises(PromotionError, match=r"failed  canary: it has been no canary\. Do: prospect promote runs/new"):
        Promotion(registry, "runs/new", "new").make_current(None)
    Promotion(registry, "runs/new", "new", reason="ten users", waive=["canary"]).make_current(None)
    current = registry.read().current
    assert current is not None and current.model == "new" and current.replaces == "old"
    assert [check.name for check in current.checks if check.waived] == ["canary"]


def test_another_share_starts_the_count_anew_without_new_checks(registry: Registry, new: RunDir) -> None:
    promotion = Promotion(registry, "runs/new", "new", margin=0.1)
    promotion.start_canary(0.05)
    (new.evaluation_path / "contest.json").unlink()
    promotion.start_canary(0.2)
    first, second = registry.read().history[-2:]
    assert (first.share, second.share, second.margin) == (0.05, 0.2, 0.1) and second.at >= first.at


def test_a_canary_is_promoted_by_its_votes_and_not_before(registry: Registry, new: RunDir, tmp_path: Path) -> None:
    promotion = Promotion(registry, "runs/new", "new")
    promotion.start_canary(0.5)
    with pytest.raises(PromotionError, match="its votes were not looked at"):
        promotion.make_current(None)
    now = datetime.now(UTC) + timedelta(seconds=1)

    def votes(count: int) -> list[object]:
        made: list[object] = []
        for arm, model in (("current", "old"), ("canary", "new")):
            for number in range(count):
                turn = a_turn(arm=arm, model=model, created=now, conversation=f"{arm}{number}")
                made += [turn, a_vote(turn, 1 if arm == "canary" or number % 2 else -1, f"{arm}{number}")]
        return made

    few, many = str(tmp_path / "few.sqlite"), str(tmp_path / "many.sqlite")
    for address, count in ((few, 49), (many, 80)):
        with_store(address, lambda store, count=count: fill(store, *votes(count)))
    with open_store(few) as store, pytest.raises(PromotionError, match="too early: 49 votes on it and 49 on the"):
        promotion.make_current(store.database)
    with open_store(many) as store:
        (check,) = promotion.make_current(store.database)
    assert check.found.startswith("better: its up-share is +50.0 (")
    current = registry.read().current
    assert current is not None and current.model == "new" and current.checks == [check]


def test_what_is_no_run_has_nothing_to_go_by(registry: Registry) -> None:
    with pytest.raises(PromotionError, match="my/hub-model: is no run directory"):
        Promotion(registry, "my/hub-model", "hub-model").propose()
    registry.propose("other", "x", Move("by hand"))
    assert registry.read().current is not None
