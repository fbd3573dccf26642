"""The server behind the proxy: one request to it, and its answer piece by piece.

Only the command line names it. No redirect is followed, no proxy of the environment is used, and names that lead to
link-local addresses, where clouds keep their secrets, are refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import ResolveResult

from prospect.collect.refusals import Refusal
from prospect.collect.request import TRACE
from prospect.collect.stream import without
from prospect.endpoint.client import checked_url, read_key
from prospect.errors import UsageError
from prospect.results.registry import RegistryEntry

MOST_ANSWER = 2**24  # bytes of an answer that is no stream; a completion of 100,000 tokens has half a megabyte
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 60.0  # of a stream that has begun
FIRST_SECONDS = 600.0  # until the head of an answer: an answer that is no stream comes when it is whole

# Of the client's headers the server gets these alone: never its key, its cookies, or where it comes from.
_ASKED_HEADERS = ("accept", "content-type", "user-agent", "x-request-id", *TRACE)
# Those of one connection (RFC 9110, 7.6.1), of the encoding that was undone, of another site, and of the account.
_DROPPED = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade content-length content-encoding server date set-cookie alt-svc strict-transport-security "
    b"openai-organization openai-project".split()
)
_METADATA = ipaddress.ip_network("fd00:ec2::/32")


@dataclass
class Reply:
    """What an upstream answers.

    Attributes:
        status: of HTTP.
        headers: those that the client gets as well, names in lower case.
        pieces: the body; it can be read once.
        close: ends the answer; if it was not read to its end, the upstream notices.
        secret: our key, which some servers repeat and no client may see; empty for none.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: AsyncIterator[bytes]
    close: Callable[[], None]
    secret: bytes = b""

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of events."""
        kind = next((value for name, value in self.headers if name == b"content-type"), b"")
        return kind.lower().startswith(b"text/event-stream")

    async def whole(self) -> bytes:
        """Return the body.

        Raises:
            UpstreamError: it is too long, or breaks off.
        """
        body = bytearray()
        async for piece in self.pieces:
            body += piece
            if len(body) > MOST_ANSWER:
                raise UpstreamError(502, f"the upstream answers with more than {MOST_ANSWER >> 20} MiB.")
        return without(self.secret, bytes(body))


class UpstreamError(Refusal):
    """The upstream gave no answer, or not all of it."""


class Upstream(Protocol):
    """Something that answers requests in OpenAI's protocol."""

    async def ask(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """Return the answer to a request.

        Args:
            path: `chat/completions`, `completions`, `models`, or `models/ID` with ID quoted.
            body: None for a GET.
            headers: of the client.

        Raises:
            UpstreamError: there is none.
        """

    def fingerprint(self, model: str) -> str:
        """Return what is known of the weights behind a name; it changes when they may have changed."""

    def hold(self, wanted: Sequence[RegistryEntry], spare: str | None) -> set[str]:
        """Return the names of the models of a registry that can answer now.

        Args:
            wanted: those that are to answer; what is not ready is made ready meanwhile.
            spare: the name of one that may be wanted again soon.
        """

    async def close(self) -> None:
        """End what is under way."""


@dataclass
class HttpUpstream:
    """A server that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama, `transformers serve`, OpenAI.

    Attributes:
        url: up to and with the version.
        api_key_env: the environment variable that holds the key; None sends none.
    """

    url: str
    api_key_env: str | None = None
    _session: aiohttp.ClientSession | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.url = checked_url(self.url)
        host = urllib.parse.urlsplit(self.url).hostname or ""
        try:
            refused = is_forbidden(host)
        except ValueError:  # a name, which is looked at when it is resolved
            refused = False
        if refused:
            raise UsageError(f"upstream {self.url}: a link-local address, which is no server of models. Name another.")
        self._key = b"" if self.api_key_env is None else read_key(self.api_key_env, self.url).encode()

    async def ask(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """Return the answer; a connection that fails before the first byte is tried once more."""
        sent = {name: headers[name] for name in _ASKED_HEADERS if name in headers}
        sent["accept-encoding"] = "identity"
        if self._key:
            sent["authorization"] = f"Bearer {self._key.decode()}"
        for last in (False, True):
            try:
                response = await self._open().request(
                    "GET" if body is None else "POST",
                    f"{self.url}/{path}",
                    data=body,
                    headers=sent,
                    allow_redirects=False,
                )
                break
            except TimeoutError:
                raise UpstreamError(504, "the upstream did not answer in time.") from None
            except aiohttp.ClientConnectionError as error:
                if last:
                    raise UpstreamError(502, f"the upstream cannot be reached ({type(error).__name__}).") from None
            except aiohttp.ClientError as error:
                raise UpstreamError(502, f"the upstream gave no answer in HTTP ({type(error).__name__}).") from None
        if 300 <= response.status < 400:
            response.close()
            raise UpstreamError(502, f"the upstream sends us elsewhere ({response.status}), where we do not go.")
        return Reply(response.status, self._headers(response), self._pieces(response), response.close, self._key)

    def fingerprint(self, model: str) -> str:
        """Return a hash of address and name: of the weights of a server nothing else is known."""
        return hashlib.blake2b(f"{self.url}#{model}".encode(), digest_size=8).hexdigest()

    def hold(self, wanted: Sequence[RegistryEntry], spare: str | None) -> set[str]:
        """Return all of them: what a server has it has from the start."""
        return {entry.model for entry in wanted}

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # it belongs to the loop that runs now
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, resolver=_Resolver()),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=FIRST_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("user-agent",),
            )
        return self._session

    def _headers(self, response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
        named = {name.strip().lower() for name in response.headers.get("connection", "").encode().split(b",")}
        found = [(name.lower(), without(self._key, value)) for name, value in response.raw_headers]
        return [(n, v) for n, v in found if n not in _DROPPED | named and not n.startswith(b"access-control-")]

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        stream = response.headers.get("content-type", "").startswith("text/event-stream")
        seconds = IDLE_SECONDS if stream else FIRST_SECONDS
        try:
            while True:
                async with asyncio.timeout(seconds):
                    piece = await response.content.readany()
                if not piece:
                    return
                yield piece
        except TimeoutError:
            raise UpstreamError(504, f"the upstream said nothing for {seconds:.0f} seconds.") from None
        except aiohttp.ClientError as error:
            raise UpstreamError(502, f"the upstream broke off ({type(error).__name__}).") from None


def is_forbidden(address: str) -> bool:
    """Return whether an IP address is link-local or one of a cloud's metadata.

    Raises:
        ValueError: it is no IP address.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_link_local or found in _METADATA


class _Resolver(aiohttp.ThreadedResolver):
    """Resolves names, but not to forbidden addresses: a name may lead elsewhere tomorrow."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found: Sequence[Any] = await super().resolve(host, port, family)
        kept = [one for one in found if not is_forbidden(one["host"])]
        if not kept:
            raise OSError(f"{host}: a link-local address")
        return kept
