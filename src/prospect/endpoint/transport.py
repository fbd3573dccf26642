"""One HTTP POST with bounds on its time and size; it can be cancelled from another thread.

No redirect is followed: it would take the key to another address, and turn a POST into a GET.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import httpx2

# A completion of 100,000 tokens has half a megabyte; a body of more than this is no completion.
MOST_BYTES = 2**24
# Times the time-out, a call ends whatever it gets: some servers send blank lines while a request waits in their queue.
LONGEST_CALL = 2
_starting = threading.Lock()


class Response(NamedTuple):
    """What a server answered, whatever its status."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def start_post(url: str, data: bytes, headers: Mapping[str, str], *, timeout: float) -> Future[Response]:
    """Start a request and return its future, which any thread may cancel: the connection is closed at once.

    Args:
        url: http or https.
        data: the body of the request.
        headers: of the request.
        timeout: seconds without a byte; `LONGEST_CALL` times as long is the whole call.

    Returns:
        A future of the answer. Its exceptions are TimeoutError where the server took longer, SSLCertVerificationError
        where its certificate is not trusted, and another OSError, with a message for people, where it cannot be reached
        or does not answer in HTTP.
    """
    with _starting:  # threads share one event loop
        loop = _loop()
    return asyncio.run_coroutine_threadsafe(_post(url, data, headers, timeout), loop)


async def _post(url: str, data: bytes, headers: Mapping[str, str], timeout: float) -> Response:
    import httpx2

    client = httpx2.AsyncClient(
        verify=_trusted(),
        timeout=timeout,
        mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},  # not through a proxy
        follow_redirects=False,
    )
    # Nothing is decompressed, so that the bound on the size holds for what is kept.
    sent = {**headers, "Accept-Encoding": "identity", "Connection": "close"}
    try:
        # The time-out of the client begins again with every byte, so a server that drips would never be given up.
        async with (
            asyncio.timeout(LONGEST_CALL * timeout),
            client,
            client.stream("POST", url, content=data, headers=sent) as response,
        ):
            body = await _read(response)
    except (TimeoutError, httpx2.TimeoutException):
        raise TimeoutError("it took too long") from None
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise _cause(error) from None
    return Response(response.status_code, response.reason_phrase, response.headers, body)


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MOST_BYTES:
            raise ConnectionError(f"it sends more than {MOST_BYTES // 2**20} MB, which is no completion")
    return bytes(body)


def _cause(error: BaseException) -> OSError:
    """Return the system's own error beneath those of the libraries, or their words."""
    found = error
    while (beneath := found.__cause__ or found.__context__) is not None:
        found = beneath.exceptions[0] if isinstance(beneath, BaseExceptionGroup) else beneath
        if isinstance(found, ssl.SSLCertVerificationError):
            return found
        if isinstance(found, OSError) and found.errno is not None:
            # asyncio has words of its own for a refused connection; errors of name look-ups are below 0.
            return ConnectionError(os.strerror(found.errno) if found.errno > 0 else found.strerror)
    return ConnectionError(str(error) or type(error).__name__)


@cache
def _trusted() -> ssl.SSLContext:
    """Trust what the machine trusts: companies put their own authorities there."""
    return ssl.create_default_context()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="endpoint").start()
    return loop
