"""The server of `prospect demo --live`: the real one, on a free port of the loopback, in a thread of this process."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import uvicorn

from prospect.collect.access import Access
from prospect.collect.app import Serving, make_app
from prospect.collect.held import HeldModels
from prospect.collect.local import LocalUpstream
from prospect.collect.local_job import LocalModel
from prospect.collect.store import Store
from prospect.collect.tokens import Signer
from prospect.errors import StoreError

BETWEEN_LOOKS = 1.0  # seconds; the usual minute is long for a canary that lasts half a minute


class Desk:
    """What is the same each time the server starts.

    Attributes:
        store: the path of the store.
        registry: the folder that says which model answers.
    """

    def __init__(self, folder: Path) -> None:
        self.store, self.registry = folder / "store.sqlite", folder / "registry"
        # Keys of this demo alone: nothing is written into the user's configuration.
        self._rater_key, self._vote_key = secrets.token_bytes(32), secrets.token_bytes(32)

    @contextlib.contextmanager
    def open(self, models: Mapping[str, Path]) -> Iterator[str]:
        """Serve models by their names in the registry, within the block; give the server's URL.

        Raises:
            StoreError: the server does not start.
        """
        given = [replace(LocalModel.load(str(path)), name=name) for name, path in models.items()]
        upstream = LocalUpstream(HeldModels(given))
        store = Store.open(self.store, rater_key=self._rater_key)
        serving = Serving(registry=self.registry, between_looks=BETWEEN_LOOKS)
        app = make_app(store, upstream, Access(None, Signer(lambda: [self._vote_key])), serving)
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_config=None, timeout_graceful_shutdown=5))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="demo-server")
            thread.start()
            try:
                while not server.started:
                    thread.join(0.01)
                    if not thread.is_alive():
                        raise StoreError("the demo's server did not start.")
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()
