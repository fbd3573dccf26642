"""A process that votes as fast as it can, and says each vote once the store has acknowledged it.

python writer_process.py ADDRESS TURN CLIENTS
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from prospect.collect.store import Store
from prospect.collect.turns import Vote


async def _client(store: Store, turn: str, client: int) -> None:
    number = 0
    while True:
        at = datetime.now(UTC)
        await store.vote(
            Vote(turn=turn, tenant="main", rater=f"{client}-{number}", value=1, at=at, comment=str(number))
        )
        sys.stdout.write(f"{client} {number}\n")
        sys.stdout.flush()
        number += 1


async def _main(address: str, turn: str, clients: int) -> None:
    store = Store.open(address)
    await asyncio.gather(*(_client(store, turn, client) for client in range(clients)))


asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
