"""A client of OpenAI-compatible servers: vLLM, llama.cpp, Ollama, `transformers serve`, and paid ones.

The key is read from the environment variable that the user names, sent to this one address, and never kept: not in the
object, not in a message, not in a file.
"""

from __future__ import annotations

import email.utils
import json
import logging
import math
import os
import random
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from prospect.endpoint.replies import Reply, read_chat, read_completion, read_json
from prospect.endpoint.request_fields import RequestFields
from prospect.endpoint.transport import Response, start_post
from prospect.errors import ProspectError, UsageError

if TYPE_CHECKING:
    from tenacity import RetryCallState

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

# Overload, timeouts and broken gateways pass; everything else would fail again.
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# The server understood who asks, and does not take this one request: too long, or with a setting it does not know.
REFUSED = frozenset({400, 413, 422})
LONGEST_WAIT = 60.0  # seconds between two tries, unless the server asks for more
LONGEST_ASKED_WAIT = 120.0  # the most that a server's Retry-After is followed
PORTS = {"http": 80, "https": 443}  # where an address names none

_log = logging.getLogger(__name__)


class EndpointError(ProspectError):
    """The server cannot be reached, does not let us in, or answers what no such server answers."""


class RequestRefusedError(EndpointError):
    """The server refuses this request; others may go through.

    Attributes:
        said: the server's own words.
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


@dataclass
class Endpoint:
    """A model behind an OpenAI-compatible HTTP API.

    Attributes:
        url: up to and with the version, as `http://localhost:8000/v1`; where there is no path, /v1 is added.
        model: as the server calls it.
        api_key_env: name of the environment variable that holds the key; None sends no key.
        timeout: seconds without a byte after which a try has failed; twice as long is a whole try, whatever comes.
        retries: further tries after a failure that may pass, with growing waits between them.
        concurrency: requests under way at a time, for `in_parallel`.
        first_wait: seconds before the second try; each further wait is about twice as long.
        request: further fields of every request, in place of those that the caller sends; None leaves one out. A limit
            (max_tokens, max_completion_tokens) replaces the other.
    """

    url: str
    model: str
    api_key_env: str | None = None
    timeout: float = 300.0  # a model that thinks sends its first byte when it has written its last
    retries: int = 5
    concurrency: int = 8
    first_wait: float = 1.0
    request: Mapping[str, Any] = field(default_factory=dict)
    _fields: RequestFields = field(init=False, repr=False, compare=False)
    _calls: set[Future[Response]] = field(default_factory=set, repr=False, compare=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    _abandoned: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.url = checked_url(self.url)
        if not self.model:
            raise UsageError(f"endpoint {self.url}: no model is named; expected URL#MODEL, as the server calls it.")
        self._fields = RequestFields(self.request)
        for name, least in (("timeout", 1e-3), ("retries", 0), ("concurrency", 1), ("first_wait", 0)):
            if not getattr(self, name) >= least:
                raise UsageError(f"endpoint: {name} is {getattr(self, name)}; expected at least {least:g}.")
        self._key()  # a missing key is found before the first request

    @classmethod
    def parse(cls, address: str, **settings: Any) -> Endpoint:
        """Return the endpoint of `URL#MODEL`."""
        url, _, model = address.partition("#")
        return cls(url, model, **settings)

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Reply:
        """Return the answer to a conversation (`POST /chat/completions`).

        Args:
            messages: turns as `{"role": ..., "content": ...}`.
            options: further fields of the request (temperature, max_tokens, seed, ...); None leaves one out, and so
                does a server that knows no such field (see `RequestFields.replace`).

        Raises:
            RequestRefusedError: the server does not take this request.
            EndpointError: it cannot be reached or answers nothing of use, after all tries.
        """
        return self._reply(self._post("chat/completions", {"messages": list(messages), **options}), read_chat)

    def complete(self, prompt: str, **options: Any) -> Reply:
        """Return what follows a plain text (`POST /completions`); as `chat` otherwise."""
        return self._reply(self._post("completions", {"prompt": prompt, **options}), read_completion)

    def in_parallel(self, ask: Callable[[Asked], Answered], asked: Sequence[Asked]) -> Iterator[tuple[int, Answered]]:
        """Yield the number of each question and its answer, as they come, `concurrency` at a time.

        After a failure no new question is begun; answers under way, which are paid for, are still yielded, and then the
        first error is raised. Where the caller leaves, by Ctrl-C say, they are given up. One such loop at a time for
        each endpoint.
        """
        self._stopped.clear()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        futures = {pool.submit(self._unless_stopped, ask, one): i for i, one in enumerate(asked)}
        failure: BaseException | None = None
        left = True
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is not None:
                    failure = failure or error
                elif (answers := future.result()) is not None:
                    yield futures[future], answers[0]
            left = False
        finally:
            self._stopped.set()  # tries that wait for the next one give up
            if left:
                self._abandoned.set()  # before the look at the calls: one that starts meanwhile sees it itself
                for call in list(self._calls):
                    call.cancel()
            pool.shutdown(wait=True, cancel_futures=True)
            self._stopped.clear()
            self._abandoned.clear()
        if failure is not None:
            raise failure

    def _unless_stopped(self, ask: Callable[[Asked], Answered], one: Asked) -> tuple[Answered] | None:
        if self._stopped.is_set():
            return None
        try:
            return (ask(one),)
        except CancelledError:  # while it waited for the next try
            return None
        except BaseException:
            self._stopped.set()
            raise

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request; where the server takes a field of ours by another name or not at all, send it so."""
        while True:
            fields = self._fields.complete({"model": self.model, **body})
            try:
                return self._until_answered(path, json.dumps(fields).encode())
            except RequestRefusedError as refused:
                again, change = self._fields.replace(fields, refused.said)
                if change:
                    _log.warning("%s: %s.", self.url, change)
                if not again:
                    raise

    def _until_answered(self, path: str, data: bytes) -> Any:
        """Send a request until it goes through or is refused for good."""
        from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt

        tries = Retrying(
            retry=retry_if_exception_type(_MayPassError),
            stop=stop_after_attempt(self.retries + 1),
            wait=self._wait_for,
            sleep=self._sleep,
        )
        try:
            return tries(self._once, path, data)
        except RetryError as error:
            count, reason = error.last_attempt.attempt_number, error.last_attempt.exception()
            raise EndpointError(
                f"{self.url}: no answer after {count} {'try' if count == 1 else 'tries'}: {reason}. Is the server up, "
                "and the address right? Answers so far are kept where they have a file; run again to go on."
            ) from None

    def _wait_for(self, state: RetryCallState) -> float:
        """Return the seconds before the next try."""
        grown = min(self.first_wait * 2 ** (state.attempt_number - 1), LONGEST_WAIT)
        wait = grown * random.uniform(0.75, 1.25)  # so that parallel requests do not all come back at once
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.asked_wait if isinstance(error, _MayPassError) else None
        return wait if asked is None else max(wait, min(asked, LONGEST_ASKED_WAIT))

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise CancelledError

    def _once(self, path: str, data: bytes) -> Any:
        headers = {"Content-Type": "application/json", "User-Agent": "prospect"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        call = start_post(f"{self.url}/{path}", data, headers, timeout=self.timeout)
        self._calls.add(call)
        if self._abandoned.is_set():
            call.cancel()
        try:
            response = call.result()
        except ssl.SSLCertVerificationError as error:
            raise EndpointError(f"{self.url}: its certificate is not trusted: {error.verify_message}.") from None
        except OSError as error:
            raise _MayPassError(self._shown(str(error)), None) from None
        finally:
            call.cancel()
            self._calls.discard(call)
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        try:
            return read_json(response.body)
        except ValueError:
            start = self._shown(response.body[:80].decode(errors="replace"))
            raise EndpointError(
                f"{self.url}: the server answered '{start}', which is no JSON that can be read. Is this the address of "
                "its API (with /v1)?"
            ) from None

    def _refusal(self, response: Response) -> Exception:
        """Return the error of an answer that is none."""
        said, reason = self._said(response.body), f"{response.status} {self._shown(response.reason)}"
        if said:
            reason += f" ({said})"
        if response.status in RETRIED:
            return _MayPassError(reason, _retry_after(response.headers))
        text = f"{self.url}: the server refused: {reason}.{self._advice(response.status)}"
        return RequestRefusedError(text, said) if response.status in REFUSED else EndpointError(text)

    def _reply(self, answer: Any, read: Callable[[Any], Reply]) -> Reply:
        try:
            return read(answer)
        except ValueError as error:
            try:
                start = self._shown(json.dumps(answer)[:120])
            except RecursionError:
                start = "nested lists"
            raise EndpointError(f"{self.url}: {error}: {start}. Is this an OpenAI-compatible server?") from None

    def _said(self, body: bytes) -> str:
        """Return what the server says is wrong, in one line."""
        text = body[:10_000].decode(errors="replace")
        try:
            found = read_json(body)
            found = found.get("error", found)
            text = str(found.get("message", found) if isinstance(found, dict) else found)
        except (ValueError, AttributeError, RecursionError):
            pass
        return self._shown(text)[:300].rstrip(".")

    def _advice(self, code: int) -> str:
        if 300 <= code < 400:
            return " It sends us elsewhere, where the key shall not go: give the address that it names."
        if code in (401, 403):
            if self.api_key_env is None:
                return " Name the environment variable that holds your key."
            return f" Is the key in {self.api_key_env} right, and allowed to use {self.model}?"
        if code == 404:
            return f' Is "{self.model}" a model of this server, and does the address end where the API begins (/v1)?'
        return ""

    def _key(self) -> str | None:
        return None if self.api_key_env is None else read_key(self.api_key_env, self.url)

    def _shown(self, text: str) -> str:
        """Return a message of the server for a terminal: in one line, and without our key, which some repeat."""
        key = os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""
        line = " ".join((text.replace(key, "***") if key else text).split())
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


class _MayPassError(Exception):
    """A try that failed in a way that the next one may not.

    Attributes:
        asked_wait: seconds that the server asks us to wait; None where it does not.
    """

    def __init__(self, reason: str, asked_wait: float | None) -> None:
        super().__init__(reason)
        self.asked_wait = asked_wait


def origin_of(address: str) -> str:
    """Return scheme, host and port of `URL#MODEL`: a key that is meant for one of these is for no other.

    Raises:
        UsageError: it is no address.
    """
    parts = _split(address.partition("#")[0])
    return f"{parts.scheme}://{parts.hostname}:{parts.port or PORTS[parts.scheme]}"


def read_key(name: str, url: str) -> str:
    """Return the key that an environment variable holds.

    Args:
        name: of the variable.
        url: the server that the key is for, for the errors.

    Raises:
        UsageError: the variable is empty, or holds no key.
    """
    key = os.environ.get(name, "").strip()
    if not key:
        raise UsageError(f"endpoint {url}: the environment variable {name} is empty; put the key there.")
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"endpoint {url}: {name} holds characters that no key has.")
    return key


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url.strip())
        if parts.scheme in PORTS and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # a port that is no number, a bracket without its other
        pass
    shown = url.rpartition("@")[2]  # without a password
    raise UsageError(f"endpoint {shown}: expected an address such as http://localhost:8000/v1.")


def checked_url(url: str) -> str:
    """Return the address of a server's API up to and with the version; /v1 is added where there is no path.

    Raises:
        UsageError: it is no address, or holds a password or a query.
    """
    parts = _split(url)
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"endpoint {parts.scheme}://...@{parts.hostname}: an address with a name or password in it would be "
            "written to files. Put the key into an environment variable."
        )
    if parts.query or parts.fragment:
        raise UsageError(
            f"endpoint {url}: expected no ? or # in the address; the model's name comes after the first #."
        )
    path = parts.path.rstrip("/").removesuffix("/completions").removesuffix("/chat")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks us to wait."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)
