"""A store of a million turns: how fast it is written, exported, read as a source, counted and erased from.

    python benchmarks/collect_store.py [--turns 1000000] [--voted 0.3] [--db postgresql://...] [--keep FOLDER] [--json]

Conversations of one to eight turns with a system prompt, questions of some 100 characters and answers of some 500; a
share of the turns has a vote, by raters of whom few vote much. The store is filled through the statements of the
server's writer, 512 rows to a commit. Each of the rest is a command in a process of its own, with its wall time, its
CPU time and its largest resident memory; on a machine that others use, CPU time says more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

KEY = {"PROSPECT_RATER_KEY": "the key of the benchmark"}
START = datetime(2026, 1, 1, tzinfo=UTC)
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
RATERS, MOST_TURNS, ROWS = 5_000, 8, 512
GOAL = 10_000  # rows a second of an export


def main() -> None:
    options = parse_arguments()
    os.environ.update(KEY)
    results: dict[str, Any] = {"turns": options.turns, "voted": options.voted}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary)
        folder.mkdir(exist_ok=True)
        address = options.db or str(folder / "store.sqlite")
        if options.db or not Path(address).exists():
            results["fill"] = fill(address, options.turns, options.voted)
        if not options.db:
            results["bytes"] = Path(address).stat().st_size
        output = str(folder / "rows.jsonl")
        store = ["--db", address]
        results["export"] = command("collect", "export", *store, "-o", output, "--json")
        rows = results["export"].pop("printed")["rows_out"]
        results["export"] |= {"rows": rows, "per_second": per_second(rows, results["export"])}
        if not options.db:
            results["inspect the store"] = command("data", "inspect", address, "--json")
            del results["inspect the store"]["printed"]
        for name, arguments in {
            "stats": ["stats", "--json"],
            "purge one rater": ["purge", "--rater", "r17", "--json"],
        }.items():
            results[name] = command("collect", *arguments, *store)
            del results[name]["printed"]
    print(json.dumps(results) if options.json else as_text(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--voted", type=float, default=0.3, help="share of the turns with a vote")
    parser.add_argument("--db", help="an empty PostgreSQL database instead of a SQLite file")
    parser.add_argument("--keep", help="a folder for the store, which is used again if it is there")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def fill(address: str, turns: int, voted: float) -> dict[str, float]:
    """Write the turns and votes, and return rows a second by the wall and by the CPU."""
    from prospect.collect.migrating import opened
    from prospect.collect.rows import insert_turn
    from prospect.collect.turns import Turn
    from prospect.collect.votes import upsert_vote
    from prospect.feedback.frozen.pseudonym import rater_key

    key, written = rater_key(), 0
    wall, cpu = time.perf_counter(), time.process_time()
    with opened(address, make=True) as database:
        things = make(turns, voted)
        while batch := [one for _, one in zip(range(ROWS), things, strict=False)]:
            with database.writing() as connection:
                for one in batch:
                    if isinstance(one, Turn):
                        insert_turn(connection, one, key)
                    else:
                        upsert_vote(connection, one, None, key)
            written += len(batch)
        database.shorten_log()
    return {
        "rows": written,
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_ms_a_row": round(1e3 * (time.process_time() - cpu) / written, 3),
    }


def make(turns: int, voted: float) -> Iterator[Any]:
    """Yield turns and votes, the same for the same numbers."""
    from prospect.collect.turns import Turn, Vote

    draw, made = random.Random(0), 0
    system = {"role": "system", "content": text(draw, 300)}
    while made < turns:
        rater, history = f"r{int(RATERS * draw.random() ** 3)}", [system]
        for number in range(min(draw.randint(1, MOST_TURNS), turns - made)):
            history = [*history, {"role": "user", "content": text(draw, 100)}]
            answer = {"role": "assistant", "content": text(draw, 500)}
            at = START + timedelta(seconds=17 * made)
            turn = Turn(
                id=f"{draw.getrandbits(128):032x}", tenant="main", rater=rater, consent=True, messages=history,
                completion=answer, ended="stop", model=f"m{made % 3}", created=at, conversation=f"c{made - number}",
            )  # fmt: skip
            history = [*history, answer]
            made += 1
            yield turn
            if draw.random() < voted:
                value = 1 if draw.random() < 0.7 else -1
                yield Vote(turn=turn.id, tenant="main", rater=rater, value=value, at=at)


def text(draw: random.Random, length: int) -> str:
    """Return words of some `length` characters."""
    words = ("".join(draw.choices(LETTERS, k=draw.randint(2, 9))) for _ in range(length // 6))
    return " ".join(words)


def command(*arguments: str) -> dict[str, Any]:
    """Run a command of `prospect`, and return what it took and what it printed."""
    wall = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "prospect", *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.stdout.close()
    if status:
        raise SystemExit(f"{arguments} failed")
    return {
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "memory_mb": round(used.ru_maxrss / 1024),
        "printed": json.loads(printed),
    }


def per_second(rows: int, took: dict[str, Any]) -> dict[str, int]:
    return {"by_wall": round(rows / took["wall_s"]), "by_cpu": round(rows / took["cpu_s"])}


def as_text(results: dict[str, Any]) -> str:
    lines = [f"{name:20}  {value}" for name, value in results.items()]
    return "\n".join([*lines, f"goal: {GOAL:,} exported rows a second"])


if __name__ == "__main__":
    main()
