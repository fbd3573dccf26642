"""A proxy on the loopback, in front of a server that plays recordings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from prospect.collect.access import Access
from prospect.collect.app import Serving, make_app
from prospect.collect.keys import KeyFile, KeyRing, make_key
from prospect.collect.store import Store
from prospect.collect.tokens import Signer
from prospect.collect.upstream import HttpUpstream
from upstreams import Running

PEPPER = b"p" * 32


class Desk:
    """A running proxy: its address, its store, and clients of it."""

    def __init__(self, folder: Path, url: str, keys: dict[str, tuple[str, list[str]]] | None, **how: Any) -> None:
        self.path = how.pop("db", folder / "store.sqlite")
        self.store = Store.open(self.path, rater_key=b"r" * 32)
        ring, self.secrets = None, {}
        if keys is not None:
            file = KeyFile(folder / "keys.json")
            for name, (tenant, scopes) in keys.items():
                self.secrets[name], key = make_key(name, tenant, scopes, PEPPER)
                file.add(key)
            ring = KeyRing([file], PEPPER)
        api_key_env = how.pop("api_key_env", None)
        access = Access(ring, Signer(lambda: [b"v" * 32]))
        self.app = make_app(self.store, HttpUpstream(url, api_key_env), access, Serving(**how))
        self.running = Running(self.app)
        self.client = httpx2.Client(base_url=self.running.url)

    def chat(self, model: str, *, stream: bool = False, client: str | None = None, **headers: str) -> Any:
        """Ask for an answer; returns the response."""
        named = {f"x-prospect-{name}": value for name, value in headers.items()}
        body = {"model": model, "messages": [{"role": "user", "content": "Where is it?"}], "stream": stream}
        return self.client.post("/v1/chat/completions", json=body, headers={**named, **self.key(client)})

    def key(self, name: str | None) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secrets[name]}"} if name else {}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return rows of the store's file, after what waits to be written."""
        import sqlite3

        if self.running.open:
            self.client.get("/readyz")
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        self.client.close()
        self.running.close()


def eventually(look: Callable[[], Any]) -> Any:
    """Return what is seen within five seconds."""
    for _ in range(500):
        if found := look():
            return found
        time.sleep(0.01)
    pytest.fail("it never came")
