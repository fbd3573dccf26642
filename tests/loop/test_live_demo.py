"""The loop of a model in use, small: over HTTP, with the real server, store, checks and registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from prospect.cli.main import main
from prospect.collect.registry import Registry
from prospect.demo.live import _count, run_live
from prospect.demo.live_customers import Acknowledged


@pytest.mark.slow
def test_customers_vote_a_model_in_and_a_worse_one_out(tmp_path: Path) -> None:
    outcome = run_live(tmp_path / "demo", customers=100, held_out=100, quiet=True).as_dict()
    history = [(entry.model, entry.state) for entry in Registry(tmp_path / "demo" / "registry").read().history]
    assert history[:4] == [("base", "candidate"), ("base", "current"), ("kto", "candidate"), ("kto", "canary")]
    assert history[4:6] == [("base", "retired"), ("kto", "current")]
    assert history[6:] == [("worse", "candidate"), ("worse", "canary"), ("worse", "retired")]
    assert outcome["promoted"] and outcome["rolled_back"]
    assert outcome["after"]["low"] > outcome["before"]["high"]
    assert outcome["votes"] == outcome["turns"] > 2 * 100 + 2 * 2 * 50
    assert outcome["lost"] == 0
    assert Path(outcome["report"]).is_file()
    turns, votes, lost = _count(tmp_path / "demo" / "store.sqlite", [Acknowledged("of nobody", 1)])
    assert (turns, votes, lost) == (outcome["turns"], outcome["votes"], 1)


@pytest.mark.parametrize("flags", [["--method", "dpo"], ["--raters", "3"], ["--keep-desirable", "0.5"]])
def test_what_is_not_of_the_live_demo_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--live", *flags]) == 2
    assert f"{flags[0]}: the live demo has its own" in capsys.readouterr().err
