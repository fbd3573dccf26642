"""A registry whose models this process loads itself: on a thread, and kept for a rollback."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from prospect.collect.access import Access
from prospect.collect.app import Serving, make_app
from prospect.collect.held import HeldModels
from prospect.collect.local import LocalUpstream
from prospect.collect.local_job import LocalModel
from prospect.collect.registry import Move, Registry
from prospect.collect.store import Store
from prospect.collect.tokens import Signer
from prospect.demo.base import BASE
from prospect.errors import ModelError
from upstreams import Running

BECAUSE = Move("it is time", "anna")


class Disk:
    """Stands for the models on the disk: each is the demo's base, and comes when the test lets it."""

    def __init__(self) -> None:
        self.base = LocalModel.load(str(BASE))
        self.loaded: list[str] = []
        self.free = threading.Event()

    def load(self, source: str) -> LocalModel:
        assert self.free.wait(30)
        self.loaded.append(source)
        if source == "runs/broken":
            raise ModelError("runs/broken: no weights")
        return replace(self.base, name=source, fingerprint=source)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr("prospect.collect.routes.BETWEEN_READS", 0.0)
    found = Disk()
    monkeypatch.setattr(LocalModel, "load", found.load)
    return found


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry in which `old` is current, and the others are candidates."""
    found = Registry(tmp_path / "registry")
    for name in ("old", "new", "newer", "broken"):
        found.propose(name, f"runs/{name}", BECAUSE)
    found.promote("old", BECAUSE)
    return found


@pytest.fixture
def ask(disk: Disk, registry: Registry, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Asks a server with the registry's current model loaded, and returns which model answered."""
    disk.free.set()
    models, current = HeldModels([]), registry.read().current
    assert current is not None
    models.load(current)
    store = Store.open(tmp_path / "store.sqlite", rater_key=b"r" * 32)
    serving = Serving(registry=registry.folder, model=current.model)
    app = make_app(store, LocalUpstream(models), Access(None, Signer(lambda: [b"v" * 32])), serving)
    server = Running(app)
    numbers = iter(range(10_000))

    def ask() -> str:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        headers = {"x-prospect-conversation": f"c{next(numbers)}"}
        answer = httpx2.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        name = answer.headers["x-prospect-model"]
        assert answer.json()["model"] == name, "what is recorded is what answered"
        return str(name)

    yield ask
    disk.free.set()
    server.close()


def eventually(ask: Callable[[], str], name: str) -> None:
    for _ in range(300):
        if ask() == name:
            return
        time.sleep(0.01)
    pytest.fail(f"{name} never answered")


def test_a_new_model_answers_once_it_is_loaded_and_the_one_before_is_kept(
    ask: Callable[[], str], disk: Disk, registry: Registry
) -> None:
    assert ask() == "old"
    disk.free.clear()
    registry.promote("new", BECAUSE)
    assert [ask() for _ in range(3)] == ["old"] * 3, "nobody waits for the weights"
    disk.free.set()
    eventually(ask, "new")
    disk.free.clear()
    registry.roll_back(BECAUSE)
    assert ask() == "old", "at once: the weights were kept"
    disk.free.set()
    assert disk.loaded == ["runs/old", "runs/new"]
    registry.propose("new", "runs/new", BECAUSE)
    registry.promote("new", BECAUSE)
    eventually(ask, "new")
    assert disk.loaded == ["runs/old", "runs/new", "runs/new"], "what was rolled back was forgotten"


def test_what_answers_is_not_forgotten_before_its_successor_is_loaded(
    ask: Callable[[], str], disk: Disk, registry: Registry
) -> None:
    disk.free.clear()
    for name in ("new", "newer"):
        registry.promote(name, BECAUSE)
        assert ask() == "old"
    disk.free.set()
    eventually(ask, "newer")


def test_a_canary_answers_its_share_once_it_is_loaded(ask: Callable[[], str], disk: Disk, registry: Registry) -> None:
    disk.free.clear()
    registry.start_canary("new", 0.5, 0.05, BECAUSE)
    assert {ask() for _ in range(10)} == {"old"}
    disk.free.set()
    eventually(ask, "new")
    assert {ask() for _ in range(40)} == {"old", "new"}
    registry.end_canary("new", BECAUSE)
    assert {ask() for _ in range(10)} == {"old"}


def test_a_model_that_cannot_be_loaded_leaves_the_one_before(
    ask: Callable[[], str], disk: Disk, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.promote("broken", BECAUSE)
    for _ in range(100):
        assert ask() == "old"
        if "broken cannot answer: runs/broken: no weights" in caplog.text:
            break
        time.sleep(0.01)
    assert caplog.text.count("cannot answer") == 1, "it is said once"
    assert [ask() for _ in range(3)] == ["old"] * 3
    assert disk.loaded.count("runs/broken") == 1
    registry.promote("new", BECAUSE)
    eventually(ask, "new")


def test_the_same_weights_are_in_memory_once(disk: Disk, registry: Registry) -> None:
    disk.free.set()
    given = disk.load("runs/old")
    models = HeldModels([given])
    current = registry.read().current
    assert current is not None and models.hold([current], None) == {"old"}
    assert models.named("old").model is given.model and disk.loaded == ["runs/old"]
    models.close()


def test_serve_answers_with_the_current_model_of_a_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROSPECT_RATER_KEY", "PROSPECT_VOTE_KEYS"):
        monkeypatch.setenv(name, "a key for this test only")
    registry = Registry(tmp_path / "registry")
    registry.propose("base", str(BASE), BECAUSE)
    registry.promote("base", BECAUSE)
    command = [
        sys.executable,
        "-m",
        "prospect",
        "serve",
        "--model",
        "no/such/model",
        "--registry",
        str(registry.folder),
    ]
    command += ["--db", str(tmp_path / "store.sqlite"), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        line = server.stderr.readline()
        url, _, front = line.partition("/v1 in front of ")
        assert front.strip() == str(registry.folder), line + server.stderr.read()
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "model": "any"}
        for _ in range(100):
            try:
                answer = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60)
                break
            except httpx2.ConnectError:
                time.sleep(0.05)
        assert answer.headers["x-prospect-model"] == "base"
        assert [model["id"] for model in httpx2.get(f"{url}/v1/models").json()["data"]] == ["base"]
    finally:
        server.terminate()
        server.wait(60)
        server.stderr.close()
