from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from prospect.cli.main import main
from prospect.collect.keys import KeyFile, make_key
from prospect.feedback.frozen.pseudonym import rater_key


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key for this test only")
    monkeypatch.setenv("PROSPECT_VOTE_KEYS", "another key for this test")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "without keys"),
        (["--host", "0.0.0.0", "--keys", "none.json"], "there is no key"),
        (["--canary", "new=5%"], "compared with which model"),
        (["--canary", "new"], "such as new=5%"),
        (["--shadow", "new=5%"], "beside which model"),
        (["--shadow", "new"], "--shadow"),
        (["--rate", "0"], "more than 0"),
        (["--port", "70000"], "0 to 65535"),
        (["--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is empty"),
        (["--db", "/nonexistent/store.sqlite"], "cannot be made"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_listens(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--upstream", "http://127.0.0.1:9/v1", "--port", "0", *arguments]) in (1, 2)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "http://user:secret@host/v1", "http://169.254.169.254/latest"])
def test_an_address_that_is_no_upstream_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--upstream", url, "--port", "0"]) == 2
    assert "secret" not in capsys.readouterr().err


def test_a_library_that_is_missing_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--upstream", "http://127.0.0.1:9/v1"]) == 2
    assert "pip install 'prospect-align[serve]'" in capsys.readouterr().err


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())
from prospect.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_it_serves_with_keys_without_torch_until_it_is_stopped(tmp_path: Path) -> None:
    secret, key = make_key("app", "shop", ["chat", "admin"], rater_key())
    KeyFile(tmp_path / "keys.json").add(key)
    command = [sys.executable, "-c", WITHOUT_TORCH, "serve", "--upstream", "http://127.0.0.1:9/v1", "--port", "0"]
    server = subprocess.Popen([*command, "--keys", "keys.json"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        line = server.stderr.readline()
        found = re.match(r"(http://127[.]0[.]0[.]1:[0-9]+)/v1 in front of", line)
        assert found, line + server.stderr.read()
        assert "store.sqlite" in server.stderr.readline()
        assert httpx2.get(f"{found[1]}/healthz", timeout=60).json() == {"status": "ok"}
        assert httpx2.get(f"{found[1]}/v1/models").status_code == 401
        authorized = {"authorization": f"Bearer {secret}"}
        assert httpx2.get(f"{found[1]}/v1/models", headers=authorized).status_code == 502
        assert b"prospect_refused_total" in httpx2.get(f"{found[1]}/metrics", headers=authorized).content
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 130
        assert "Traceback" not in server.stderr.read()
        server.stderr.close()
    assert oct((tmp_path / "store.sqlite").stat().st_mode)[-3:] == "600"
