"""The page about serving does what it says, from nothing to the first export."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pages import blocks_of

from prospect.cli.main import main

PAGE = "docs/serving.md"


def test_ten_minutes_from_nothing_to_the_first_export(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "model").symlink_to(model_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key for the pages only")
    monkeypatch.setenv("PROSPECT_VOTE_KEYS", "another key for the pages only")
    serve, ask, export = [block.text for block in blocks_of(PAGE) if block.language in ("bash", "python")][:3]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    words = shlex.split(serve.replace("8080", port))
    assert words[:2] == ["prospect", "serve"]
    server = subprocess.Popen([sys.executable, "-m", *words], env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", int(port))).close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.05)
        exec(compile(ask.replace("8080", port), PAGE, "exec"), {"__name__": "__main__"})
    finally:
        server.terminate()
        server.wait()
    assert capsys.readouterr().out == "200 -1\n200 -1\n"
    for line in export.strip().splitlines():
        assert main(shlex.split(line)[1:]) == 0, line
    rows = Path("votes.jsonl").read_text().splitlines()
    assert len(rows) == 2
    assert all(re.search(r'"label": ?false', row) for row in rows)
