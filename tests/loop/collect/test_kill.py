"""A server that is killed loses no vote that it has acknowledged."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from collecting import a_turn, fill, open_store, with_store
from prospect.feedback.frozen.pseudonym import pseudonym, rater_key

CLIENTS = 8


@pytest.fixture
def writers() -> Iterator[subprocess.Popen[str]]:
    program = Path(__file__).with_name("writer_process.py")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, program], stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_after_a_kill_every_acknowledged_vote_is_there_and_the_store_is_whole(
    store_address: str, writers: subprocess.Popen[str], tmp_path: Path, kills: int
) -> None:
    acknowledged = 0
    for kill in range(kills):
        turn = a_turn()
        with_store(store_address, lambda store, turn=turn: fill(store, turn))
        said = _killed(writers, store_address, turn.id, tmp_path / f"said-{kill}", after=5 + 17 * kill % 200)
        with open_store(store_address) as store, store.database.reading() as connection:
            rows = connection.execute(text("SELECT rater, comment FROM vote WHERE turn = :turn"), {"turn": turn.id})
            kept = dict(map(tuple, rows))
            key = rater_key()
            missing = [(c, n) for c, n in said if kept.get(pseudonym(f"{c}-{n}", key)) != n]
            assert not missing
            history = connection.execute(text("SELECT count(*) FROM event WHERE turn = :turn"), {"turn": turn.id})
            assert history.scalar() == len(kept)
            if store.database.is_sqlite:
                assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
                assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
            asyncio.run(store.ready())
        acknowledged += len(said)
    assert acknowledged > 5 * kills


def _killed(
    writers: subprocess.Popen[str], address: str, turn: str, said: Path, *, after: int
) -> list[tuple[str, str]]:
    """Let a process vote until it has said so many votes, kill it, and return what it has said."""
    assert writers.stdin is not None
    assert writers.stdout is not None
    said.touch()
    writers.stdin.write(json.dumps([address, turn, CLIENTS, str(said)]) + "\n")
    writers.stdin.flush()
    child = int(writers.stdout.readline())
    try:
        deadline = time.monotonic() + 60
        while said.read_bytes().count(b"\n") < after:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        os.kill(child, signal.SIGKILL)
    while _is_there(child):
        time.sleep(0.001)
    whole = said.read_text().rpartition("\n")[0]  # the last line may be cut
    return [tuple(line.split()) for line in whole.splitlines()]  # type: ignore[misc]


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:  # dead, and waited for
        return False
    return True
