"""Servers on the loopback: one that answers as it is told, and one that speaks to the bare connection."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prospect.endpoint.client import Endpoint

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Server:
    """Answers each request by `answer(path, body)`, and remembers what it was asked."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Answer]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[Any] = []
        self.at_once = self.most_at_once = 0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.asked.append(body)
                    server.paths.append(self.path)
                    server.headers.append(self.headers)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                try:
                    status, said, *more = answer(self.path, body)
                finally:
                    with lock:
                        server.at_once -= 1
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that gave up is no news
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def endpoint(self, **settings: Any) -> Endpoint:
        return Endpoint(self.url, "m", **{"first_wait": 0.0, "timeout": 10, **settings})

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class RawServer:
    """Reads each request, and lets `talk(connection, over)` answer; `over` is set when the server closes."""

    def __init__(self, talk: Callable[[socket.socket, threading.Event], None]) -> None:
        self.over, self.tries = threading.Event(), 0
        self._talk = talk
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def endpoint(self, **settings: Any) -> Endpoint:
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        return Endpoint(url, "m", **{"first_wait": 0.0, "timeout": 10, "retries": 0, **settings})

    def close(self) -> None:
        self.over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        self.tries += 1
        with connection:
            try:
                _read_request(connection)  # all of it: a connection that is closed with bytes unread is reset
                self._talk(connection, self.over)
            except OSError:  # the client has gone
                pass


def _read_request(connection: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    left = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
    while left > 0:
        left -= len(connection.recv(left))


def said(text: str | None, finish: str = "stop") -> Answer:
    usage = {"prompt_tokens": 100, "completion_tokens": 5}
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": finish}], "usage": usage}
