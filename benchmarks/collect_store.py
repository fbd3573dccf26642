"""A store of a million turns: how fast it is written, exported, read as a source, counted and erased from.

    python benchmarks/collect_store.py [--turns 1000000] [--voted 0.3] [--db postgresql://...] [--keep FOLDER] [--json]

Conversations of one to eight turns with a system prompt, questions of some 100 characters and answers of some 500; a
share of the turns has a vote, by raters of whom few vote much. The store is filled in bulk with the rows that the
server's writer makes. Each of the rest is a command in a process of its own, with its wall time, its
CPU time and its largest resident memory; on a machine that others use, CPU time says more.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
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
RATERS, MOST_TURNS, ROWS = 5_000, 8, 5_000
GOAL = 10_000  # rows a second of an export


def main() -> None:
    options = parse_arguments()
    os.environ.update(KEY)
    if options.admin:
        print(json.dumps(admin(options.db)))
        return
    results: dict[str, Any] = {"load": os.getloadavg()[0], "turns": options.turns, "voted": options.voted}
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
        results["admin page"] = command(__file__, "--admin", "--db", address, module=False)
        results["admin page"] |= results["admin page"].pop("printed")
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
    parser.add_argument("--admin", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def fill(address: str, turns: int, voted: float) -> dict[str, float]:
    """Write the turns and votes in bulk, as the rows that the server's writer makes; return what it took."""
    from sqlalchemy import insert

    from prospect.collect.migrating import check_rater_key, opened
    from prospect.collect.tables import event, turn, vote
    from prospect.feedback.frozen.pseudonym import rater_key

    key, written = rater_key(), 0
    wall, cpu = time.perf_counter(), time.process_time()
    with opened(address, make=True) as database:
        check_rater_key(database, key)
        things = make(turns, voted, key)
        while batch := list(itertools.islice(things, ROWS)):
            with database.writing() as connection:
                for table, name in ((turn, "turn"), (event, "event"), (vote, "vote")):
                    if rows := [one[name] for one in batch if name in one]:
                        connection.execute(insert(table), rows)
            written += sum(map(len, batch))
        if not database.is_sqlite:  # as autovacuum does by and by
            with database.writing() as connection:
                connection.exec_driver_sql("ANALYZE")
        database.shorten_log()
    return {
        "rows": written,
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_ms_a_row": round(1e3 * (time.process_time() - cpu) / written, 3),
    }


def make(turns: int, voted: float, key: bytes) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the rows of a turn, and of a vote on some, the same for the same numbers."""
    from prospect.collect.rows import milliseconds, turn_row
    from prospect.collect.turns import Turn, chain

    draw, made, votes = random.Random(0), 0, 0
    pieces = [text(draw, 60) for _ in range(100_000)]
    system = {"role": "system", "content": text(draw, 300)}
    while made < turns:
        rater, history, parent, first = f"r{int(RATERS * draw.random() ** 3)}", [system], None, made
        for _ in range(min(draw.randint(1, MOST_TURNS), turns - made)):
            history = [*history, {"role": "user", "content": " ".join(draw.choices(pieces, k=2))}]
            answer = {"role": "assistant", "content": " ".join(draw.choices(pieces, k=8))}
            at = START + timedelta(seconds=17 * made)
            one = Turn(
                id=f"{draw.getrandbits(128):032x}", tenant="main", rater=rater, consent=True, messages=history,
                completion=answer, ended="stop", model=f"m{made % 3}", created=at, conversation=f"c{first}",
            )  # fmt: skip
            rows = {"turn": turn_row(one, key, parent and (parent, one.conversation), chain(one, key))}
            if draw.random() < voted:
                votes += 1
                place = {"turn": one.id, "tenant": "main", "rater": rows["turn"]["rater"], "at": milliseconds(at)}
                detail = {"value": 1 if draw.random() < 0.7 else -1}
                rows["event"] = {**place, "id": votes, "kind": "vote", "detail": json.dumps(detail)}
                of_turn = {"model": one.model, "arm": None, "shown": milliseconds(at)}
                rows["vote"] = {**place, **detail, **of_turn, "version": 1, "event": votes}
            yield rows
            history, parent, made = [*history, answer], one.id, made + 1


def text(draw: random.Random, length: int) -> str:
    """Return words of some `length` characters."""
    words = ("".join(draw.choices(LETTERS, k=draw.randint(2, 9))) for _ in range(length // 6))
    return " ".join(words)


def admin(address: str) -> dict[str, float]:
    """Return what the admin page takes in a server that runs: the second one, for the first brings libraries."""
    from starlette.requests import Request

    from prospect.collect.access import Access
    from prospect.collect.asking import USUAL_SHARE
    from prospect.collect.database import Database
    from prospect.collect.pages.admin import AdminPage
    from prospect.collect.tokens import Signer

    request = Request({"type": "http", "headers": []})
    page = AdminPage(Database(address, make=False), Access(None, Signer()), None, USUAL_SHARE)
    asyncio.run(page.show(request))
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(page.show(request))
    return {"page_wall_s": round(time.perf_counter() - wall, 2), "page_cpu_s": round(time.process_time() - cpu, 2)}


def command(*arguments: str, module: bool = True) -> dict[str, Any]:
    """Run a command of `prospect`, or a script, and return what it took and what it printed."""
    wall = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *(["-m", "prospect"] if module else []), *arguments], stdout=subprocess.PIPE
    )
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
