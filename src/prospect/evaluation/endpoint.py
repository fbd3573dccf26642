"""A client of OpenAI-compatible servers: vLLM, llama.cpp, Ollama, `transformers serve`, and paid ones.

Only the standard library. The key is read from the environment variable that the user names, sent to this one address,
and never kept: not in the object, not in a message, not in a file.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import random
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from prospect.errors import ProspectError, UsageError

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

# Overload, timeouts and broken gateways pass; everything else would fail again.
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# The server understood who asks, and does not take this one request: too long, or with a setting it does not know.
REFUSED = frozenset({400, 413, 422})
LONGEST_WAIT = 60.0  # seconds between two tries, unless the server asks for more
LONGEST_ASKED_WAIT = 600.0  # the most that a server's Retry-After is followed
PORTS = {"http": 80, "https": 443}  # where an address names none
MOST_BYTES = 2**26  # of a reply: more is no completion


class EndpointError(ProspectError):
    """The server cannot be reached, does not let us in, or answers what no such server answers."""


class RequestRefusedError(EndpointError):
    """The server refuses this request; others may go through."""


class Reply(NamedTuple):
    """What a server answered.

    Attributes:
        text: the completion, empty where there is none.
        finish_reason: "stop", "length" (cut), ...; empty where the server does not say.
        prompt_tokens: as the server counts them, 0 where it does not.
        completion_tokens: likewise.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Endpoint:
    """A model behind an OpenAI-compatible HTTP API.

    Attributes:
        url: up to and with the version, as `http://localhost:8000/v1`; where there is no path, /v1 is added.
        model: as the server calls it.
        api_key_env: name of the environment variable that holds the key; None sends no key.
        timeout: seconds without a byte after which a try has failed.
        retries: further tries after a failure that may pass, with growing waits between them.
        concurrency: requests under way at a time, for `in_parallel`.
        first_wait: seconds before the second try; each further wait is about twice as long.
    """

    url: str
    model: str
    api_key_env: str | None = None
    timeout: float = 120.0
    retries: int = 5
    concurrency: int = 8
    first_wait: float = 1.0
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.url = _checked_url(self.url)
        if not self.model:
            raise UsageError(f"endpoint {self.url}: no model is named; expected URL#MODEL, as the server calls it.")
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
            options: further fields of the request (temperature, max_tokens, seed, ...); None leaves one out.

        Raises:
            RequestRefusedError: the server does not take this request.
            EndpointError: it cannot be reached or answers nothing of use, after all tries.
        """
        answer = self._post("chat/completions", {"messages": list(messages), **options})
        return self._reply(answer, lambda choice: choice["message"].get("content"))

    def complete(self, prompt: str, **options: Any) -> Reply:
        """Return what follows a plain text (`POST /completions`); as `chat` otherwise."""
        answer = self._post("completions", {"prompt": prompt, **options})
        return self._reply(answer, lambda choice: choice.get("text"))

    def in_parallel(self, ask: Callable[[Asked], Answered], asked: Sequence[Asked]) -> Iterator[tuple[int, Answered]]:
        """Yield the number of each question and its answer, as they come, `concurrency` at a time.

        After a failure no new question is begun; answers under way, which are paid for, are still yielded, and then the
        first error is raised. One such loop at a time for each endpoint.
        """
        self._stopped.clear()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        futures = {pool.submit(self._unless_stopped, ask, one): i for i, one in enumerate(asked)}
        failure: BaseException | None = None
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is not None:
                    failure = failure or error
                elif (answers := future.result()) is not None:
                    yield futures[future], answers[0]
        finally:  # also where the caller has had enough: tries that wait give up
            self._stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._stopped.clear()
        if failure is not None:
            raise failure

    def _unless_stopped(self, ask: Callable[[Asked], Answered], one: Asked) -> tuple[Answered] | None:
        if self._stopped.is_set():
            return None
        try:
            return (ask(one),)
        except BaseException:
            self._stopped.set()
            raise

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request until it goes through or is refused for good."""
        fields = {"model": self.model, **{name: value for name, value in body.items() if value is not None}}
        data = json.dumps(fields).encode()
        for tries in range(1, self.retries + 2):
            try:
                return self._once(path, data)
            except urllib.error.HTTPError as error:
                with error:
                    reason, asked_wait = self._reason(error), _retry_after(error.headers)
                if error.code not in RETRIED:
                    kind = RequestRefusedError if error.code in REFUSED else EndpointError
                    raise kind(f"{self.url}: the server refused: {reason}.{self._advice(error.code)}") from None
            except (OSError, http.client.HTTPException) as error:
                if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                    raise EndpointError(f"{self.url}: its certificate is not trusted: {_spell(error)}.") from None
                reason, asked_wait = self._hidden(_spell(error)), None
            if tries > self.retries or not self._wait(tries, asked_wait):
                break
        raise EndpointError(
            f"{self.url}: no answer after {tries} {'try' if tries == 1 else 'tries'}: {reason}. Is the server up, and "
            "the address right? Answers so far are kept where they have a file; run again to go on."
        )

    def _once(self, path: str, data: bytes) -> Any:
        headers = {"Content-Type": "application/json", "User-Agent": "prospect"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method="POST")  # noqa: S310  checked: http(s)
        with self._opener().open(request, timeout=self.timeout) as response:
            text = response.read(MOST_BYTES)
        try:
            return json.loads(text)
        except ValueError:
            start = self._hidden(text[:80].decode(errors="replace"))
            raise EndpointError(
                f"{self.url}: the server answered {start!r}, which is no JSON. Is this the address of its API "
                "(with /v1)?"
            ) from None

    def _opener(self) -> urllib.request.OpenerDirector:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if _is_local(self.url):  # a proxy would look for localhost on its own machine
            handlers.append(urllib.request.ProxyHandler({}))
        return urllib.request.build_opener(*handlers)

    def _reply(self, answer: Any, text_of: Callable[[Any], Any]) -> Reply:
        try:
            choice = answer["choices"][0]
            text = text_of(choice)
            if not isinstance(text, str | None):
                raise TypeError
            usage = answer.get("usage") or {}
            counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
            return Reply(text or "", str(choice.get("finish_reason") or ""), *counts)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            start = self._hidden(json.dumps(answer)[:120])
            raise EndpointError(
                f"{self.url}: the answer has no choices with a text: {start}. Is this an OpenAI-compatible server?"
            ) from None

    def _wait(self, tries: int, asked: float | None) -> bool:
        """Wait before the next try; false where there shall be none."""
        grown = min(self.first_wait * 2 ** (tries - 1), LONGEST_WAIT)
        wait = grown * random.uniform(0.75, 1.25)  # so that parallel requests do not all come back at once
        return not self._stopped.wait(max(wait, min(asked, LONGEST_ASKED_WAIT)) if asked is not None else wait)

    def _reason(self, error: urllib.error.HTTPError) -> str:
        """Return what the server says is wrong, in one line."""
        try:
            text = error.read(10_000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            text = ""
        try:
            found = json.loads(text)
            found = found.get("error", found)
            text = str(found.get("message", found) if isinstance(found, dict) else found)
        except (ValueError, AttributeError):
            pass
        said = " ".join(self._hidden(text).split())[:300].rstrip(".")
        return f"{error.code} {error.reason}" + (f" ({said})" if said else "")

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
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise UsageError(
                f"endpoint {self.url}: the environment variable {self.api_key_env} is empty; put the key there."
            )
        if not key.isascii() or not key.isprintable():
            raise UsageError(f"endpoint {self.url}: {self.api_key_env} holds characters that no key has.")
        return key

    def _hidden(self, text: str) -> str:
        """A message of the server, without our key, which some repeat."""
        key = os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""
        return text.replace(key, "***") if key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another address, and turn a POST into a GET."""

    def redirect_request(self, *_: Any) -> None:
        return None


def origin_of(address: str) -> str:
    """Return scheme, host and port of `URL#MODEL`: a key that is meant for one of these is for no other.

    Raises:
        UsageError: it is no address.
    """
    parts = _split(address.partition("#")[0])
    return f"{parts.scheme}://{parts.hostname}:{parts.port or PORTS[parts.scheme]}"


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url.strip())
        if parts.scheme in PORTS and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # a port that is no number, a bracket without its other
        pass
    shown = url.rpartition("@")[2]  # without a password
    raise UsageError(f"endpoint {shown}: expected an address such as http://localhost:8000/v1.")


def _checked_url(url: str) -> str:
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


def _is_local(url: str) -> bool:
    return urllib.parse.urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _retry_after(headers: Any) -> float | None:
    """Return the seconds that a server asks us to wait."""
    value = headers.get("Retry-After") if headers else None
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _spell(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, BaseException) else error
    if isinstance(inner, TimeoutError):
        return "it took too long"
    return str(inner) or type(inner).__name__
