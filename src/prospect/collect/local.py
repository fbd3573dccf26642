"""A model of ours as an upstream: one answer at a time, token by token, for demonstrations, tests and small teams."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from prospect.collect.held import HeldModels
from prospect.collect.local_job import Job, Piece, read_job
from prospect.collect.refusals import Refusal
from prospect.collect.upstream import Reply, UpstreamError
from prospect.results.registry import RegistryEntry

MOST_WAITING = 32  # requests; at a second each the last waits half a minute


class LocalUpstream:
    """Answers with models in memory.

    Args:
        models: the first one answers where the client names none of them.
    """

    def __init__(self, models: HeldModels) -> None:
        self._models = models
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-model")
        self._jobs: set[Job] = set()
        self._began = int(time.time())

    async def ask(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """Return the answer, which begins when those before it have ended."""
        if body is None:
            return _reply(b"application/json", _once(self._described(path)), lambda: None)
        if len(self._jobs) >= MOST_WAITING:
            raise Refusal(503, f"{MOST_WAITING} requests wait for the model already. Try again.", retry_after=5)
        fields = orjson.loads(body)
        model = self._models.named(fields.get("model") or "")
        pieces: asyncio.Queue[Piece] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def say(piece: Piece) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        job = read_job(model, fields, say, chat=path == "chat/completions")
        self._jobs.add(job)
        done = self._thread.submit(job.run, model)
        done.add_done_callback(lambda _: loop.call_soon_threadsafe(self._jobs.discard, job))
        answer = _Answering(model.name, job, pieces, include_usage=_wants_usage(fields))
        if fields.get("stream"):
            return _reply(b"text/event-stream", answer.events(), job.left.set)
        return _reply(b"application/json", answer.whole(), job.left.set)

    def _described(self, path: str) -> dict[str, Any]:
        """Return the list of models, or the one that the path names."""
        said = {
            n: {"id": n, "object": "model", "created": self._began, "owned_by": "prospect"} for n in self._models.names
        }
        name = unquote(path.removeprefix("models").removeprefix("/"))
        if not name:
            return {"object": "list", "data": list(said.values())}
        if name not in said:
            raise Refusal(404, "there is no such model.")
        return said[name]

    def fingerprint(self, model: str) -> str:
        """Return what the model's files are known by."""
        return self._models.named(model).fingerprint

    def hold(self, wanted: Sequence[RegistryEntry], spare: str | None) -> set[str]:
        """Return which of a registry's models are in memory; the others are loaded on a thread."""
        return self._models.hold(wanted, spare)

    async def close(self) -> None:
        """End what is under way, and wait for it."""
        for job in self._jobs:
            job.left.set()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._models.close)


@dataclass
class _Answering:
    """One request's answer in OpenAI's shape."""

    name: str
    job: Job
    pieces: asyncio.Queue[Piece]
    include_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))
    id: str = field(default_factory=lambda: f"local-{secrets.token_hex(8)}")

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the answer as a stream."""
        used = 0
        async for piece in self._each():
            said: dict[str, Any] = {"content": piece.text} if piece.text else {}
            choice = {"delta": said} if self.job.chat else {"text": piece.text}
            used += piece.tokens
            yield _event(self._shape([{"index": piece.choice, **choice, "finish_reason": piece.finish}], chunk=True))
        if self.include_usage:
            yield _event({**self._shape([], chunk=True), "usage": self._usage(used)})
        yield b"data: [DONE]\n\n"

    async def whole(self) -> AsyncIterator[bytes]:
        """Yield the answer when it is there."""
        texts = [""] * self.job.n
        finish: list[str | None] = [None] * self.job.n
        used = 0
        async for piece in self._each():
            texts[piece.choice] += piece.text
            finish[piece.choice] = piece.finish or finish[piece.choice]
            used += piece.tokens
        choices = []
        for index, text in enumerate(texts):
            said = {"message": {"role": "assistant", "content": text}} if self.job.chat else {"text": text}
            choices.append({"index": index, **said, "finish_reason": finish[index]})
        yield orjson.dumps({**self._shape(choices, chunk=False), "usage": self._usage(used)})

    async def _each(self) -> AsyncIterator[Piece]:
        ended = 0
        while ended < self.job.n:
            piece = await self.pieces.get()
            if piece.error:
                raise UpstreamError(502, f"{piece.error}.")
            ended += piece.finish is not None
            yield piece

    def _shape(self, choices: list[dict[str, Any]], *, chunk: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if self.job.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.name, "choices": choices}

    def _usage(self, used: int) -> dict[str, int]:
        asked = self.job.prompt_tokens
        return {"prompt_tokens": asked, "completion_tokens": used, "total_tokens": asked + used}


def _wants_usage(fields: dict[str, Any]) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


async def _once(value: Any) -> AsyncIterator[bytes]:
    yield orjson.dumps(value)


def _reply(kind: bytes, pieces: AsyncIterator[bytes], close: Callable[[], None]) -> Reply:
    return Reply(200, [(b"content-type", kind)], pieces, close)
