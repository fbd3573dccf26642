"""A run that goes on: on a screen of text, and as a page that renews itself until the run ends."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prospect.cli.main import main
from prospect.errors import OutputError
from prospect.report.live import follow
from prospect.report.live.frame import draw_frame, seconds_per_step, sparkline
from prospect.report.live.serve import LivePage
from prospect.report.run.facts import RunFacts
from prospect.results.run import Alarm, AlarmsRow, Provenance, SampleRow
from prospect.run_dir import RunDir
from prospect.training.run_lock import locked


def step_row(step: int) -> dict[str, float]:
    """A step of 100 tokens at 50 tokens a second."""
    return {
        "step": step,
        "epoch": step / 10,
        "loss": 1 / step,
        "rewards/chosen": 0.1 * step,
        "rewards/rejected": -0.1 * step,
        "kl": 0.5,
        "learning_rate": 1e-4,
        "num_tokens": 100 * step,
        "tokens_per_second": 50.0,
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Four steps of ten."""
    run = RunDir(tmp_path / "kto")
    run.write_config({"loss": {"name": "kto"}, "model": {"name_or_path": "my/model"}})
    run.write_provenance(Provenance(prospect="0", steps=10))
    for step in range(1, 5):
        run.append_metrics(step_row(step))
    run.append_metrics({"step": 4, "epoch": 0.4, "eval_loss": 0.7, "eval_rewards/auroc": 0.8})
    run.append_alarms(AlarmsRow(step=4, epoch=0.4, alarms=[Alarm("length", "samples are long")]))
    run.append_samples([SampleRow(step=4, prompt="why?", completion="because\n\x1b[31m<b>red</b>")])
    return run


def test_the_screen_has_what_one_looks_for(run: RunDir) -> None:
    text = draw_frame(RunFacts.read(run), "running", width=60)
    for wanted in (
        "step 4 of 10 (40%)  epoch 0.40",
        "held out at step 4",
        "AUROC 0.800",
        "50 tok/s  2 s a step  about 12 s left, without evaluations",
        "ALARM at step 4: samples are long",
        "sample at step 4: why?",
        "reward of undesirable       −0.400  █▆▃▁",
        "z0 (nats)                    0.500  ▁▁▁▁",
    ):
        assert wanted in text
    assert max(map(len, text.splitlines())) <= 60
    assert "left" not in draw_frame(RunFacts.read(run), "finished")
    assert draw_frame(RunFacts.read(run), "running", plain_bars=True).isascii()


def test_a_sparkline_fits_its_columns_and_averages() -> None:
    assert sparkline(np.arange(8.0), 40) == "▁▂▃▄▅▆▇█"
    assert sparkline(np.array([0.0, 2, 4, 6]), 2) == "▁█"
    assert len(sparkline(np.random.default_rng(0).normal(size=1000), 33)) == 33


def test_time_left_is_known_from_the_second_logged_step_on(run: RunDir, tmp_path: Path) -> None:
    assert seconds_per_step(RunFacts.read(run)) == pytest.approx(2.0)
    young = RunDir(tmp_path / "young")
    young.append_metrics(step_row(1))
    assert seconds_per_step(RunFacts.read(young)) is None


def test_once_prints_one_frame_and_obeys_no_control_character(run: RunDir, capsys: Any) -> None:
    assert main(["watch", str(run.path), "--once"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("step 4 of 10") == 1 and "stopped; --resume goes on" in printed.out
    assert "\x1b" not in printed.out and not printed.err


def test_a_pipe_gets_the_first_frame_and_the_last(run: RunDir, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter(range(5, 8))

    def sleep(_: float) -> None:
        step = next(steps)
        run.append_metrics(step_row(step))
        if step == 7:
            run.write_provenance(Provenance(prospect="0", steps=10, finished="now"))

    monkeypatch.setattr(follow.time, "sleep", sleep)
    with locked(run.path):
        assert main(["watch", str(run.path)]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("kto", "step"))]
    assert [line.split("(")[0].split()[-1] for line in heads] == ["running", "10", "finished", "10"]
    assert "step 7" in heads[-1]


def test_nothing_written_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.setattr(follow.time, "sleep", lambda _: RunDir(tmp_path / "new").write_config({"output": "new"}))
    with locked(tmp_path / "new"):
        looks = follow.follow(RunDir(tmp_path / "new"))
        assert next(looks) == (None, "running")
        facts, state = next(looks)
        assert facts is not None and state == "running"


@pytest.mark.parametrize("words", [["watch"], ["report", "--live"]])
def test_a_folder_that_is_not_there_is_refused(words: list[str], tmp_path: Path, capsys: Any) -> None:
    assert main([*words, str(tmp_path / "none")]) == 2
    assert "there is no such run directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--port", "8000"], "--port is of --live"), (["--live", "--port", "70000"], "expected a number from 1 to 65535")],
)
def test_a_port_that_means_nothing_is_refused(run: RunDir, words: list[str], said: str, capsys: Any) -> None:
    assert main(["report", str(run.path), *words]) == 2
    assert said in capsys.readouterr().err


def ask(url: str, **headers: str) -> tuple[int, dict[str, str], str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), ""


def test_the_live_page_renews_itself_until_the_run_ends_and_is_closed_to_others(run: RunDir) -> None:
    page = LivePage(run)
    ended: list[str] = []
    with locked(run.path):
        serving = threading.Thread(target=lambda: ended.append(page.serve(every=0.01)))
        serving.start()
        status, headers, text = ask(page.address)
        assert status == 200 and headers["Refresh"] == "5" and "in progress" in text
        assert "&lt;b&gt;red" in text and "<script" not in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert page.address.startswith("http://127.0.0.1:")
        root = page.address.split("/", 3)
        assert ask("/".join([*root[:3], ""]))[0] == 404
        assert ask(page.address + "../metrics.jsonl")[0] == 404
        assert ask(page.address, Host="evil.example")[0] == 404
        with pytest.raises(OutputError, match="cannot be listened on"):
            LivePage(run, int(root[2].split(":")[1]))
        run.append_metrics(step_row(9))
        assert "9 of 10 steps" in ask(page.address)[2]
        run.write_provenance(Provenance(prospect="0", steps=10, finished="2026-01-01T00:00:00"))
        status, headers, text = ask(page.address)  # the server waits for this
        assert status == 200 and "Refresh" not in headers and "in progress" not in text
    serving.join(10)
    assert ended == ["finished"]


def test_a_torn_last_line_is_no_error(run: RunDir) -> None:
    with run.metrics_path.open("a") as file:
        file.write(json.dumps(step_row(5))[:20])
    assert "step 4 of 10" in draw_frame(RunFacts.read(run), "running")
