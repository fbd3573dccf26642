"""`prospect evaluate`, `contest`, `benchmark` and `generate`: files, tables, exit codes, every refusal once."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from conftest import thumbs, write_rows
from prospect.cli.main import main
from prospect.endpoint.client import Endpoint
from servers import Answer, said

FAST = ["--kl-prompts", "4", "--kl-tokens", "6"]


@pytest.fixture
def desk(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with thumbs, prompts, a model and completions of the prompts."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "thumbs.jsonl", thumbs(24, prompts=12))
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"the {i}"} for i in range(5)])
    write_rows(tmp_path / "written.jsonl", [{"prompt": f"the {i}", "completion": "zebra" * i} for i in range(5)])
    (tmp_path / "model").symlink_to(model_path)
    return tmp_path


@pytest.fixture
def run(desk: Path) -> Path:
    settings = [
        "train.batch_size=8",
        "train.learning_rate=1e-3",
        "data.eval=0.5",
        "train.samples=0",
        "train.save_every=null",
    ]
    train = ["train", "kto", "--model", "model", "--data", "thumbs.jsonl", "--output", "run", "--quiet", "--set"]
    assert main([*train, *settings]) == 0
    return desk / "run"


def test_a_run_is_held_against_what_it_held_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["evaluate", "run", "-o", "result.json", "--json", *FAST]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (
        result
        == json.loads(Path("result.json").read_text())
        == json.loads((run / "evaluation/feedback.json").read_text())
    )
    assert result["data"]["source"].endswith("(held out by prompt)") and result["drift"]["kl"]["n"] == 4
    for name in ("AUROC", "accuracy", "margin", "KL to the reference", "95 % interval", "nats per token"):
        assert name in said.err
    assert "better" not in said.err
    assert main(["evaluate", "run", "--data", "thumbs.jsonl", "--name", "all", "--level", "0.9", *FAST]) == 0
    assert json.loads((run / "evaluation/all.json").read_text())["level"] == 0.9
    assert "90 % interval" in capsys.readouterr().err
    # The page is made of the run directory, with these files in it.
    assert main(["report", "run"]) == 0


def test_a_contest_says_what_it_can_show_before_the_judge_is_asked(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["contest", "written.jsonl", "--data", "prompts.jsonl", "--against", "model", "--max-new-tokens", "4"]
    assert main([*arguments, "--judge", "verifier:regex:zebra", "-o", "result.json", "--seed", "1"]) == 0
    said = capsys.readouterr().err
    assert said.index("5 comparisons: the 95% interval will be about") < said.index("planned:") < said.index("win rate")
    result = json.loads(Path("result.json").read_text())
    assert result["wins"] == 4 and result["n"] == 5 and result["win_rate"]["low"] < 0.9 < result["win_rate"]["high"]
    assert sorted(path.name for path in desk.glob("result.*")) == [
        "result.json",
        "result.theirs.jsonl",
        "result.verdicts.jsonl",
    ]


def test_without_another_side_the_data_is_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["contest", "run", "--data", "thumbs.jsonl", "--judge", "verifier:regex:thank", "--limit", "3"]
    assert main([*arguments, "--max-new-tokens", "4"]) == 0
    assert "the completions of the data" in capsys.readouterr().err
    assert json.loads((run / "evaluation/contest.json").read_text())["prompts"] == 3


HERE, THERE, ELSEWHERE = "http://here:1/v1", "https://there/v1", "https://there:444/v1"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str | None]]:
    """Each server that was asked, with the key that it got."""
    found: set[tuple[str, str | None]] = set()
    number = count()

    def answer(self: Endpoint, path: str, data: bytes) -> Any:
        found.add((self.url, self._key()))
        return {"choices": [{"text": f"text {next(number)}", "message": {"content": "A"}, "finish_reason": "stop"}]}

    monkeypatch.setattr(Endpoint, "_once", answer)
    monkeypatch.setenv("SIDES", "key of the sides")
    monkeypatch.setenv("JUDGE", "key of the judge")
    return found


@pytest.mark.parametrize(
    ("model", "against", "judge", "keys", "expected"),
    [
        (HERE, "written.jsonl", HERE, "--api-key-env SIDES", {(HERE, "SIDES")}),
        (HERE, HERE, "human", "--api-key-env SIDES", {(HERE, "SIDES")}),
        ("written.jsonl", "model", THERE, "--api-key-env SIDES", {(THERE, "SIDES")}),
        ("written.jsonl", "model", THERE, "--judge-api-key-env JUDGE", {(THERE, "JUDGE")}),
        (HERE, "model", THERE, "--judge-api-key-env JUDGE", {(HERE, None), (THERE, "JUDGE")}),
        (HERE, HERE, THERE, "--api-key-env SIDES --judge-api-key-env JUDGE", {(HERE, "SIDES"), (THERE, "JUDGE")}),
        (HERE, "model", HERE, "--api-key-env SIDES --judge-api-key-env JUDGE", {(HERE, "SIDES"), (HERE, "JUDGE")}),
        (HERE, "model", THERE, "--api-key-env SIDES --judge-api-key-env none", {(HERE, "SIDES"), (THERE, None)}),
        (HERE, THERE, ELSEWHERE, "", {(HERE, None), (THERE, None), (ELSEWHERE, None)}),
        (HERE, THERE, ELSEWHERE, "--judge-api-key-env JUDGE", {(HERE, None), (THERE, None), (ELSEWHERE, "JUDGE")}),
    ],
)
def test_a_key_goes_to_the_host_that_it_is_for(
    model: str, against: str, judge: str, keys: str, expected: set[Any], desk: Path, sent: set[Any]
) -> None:
    assert main(contest_of(model, against, judge, keys)) == 0
    values = {"SIDES": "key of the sides", "JUDGE": "key of the judge"}
    assert sent == {(url, values.get(name)) for url, name in expected}


@pytest.mark.parametrize(
    ("model", "against", "judge", "keys", "message"),
    [
        (HERE, "model", THERE, "--api-key-env SIDES", "the judge is at https://there:443, http://here:1 is asked too"),
        ("written.jsonl", HERE, THERE, "--api-key-env SIDES", "--judge-api-key-env NAME, or none"),
        (THERE, "model", ELSEWHERE, "--api-key-env SIDES", "a key goes to one host only"),
        (HERE, THERE, HERE, "--api-key-env SIDES", "a key goes to one host only"),
        (HERE, THERE, THERE, "--api-key-env SIDES --judge-api-key-env JUDGE", "Let one of them answer first"),
        (HERE, THERE, "human", "--api-key-env SIDES", "Let one of them answer first"),
        ("model", "model", THERE, "--api-key-env SIDES --judge-api-key-env JUDGE", "no other endpoint is asked"),
        (HERE, "model", "human", "--judge-api-key-env JUDGE", "is for --judge endpoint"),
    ],
)
def test_a_key_for_two_hosts_is_refused_before_anybody_is_asked(
    model: str,
    against: str,
    judge: str,
    keys: str,
    message: str,
    desk: Path,
    sent: set[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(contest_of(model, against, judge, keys)) == 2
    assert message in capsys.readouterr().err and sent == set()


def test_a_page_is_no_way_around_it(desk: Path, sent: set[Any], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["contest", f"endpoint:{HERE}#m", "--data", "prompts.jsonl", "--against", f"endpoint:{THERE}#m"]
    assert main([*arguments, "--page", "vote.html", "--api-key-env", "SIDES"]) == 2
    assert "goes to one host only" in capsys.readouterr().err and sent == set()
    assert main([*arguments, "--page", "vote.html"]) == 0
    assert sorted(path.name for path in desk.glob("vote.*")) == ["vote.html", "vote.ours.jsonl", "vote.theirs.jsonl"]


def contest_of(model: str, against: str, judge: str, keys: str) -> list[str]:
    """Arguments of a contest; an address becomes an endpoint, human a judge that is none."""
    model, against, judge = (f"endpoint:{name}#m" if "//" in name else name for name in (model, against, judge))
    judge = "verifier:regex:zebra" if judge == "human" else judge
    asked = ["contest", model, "--data", "prompts.jsonl", "--against", against, "--judge", judge]
    return [*asked, "--max-new-tokens", "4", "--limit", "2", *keys.split()]


def both(judge: Callable[[dict[str, Any]], Any]) -> Callable[..., Answer]:
    """A server that continues prompts, and judges by a function."""
    number = count()
    return lambda path, body: (
        said(judge(body)) if "chat" in path else (200, {"choices": [{"text": f" {next(number)}"}]})
    )


@pytest.mark.parametrize(
    ("options", "of_sides", "of_judge"),
    [
        ("--request top_k=3", 3, 3),
        ("--request top_k=3 --judge-request max_tokens=9", 3, None),
        ("--judge-request top_k=4", None, 4),
    ],
)
def test_fields_of_a_request_go_to_whom_they_are_for(
    options: str, of_sides: Any, of_judge: Any, desk: Path, serve: Callable[..., Any]
) -> None:
    server = serve(both(lambda _: "A"))
    assert main(contest_of(f"{server.url}/v1", "written.jsonl", f"{server.url}/v1", options)) == 0
    found: dict[str, set[Any]] = {}
    for path, body in zip(server.paths, server.asked, strict=True):
        found.setdefault(path, set()).add(body.get("top_k"))
    assert found == {"/v1/completions": {of_sides}, "/v1/chat/completions": {of_judge}}


def test_a_contest_without_a_verdict_fails_and_shows_a_reply(
    desk: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(both(lambda _: "Both are \x1b[31mfine."))
    write_rows(desk / "other.jsonl", [{"prompt": f"the {i}", "completion": "cat"} for i in range(5)])
    assert main([*contest_of("written.jsonl", "other.jsonl", f"{server.url}/v1", "-o r.json")]) == 1
    said = capsys.readouterr().err
    assert "no verdict on 2 comparisons could be read, so there is no win rate" in said
    assert r"Both are \x1b[31mfine." in said and "\x1b" not in said and not Path("r.json").exists()


def test_verdicts_that_could_not_be_read_are_counted_and_one_is_shown(
    desk: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(both(lambda body: "A" if "the 1" in str(body) else "Hm."))
    write_rows(desk / "other.jsonl", [{"prompt": f"the {i}", "completion": "cat"} for i in range(5)])
    assert main([*contest_of("written.jsonl", "other.jsonl", f"{server.url}/v1", "-o r.json")]) == 0
    assert "1 of 2 verdicts could not be read. One of them: reply: 'Hm.'" in capsys.readouterr().err
    assert json.loads(Path("r.json").read_text())["unparsed"] == 1


def test_a_side_whose_completions_are_empty_is_said_or_refused(
    desk: Path, serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    thoughts = iter(["<think>hm", "<think>hm</think> cat", "<think>hm", "<think>hm"])
    server = serve(lambda *_: (200, {"choices": [{"text": next(thoughts)}]}))
    arguments = ["generate", f"endpoint:{server.url}/v1#m", "--prompts", "prompts.jsonl", "-o", "out.jsonl"]
    write_rows(desk / "prompts.jsonl", [{"prompt": "the 0"}, {"prompt": "the 1"}])
    assert main([*arguments, "--concurrency", "1"]) == 0
    assert "2 completions (1 empty, 1 cut by the limit of tokens, 2 without the thoughts" in capsys.readouterr().err
    contest = contest_of(f"{server.url}/v1", "written.jsonl", "human", "--seed 1 -o r.json")
    assert main(contest) == 1
    assert "all 2 completions hold no text" in capsys.readouterr().err


def test_people_get_a_page_to_vote_on(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(desk / "other.jsonl", [{"prompt": f"the {i}", "completion": "cat"} for i in range(5)])
    arguments = ["contest", "written.jsonl", "--data", "prompts.jsonl", "--against", "other.jsonl"]
    assert main([*arguments, "--page", "vote.html"]) == 0
    assert "5 comparisons" in capsys.readouterr().err and "cat" in Path("vote.html").read_text()


THUMBS = "--data thumbs.jsonl"
GENERATE = "--prompts prompts.jsonl -o x.jsonl"
SERVER = "endpoint:http://localhost:1/v1#m"
REFUSED = [
    ("evaluate model", "name --data FILE"),
    (f"evaluate model {THUMBS} --name x", "--name is of a file in a run directory"),
    (f"evaluate thumbs.jsonl {THUMBS}", "Compare texts with prospect contest"),
    (f"evaluate notes.txt {THUMBS}", "expected a model's folder"),
    ("contest", "no side is named"),
    (f"contest model {THUMBS}", "no judge is named"),
    ("contest model --judge verifier:exact", "is no run that held prompts out; a contest needs some: --data FILE"),
    (f"contest model {THUMBS} --judge oracle", "expected clip:MODEL; endpoint:URL#MODEL; human:VOTES.json;"),
    (f"contest model {THUMBS} --judge verifier:exact --page x.html", "--page writes"),
    (f"contest model {THUMBS} --judge verifier:exact --limit 0", "limit is 0"),
    (
        f"contest model {THUMBS} --judge verifier:exact --judge-request seed=1",
        "--judge-request is for --judge endpoint",
    ),
    (f"contest model {THUMBS} --judge verifier:exact --request seed=1", "--request are for endpoint:URL#NAME"),
    (f"contest model {THUMBS} --judge {SERVER} --judge-request seed=1 --request seed=2", "no other endpoint is asked"),
    (
        f"contest {SERVER} --data prompts.jsonl --judge verifier:exact --chat-template x",
        "--chat-template is for models from disk",
    ),
    (
        "contest written.jsonl --data prompts.jsonl --against written.jsonl --judge verifier:exact --chat",
        "--chat is for models from disk",
    ),
    ("contest --check-judge thumbs.jsonl", "no judge is named"),
    ("contest --judge verifier:regex:a --samples 2 --check-judge thumbs.jsonl", "--samples is of a contest"),
    ("contest model --judge verifier:regex:a --check-judge thumbs.jsonl", "MODEL is of a contest"),
    ("contest --judge verifier:regex:a --limit 0 --check-judge thumbs.jsonl", "limit is 0"),
    (f"benchmark {SERVER} --tasks gsm8k", "benchmarks need a model"),
    ("benchmark model --tasks gsm8k --name x", "--name is of a file in a run directory"),
    (f"generate written.jsonl {GENERATE}", "a file"),
    ("generate model --prompts prompts.jsonl -o x.txt", "Change the name"),
    (f"generate model {GENERATE} --retries 2", "are for endpoint:URL#NAME"),
    (f"generate model {GENERATE} --request seed=1", "--request are for"),
    (f"generate model {GENERATE} --request seed", "expected NAME=VALUE"),
    (f"generate {SERVER} {GENERATE} --system-role fold", "--system-role is for models from disk"),
    (f"generate model {GENERATE} --template-argument thinking", "--template-argument thinking: expected KEY=VALUE"),
    (f"generate model {GENERATE} --template-date soon", "--template-date soon: expected a date"),
    ("data inspect thumbs.jsonl --no-chat", "name --model"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_wrong_usage_is_one_message_and_exit_code_2(
    arguments: str, message: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "notes.txt").write_text("hello", encoding="utf-8")
    assert main(arguments.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("UsageError: ") and message in said


@pytest.mark.parametrize(
    ("asked", "today"),
    [
        ("--judge=lm:x m --level 0.9 --beta 1", ["contest --judge=lm:x m"]),
        ("m --tasks a,b --limit 3 --beta 1", ["benchmark m --tasks a,b --limit 3"]),
        ("m --data f --tasks a --kl-prompts 0", ["evaluate m --data f --kl-prompts 0", "benchmark m --tasks a"]),
        ("m --data f --tasks a --judge lm:x", ["contest m --data f --judge lm:x", "benchmark m --tasks a"]),
    ],
)
def test_what_no_one_command_does_is_answered_with_the_commands(
    asked: str, today: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *shlex.split(asked)])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-len(today) :] == [f"prospect {command}" for command in today]


@pytest.mark.parametrize(
    ("asked", "today"),
    [
        ("m --judge 'verifier:regex:a b' --data f", "contest m --judge 'verifier:regex:a b' --data f"),
        ("--json m --against n --page v.html -o r.json", "contest --json m --against n --page v.html -o r.json"),
        ("m --judge python:mine.py:f --data f g", "contest m --judge python:mine.py:f --data f g"),
        ("m --judge=python:mine.py:f", "contest m --judge=python:mine.py:f"),
        ("m --tasks a,b --limit 3", "benchmark m --tasks a,b --limit 3"),
    ],
)
def test_a_command_that_is_called_otherwise_now_is_run_as_that(
    asked: str, today: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[argparse.Namespace] = []
    verb = today.partition(" ")[0]
    monkeypatch.setattr(importlib.import_module(f"prospect.cli.{verb}"), "run", ran.append)
    assert main(["evaluate", *shlex.split(asked)]) == 0
    assert [one.verb for one in ran] == [verb]
    told = capsys.readouterr().err
    assert told == f"judges and tasks have commands of their own; this runs: prospect {today}\n"
    assert main(shlex.split(today)) == 0
    assert ran[0] == ran[1]


def test_a_judge_is_checked_on_pairs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "good" * (i % 5 > 0), "rejected": f"bad {i}"} for i in range(30)]
    write_rows(desk / "pairs.jsonl", rows)
    (desk / "mine.py").write_text("def first(prompt, a, b):\n    return 'first' if 'good' not in b else 'second'\n")
    check = ["contest", "--check-judge", "pairs.jsonl", "--judge", "mine.py:first", "-o", "r.json", "--json"]
    assert main(check) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result == json.loads(Path("r.json").read_text()) and result["evaluation"] == "judge"
    assert (result["n"], result["position_flips"], result["unparsed"], result["agreement"]["rate"]) == (30, 6, 0, 0.9)
    assert result["agreement"]["low"] < 0.9 < result["agreement"]["high"] and result["shown_first"]["rate"] == 0.6
    assert "agreement with people" in said.err and "6 came out otherwise in the other order" in said.err
    assert len(Path("r.verdicts.jsonl").read_text().splitlines()) == 60
    assert main([*check[:2], "thumbs.jsonl", *check[3:]]) == 1
    assert "a judge is checked on pairs" in capsys.readouterr().err


def test_what_fails_is_one_message_and_exit_code_1(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["evaluate", "model", "--data", "thumbs.jsonl", "-o", "absent/x.json"], "there is no folder"),
        (["evaluate", "./absent", "--data", "thumbs.jsonl"], "no such model folder"),
        (["evaluate", "model", "--data", "absent.jsonl"], "no such file"),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err


def test_generate_takes_a_run_directory_and_writes_alpaca_evals_layout(run: Path) -> None:
    arguments = ["generate", "run", "--prompts", "prompts.jsonl", "--max-new-tokens", "4", "--format", "alpaca_eval"]
    assert main([*arguments, "-o", "out.json"]) == 0
    rows: list[dict[str, Any]] = json.loads(Path("out.json").read_text())
    assert [row["instruction"] for row in rows] == [f"the {i}" for i in range(5)]
    assert {row["generator"] for row in rows} == {"run"}


def test_a_template_argument_is_read_as_strictly_as_a_recipe(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "generate",
        "model",
        "--prompts",
        "prompts.jsonl",
        "-o",
        "x.jsonl",
        "--template-argument",
        "day=2026-11-21",
    ]
    assert main(command) == 2
    assert "ConfigError: --template-argument day: day is a date to YAML" in capsys.readouterr().err
