"""One HTTP POST with bounds on its time and size; it can be given up from another thread.

No redirect is followed: it would take the key to another address, and turn a POST into a GET.
"""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from typing import Any, NamedTuple

# A completion of 100,000 tokens has half a megabyte; a body of more than this is no completion.
MOST_BYTES = 2**24
# Times the time-out, a call ends whatever it gets: some servers send blank lines while a request waits in their queue.
LONGEST_CALL = 2
_PIECE = 2**16


class Response(NamedTuple):
    """What a server answered, whatever its status."""

    status: int
    reason: str
    headers: Message
    body: bytes


class Call:
    """A request under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False

    def post(self, url: str, data: bytes, headers: Mapping[str, str], *, timeout: float) -> Response:
        """Send data and return the answer.

        Args:
            url: http or https.
            data: the body of the request.
            headers: of the request.
            timeout: seconds without a byte; `LONGEST_CALL` times as long is the whole call.

        Raises:
            TimeoutError: the server took longer.
            OSError, http.client.HTTPException: it cannot be reached, or does not answer in HTTP.
        """
        request = urllib.request.Request(url, data, dict(headers), method="POST")  # noqa: S310  checked: http(s)
        # The time-out of a socket begins again with every byte, so a server that drips would never be given up.
        alarm = threading.Timer(LONGEST_CALL * timeout, self.give_up)
        alarm.daemon = True
        alarm.start()
        try:
            with _opener(self, url).open(request, timeout=timeout) as response:
                body = _read(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._over:
                raise TimeoutError from None
            if isinstance(error, ValueError):  # a chunk's length that is no number, say
                raise ConnectionError(f"it does not answer in HTTP: {error}") from None
            raise
        finally:
            alarm.cancel()
            with self._lock:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None
        if self._over:
            raise TimeoutError
        return Response(response.status, response.reason or "", response.headers, body)

    def give_up(self) -> None:
        """End the call now, from any thread."""
        with self._lock:
            self._over = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def watch(self, connected: socket.socket) -> None:
        """Remember the connection. A copy of it, so that TLS and its closing are no matter of ours."""
        with self._lock:
            self._socket = connected.dup()
        if self._over:
            self.give_up()


class _Plain(http.client.HTTPConnection):
    call: Call

    def connect(self) -> None:
        super().connect()
        self.call.watch(self.sock)


class _Secure(http.client.HTTPSConnection, _Plain):
    """Connects as the plain one does, and then begins TLS."""


class _Handler(urllib.request.AbstractHTTPHandler):
    """Gives every answer back, errors and redirects too, for there is no handler of these beside it."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def http_open(self, request: urllib.request.Request) -> Any:
        return self._open(_Plain, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self._open(_Secure, request)

    def _open(self, kind: type[_Plain], request: urllib.request.Request) -> Any:
        def connection(*where: Any, **how: Any) -> _Plain:
            made = kind(*where, **how)
            made.call = self._call
            return made

        return self.do_open(connection, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


def _opener(call: Call, url: str) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    # A proxy would look for localhost on its own machine.
    local = urllib.parse.urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    opener.add_handler(urllib.request.ProxyHandler({} if local else None))
    opener.add_handler(_Handler(call))
    return opener


def _read(response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    while piece := response.read1(_PIECE):
        body += piece
        if len(body) > MOST_BYTES:
            raise ConnectionError(f"it sends more than {MOST_BYTES // 2**20} MB, which is no completion")
    if response.length:
        raise ConnectionError(f"the connection ended {response.length} bytes early")
    return bytes(body)
