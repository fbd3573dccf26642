"""Rounds whose samples come from a server that a command makes serve each round's model."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prospect.endpoint.client import EndpointError
from prospect.evaluation.answers.subject import find_subject, load_for_generating
from prospect.feedback.files.sources import load_feedback
from prospect.models.sampling import Sampling, generate_each
from prospect.rounds.run import run_rounds
from rounds_runs import hashes, small
from servers import Answer, Server

RESTART = """
import sys
model, number, places = sys.argv[1:]
with open(places, "a") as file:
    file.write(f"{number} {model}\\n")
print("serving", model)
"""


class ModelServer:
    """Serves the model that the command named last, as vLLM would: text in, text out."""

    def __init__(self, folder: Path, serve: Any) -> None:
        self.places = folder / "places"
        (folder / "restart.py").write_text(RESTART)
        self.command = f"{sys.executable} {folder / 'restart.py'} {{model}} {{round}} {self.places}"
        self.left = -1  # requests that it still answers; below 0 all
        self._lock = threading.Lock()
        self._loaded: tuple[str, Any] = ("", None)
        self.server: Server = serve(self.answer)

    def served(self) -> list[str]:
        return self.places.read_text().splitlines() if self.places.exists() else []

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        with self._lock:
            if self.left == 0:
                return 403, {"error": {"message": "gone"}}
            self.left -= 1
            place = self.served()[-1].split(" ", 1)[1]
            if self._loaded[0] != place:
                self._loaded = (place, load_for_generating(find_subject(place)))
            model, tokenizer = self._loaded[1]
            sampling = Sampling(body["temperature"], body["top_p"])
            limit, seed = body["max_tokens"], body["seed"]
            ((_, one),) = generate_each(
                model, tokenizer, [(body["prompt"], 0)], sampling, max_new_tokens=limit, seed=seed, batch_size=1
            )
            finish = "stop" if one.finished else "length"
            return 200, {
                "choices": [{"text": one.text, "finish_reason": finish}],
                "usage": {"prompt_tokens": 1, "completion_tokens": one.tokens},
            }

    def recipe(self, folder: Path, model: Path, **rounds: Any) -> dict[str, Any]:
        sampler = f"endpoint:{self.server.url}#policy"
        return small(folder, model, sampler=sampler, serve=self.command, **rounds)

    def asked(self) -> Counter[tuple[Any, ...]]:
        return Counter((body["prompt"], body["seed"], body["max_tokens"]) for body in self.server.asked)


@pytest.fixture
def models(tmp_path: Path, serve: Any) -> ModelServer:
    return ModelServer(tmp_path, serve)


def test_each_round_is_sampled_from_the_model_before_it(tmp_path: Path, model_path: Path, models: ModelServer) -> None:
    values = models.recipe(tmp_path, model_path)
    found = run_rounds(values, quiet=True)
    runs = [str(tmp_path / "rounds" / f"round-{number}" / "run" / "model") for number in (1, 2)]
    # Held-out samples of round 1 and the training samples of round 2 are of the same model: it is served once.
    assert models.served() == [f"0 {model_path}", f"1 {runs[0]}", f"2 {runs[1]}"]
    assert {body["model"] for body in models.server.asked} == {"policy"}
    samples = list(load_feedback(tmp_path / "rounds" / "round-2" / "samples.jsonl"))
    assert len(samples) == 36 and found.rounds[2].trained
    assert f"serving {runs[1]}" in (tmp_path / "rounds" / "serve.log").read_text()


def test_a_server_that_dies_in_the_middle_is_asked_only_what_is_left(
    tmp_path: Path, model_path: Path, models: ModelServer
) -> None:
    values = models.recipe(tmp_path, model_path, count=1)
    whole = run_rounds({**values, "output": str(tmp_path / "whole")}, quiet=True)
    once = models.asked()
    models.server.asked.clear()
    models.left = 20  # six held-out samples, and some of the 36
    with pytest.raises(EndpointError, match=r"refused: 403.*gone"):
        run_rounds(values, quiet=True)
    answered = 20
    refused = len(models.server.asked) - answered
    models.left = -1
    assert hashes(run_rounds(values, resume=True, quiet=True)) == hashes(whole)
    assert len(models.server.asked) == sum(once.values()) + refused
    assert models.asked().keys() == once.keys()


def test_a_command_that_fails_is_shown_with_its_last_line(
    tmp_path: Path, model_path: Path, models: ModelServer
) -> None:
    values = models.recipe(tmp_path, model_path)
    values["rounds"]["serve"] = f"{sys.executable} -c 'import sys; sys.exit(\"no such GPU\")'"
    with pytest.raises(EndpointError, match=r"rounds\.serve: .* ended with 1: no such GPU .*go on with --resume"):
        run_rounds(values, quiet=True)
    values["rounds"]["serve"] = "no-such-command {model}"
    with pytest.raises(EndpointError, match=r"no-such-command cannot be run: No such file or directory"):
        run_rounds(values, quiet=True)


def test_a_server_that_the_command_leaves_behind_holds_nothing_up(
    tmp_path: Path, model_path: Path, models: ModelServer
) -> None:
    """Its standard output is a file: a pipe would stay open as long as the server lives."""
    values = models.recipe(tmp_path, model_path, count=1)
    leave = f"sh -c '{models.command.replace('{round}', '0')}; sleep 60 & echo $! > {tmp_path / 'pid'}'"
    values["rounds"]["serve"] = leave
    try:
        run_rounds(values, quiet=True)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
