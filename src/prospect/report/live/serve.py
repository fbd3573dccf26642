"""The report of a run as a page that renews itself, served on this machine alone until the run ends.

It is closed by default: it listens on the loopback address, answers only under a path that nobody can guess, reads
nothing but the run, and takes nothing. The page is the report itself, without a script; the header Refresh renews it.
"""

from __future__ import annotations

import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prospect.errors import CheckpointError, OutputError
from prospect.report.live.follow import State, state_of
from prospect.report.run.build import render
from prospect.report.run.facts import RunFacts
from prospect.run_dir import RunDir

LOOPBACK = "127.0.0.1"
EVERY = 5  # seconds after which the page is asked for again
LAST_LOOK = 3 * EVERY  # seconds that an open page has to ask for the finished run
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_WAITING = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    "<title>Prospect</title><p>The run has begun, and has logged nothing yet.</p></html>"
)


class LivePage:
    """Serves the report of a run until the run ends.

    Args:
        run: the run directory.
        port: on the loopback address; 0 takes a free one.

    Raises:
        OutputError: the port is taken.
    """

    def __init__(self, run: RunDir, port: int = 0) -> None:
        self._run, self._path = run, f"/{secrets.token_urlsafe(16)}/"
        self._shown_last = threading.Event()
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), self._handler())
        except OSError as error:
            raise OutputError(
                f"port {port}: cannot be listened on ({error.strerror}). Choose another --port."
            ) from error
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """What is opened in a browser."""
        return f"http://{self._host}{self._path}"

    @property
    def _host(self) -> str:
        return f"{LOOPBACK}:{self._server.server_address[1]}"

    def serve(self, every: float = 1.0, last_look: float = LAST_LOOK) -> State:
        """Answer until the run has ended and an open page has shown its end, or had the time to.

        Args:
            every: seconds between two looks at whether it has.
            last_look: seconds that an open page has.

        Returns:
            How the run ended.
        """
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            while (state := state_of(self._run)) == "running":
                time.sleep(every)
            self._shown_last.wait(last_look)
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
        return state

    def _page(self) -> tuple[str, bool]:
        """Return the page of the run as it is, and whether it will be another one."""
        state = state_of(self._run)
        if state == "running" and not self._run.exists():
            return _WAITING, True
        return render(RunFacts.read(self._run)), state == "running"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        live = self

        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version = "prospect", ""

            def do_GET(self) -> None:
                # A page of another site may lead a browser to the address, but not under this name.
                if self.headers.get("Host") != live._host or self.path != live._path:
                    self.send_error(404)
                    return
                try:
                    page, goes_on = live._page()
                except CheckpointError as error:
                    self.send_error(503, explain=str(error))
                    return
                self._answer(page.encode(errors="replace"), goes_on)

            def _answer(self, body: bytes, goes_on: bool) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                for name, value in _HEADERS.items():
                    self.send_header(name, value)
                if goes_on:
                    self.send_header("Refresh", str(EVERY))
                self.end_headers()
                self.wfile.write(body)
                if not goes_on:
                    live._shown_last.set()

            def log_message(self, format: str, *args: Any) -> None:
                """Stay silent."""

        return Handler
