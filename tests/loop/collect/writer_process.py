"""Processes that vote as fast as they can, and say each vote once the store has acknowledged it.

python writer_process.py

Each line of the input, [ADDRESS, TURN, CLIENTS, FILE] in JSON, makes one, which says its votes in the file; its number
is printed, and nothing more is read until somebody has killed it. It is forked: the libraries are imported once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from prospect.collect.store import Store
from prospect.collect.turns import Vote


async def _client(store: Store, turn: str, client: int, said: TextIO) -> None:
    number = 0
    while True:
        at = datetime.now(UTC)
        await store.vote(
            Vote(turn=turn, tenant="main", rater=f"{client}-{number}", value=1, at=at, comment=str(number))
        )
        said.write(f"{client} {number}\n")
        said.flush()
        number += 1


async def _main(address: str, turn: str, clients: int, said: TextIO) -> None:
    store = Store.open(address)
    await asyncio.gather(*(_client(store, turn, client, said) for client in range(clients)))


for line in sys.stdin:
    *asked, file = json.loads(line)
    child = os.fork()
    if not child:
        with Path(file).open("w", encoding="utf-8") as said:
            asyncio.run(_main(*asked, said))
    sys.stdout.write(f"{child}\n")
    sys.stdout.flush()
    os.waitpid(child, 0)
