"""What servers answer, in the shapes of OpenAI, vLLM, llama.cpp, Ollama and transformers serve; written by hand.

And a server on the loopback that says it, or misbehaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import Any, NamedTuple


class Recording(NamedTuple):
    """One answer of a server: `chunks` as they leave it, and what a turn of it must hold, by choice."""

    name: str
    chunks: list[bytes]
    texts: list[str]
    ended: list[str]
    stream: bool = True
    path: str = "/v1/chat/completions"
    status: int = 200
    content_type: str = "text/event-stream"
    fails: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def id(self) -> str:
        return "chatcmpl-upstream-0001"


ID = "chatcmpl-upstream-0001"


def dumps(value: Any, *, spaced: bool = False, ordered: bool = False) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps(value, separators=separators, sort_keys=ordered, ensure_ascii=spaced).encode()


def chunk(delta: dict[str, Any] | None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {"id": ID, "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}


def events(
    *chunks: dict[str, Any], end: bytes = b"\n\n", done: bool = True, spaced: bool = False, ordered: bool = False
) -> list[bytes]:
    written = [b"data: " + dumps(one, spaced=spaced, ordered=ordered) + end for one in chunks]
    return [*written, b"data: [DONE]" + end] if done else written


def whole(
    messages: list[dict[str, Any]], finish: str = "stop", *, spaced: bool = False, ordered: bool = False, **more: Any
) -> list[bytes]:
    choices = [{"index": i, "message": message, "finish_reason": finish} for i, message in enumerate(messages)]
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    body = {"id": ID, "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    return [dumps({**body, **more}, spaced=spaced, ordered=ordered)]


def said(text: str | None) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "refusal": None}


TOOL_CALL = {"id": ID, "type": "function", "function": {"name": "find", "arguments": '{"order": 7}'}}
TOOL = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
TOOL_PIECES = [
    chunk({"role": "assistant", "content": None}),
    chunk(
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "find", "arguments": ""}}]}
    ),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"order'}}]}),
    chunk(
        {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "end", "arguments": "{}"}}]}
    ),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '": 7}'}}]}),
    chunk({}, "tool_calls"),
]
TOOLS_OF_SECOND = [
    chunk({"tool_calls": [{"index": 0, "id": "c3", "type": "function", "function": {"name": "end"}}]}, index=1),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, "tool_calls", index=1),
]
TEXT = {"id": ID, "object": "text_completion", "created": 1, "model": "m"}
JSON = {"stream": False, "content_type": "application/json"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}

RECORDINGS = [
    Recording(
        "openai", whole([said("Grüße, \u4f60\u597d")], system_fingerprint="fp_1"), ["Grüße, 你好"], ["stop"], **JSON
    ),
    Recording("openai-cut", whole([said("On its")], "length"), ["On its"], ["length"], **JSON),
    Recording("openai-n2", whole([said("A"), said("B")]), ["A", "B"], ["stop", "stop"], **JSON),
    Recording("openai-tools", whole([TOOL], "tool_calls"), [""], ["stop"], **JSON),
    Recording("openai-refusal", whole([{**said(None), "refusal": "No."}]), ["No."], ["stop"], **JSON),
    Recording(
        "vllm", whole([said('"id":"' + ID + '"')], spaced=True, kv_transfer=None), [f'"id":"{ID}"'], ["stop"], **JSON
    ),
    Recording(
        "llamacpp", whole([said("On its way.")], ordered=True, timings={"id": "x"}), ["On its way."], ["stop"], **JSON
    ),
    Recording("ollama", whole([said("Ja\r\n")], system_fingerprint="fp_ollama"), ["Ja\r\n"], ["stop"], **JSON),
    Recording(
        "ollama-tools", whole([{**TOOL, "content": "", "reasoning": "Hm."}], "tool_calls"), [""], ["stop"], **JSON
    ),
    Recording(
        "transformers",
        [
            dumps(
                {
                    "choices": [{"message": said("Ja"), "index": 0, "finish_reason": "length", "logprobs": None}],
                    "object": "chat.completion",
                    "created": 1.5,
                    "model": "m",
                    "usage": USAGE,
                    "id": ID,
                },
                spaced=True,
            )
            + b"\n"
        ],
        ["Ja"],
        ["length"],
        **JSON,
    ),
    Recording(
        "vllm-completions-n2",
        [dumps({**TEXT, "choices": [{"text": t, "index": i, "finish_reason": "stop"} for i, t in enumerate("ab")]})],
        ["a", "b"],
        ["stop", "stop"],
        path="/v1/completions",
        **JSON,
    ),
    Recording(
        "vllm-nan",
        [
            b'{"id":"'
            + ID.encode()
            + b'","choices":[{"index":0,"message":{"content":"x"},"logprob":NaN,"finish_reason":"stop"}]}'
        ],
        ["x"],
        ["stop"],
        **JSON,
    ),
    Recording(
        "openai-completions",
        [dumps({**TEXT, "choices": [{"text": " way", "index": 0, "finish_reason": "length"}], "usage": USAGE})],
        [" way"],
        ["length"],
        path="/v1/completions",
        **JSON,
    ),
    Recording(
        "openai-error",
        [b'{"error": {"message": "model not found", "type": "invalid_request_error", "param": null, "code": null}}'],
        [],
        [],
        status=404,
        **JSON,
    ),
    Recording(
        "openai-stream",
        events(chunk(said("")), chunk({"content": "On "}), chunk({"content": "its way."}), chunk({}, "stop")),
        ["On its way."],
        ["stop"],
    ),
    Recording(
        "openai-stream-usage",
        events(chunk({"content": "Hi"}, usage=None), chunk({}, "stop", usage=None), chunk(None, usage=USAGE)),
        ["Hi"],
        ["stop"],
    ),
    Recording(
        "openai-stream-n2",
        events(
            chunk({"content": "A"}),
            chunk({"content": "B"}, index=1),
            chunk({"content": "a"}),
            chunk({}, "stop"),
            chunk({"content": "b"}, "length", index=1),
        ),
        ["Aa", "Bb"],
        ["stop", "length"],
    ),
    Recording("openai-stream-tools", events(*TOOL_PIECES), [""], ["stop"]),
    Recording(
        "vllm-stream",
        events(
            chunk({"role": "assistant", "content": "", "reasoning_content": None}),
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "Ja"}, "stop", stop_reason=None),
            {**chunk(None, usage=USAGE), "choices": None},
            spaced=True,
        ),
        ["Ja"],
        ["stop"],
    ),
    Recording(
        "vllm-stream-error",
        [
            *events(chunk({"content": "Ja"}), done=False),
            b'data: {"error": {"message": "CUDA out of memory", "type": "InternalServerError", "code": 500}}\n\n',
            b"data: [DONE]\n\n",
        ],
        ["Ja"],
        ["upstream_error"],
    ),
    Recording(
        "llamacpp-stream",
        [b": ping\n\n", *events(chunk({"content": "On"}), chunk({}, "stop", timings={"id": "x"}), ordered=True)],
        ["On"],
        ["stop"],
    ),
    Recording(
        "vllm-stream-usage-each-time",
        events(
            chunk({"content": "Ja"}, usage={**USAGE, "completion_tokens": 1}),
            chunk({"content": "!"}, "stop", stop_reason=None, usage={**USAGE, "completion_tokens": 2}),
            chunk(None, usage=USAGE),
            spaced=True,
        ),
        ["Ja!"],
        ["stop"],
    ),
    Recording(
        "vllm-stream-tools-n2", events(*TOOL_PIECES[:-1], *TOOLS_OF_SECOND, TOOL_PIECES[-1]), ["", ""], ["stop"] * 2
    ),
    Recording(
        "llamacpp-stream-error",  # a field that the standard does not know; older versions send it, and end
        [
            *events(chunk({"content": "On"}), done=False, ordered=True),
            b'error: {"code":500,"message":"context shift is disabled","type":"server_error"}\n\n',
        ],
        ["On"],
        ["upstream_error"],
    ),
    Recording(
        "ollama-stream-tools",  # a call comes whole
        events(
            chunk({"role": "assistant", "content": "", "tool_calls": [{**TOOL_CALL, "id": "c1", "index": 0}]}),
            chunk({}, "tool_calls"),
        ),
        [""],
        ["stop"],
    ),
    Recording(
        "ollama-stream-error",
        [
            *events(chunk({"content": "Ja"}), done=False),
            b'data: {"error":{"message":"model runner has unexpectedly stopped","type":"api_error"}}\n\n',
        ],
        ["Ja"],
        ["upstream_error"],
    ),
    Recording(
        "stream-with-comments",  # between the events and within one, and nothing after the last line end
        [
            b": PROCESSING\r\n\r\n",
            events(chunk({"content": "Ja"}), done=False, end=b"\r\n")[0] + b": still here\r\nretry: 100\r\n\r\n",
            *events(chunk({}, "stop"), end=b"\r\n\r\n")[:1],
            b":\r\n\r\ndata: [DONE]",
        ],
        ["Ja"],
        ["stop"],
    ),
    Recording(
        "ollama-stream",
        events(chunk({"role": "assistant", "content": "Ja\r\n"}), chunk({"content": ""}, "stop"), end=b"\r\n\r\n"),
        ["Ja\r\n"],
        ["stop"],
    ),
    Recording(
        "transformers-stream-without-done",
        events(chunk({"role": "assistant"}), chunk({"content": "Ja"}), chunk({}, "length"), done=False),
        ["Ja"],
        ["length"],
    ),
    Recording(
        "openai-stream-completions",
        events(
            {**TEXT, "choices": [{"text": " on", "index": 0, "finish_reason": None}]},
            {**TEXT, "choices": [{"text": " it", "index": 0, "finish_reason": "stop"}]},
        ),
        [" on it"],
        ["stop"],
        path="/v1/completions",
    ),
    Recording(
        "stream-that-breaks-off", events(chunk({"content": "On its"}), done=False), ["On its"], ["upstream_error"]
    ),
    Recording(
        "stream-in-lines",
        [
            b'event: message\ndata: {"choices": [{"index": 0, "delta": {"content": "Ja"},\n'
            b'data:  "finish_reason": "stop"}],\n'
            b'data: "id":\ndata: "' + ID.encode() + b'", "model": "m"}\nid: 4\n\ndata: [DONE]\n\n'
        ],
        ["Ja"],
        ["stop"],
    ),
]


class Request(NamedTuple):
    """What the upstream was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeUpstream:
    """Plays the recording that the request's model names, or misbehaves as it says; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.left = threading.Event()  # set when a client closed before the end
        self.flooded = 0  # bytes
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._started.wait()
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        async def main() -> None:
            self._over = asyncio.Event()
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._started.set()
            await self._over.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(main())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append(Request(method, path, headers, json.loads(body) if body else {}))
                if not await self._answer(self.asked[-1], writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer; return whether the connection stays open."""
        name = request.body.get("model") or ""
        if request.method == "GET":
            known = {
                "/v1/models": b'{"object":"list","data":[{"id":"m"}]}',
                "/v1/models/our%2Fm%201": b'{"id":"our/m 1"}',
            }
            missing = b'{"error":{"message":"no such model"}}'
            writer.write(whole_head(200 if request.path in known else 404, known.get(request.path, missing)))
        elif (name == "drops-first" and len(self.asked) == 1) or name == "drops":
            return False
        elif name == "redirects":
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /v1/models\r\nContent-Length: 0\r\n\r\n")
        elif name == "repeats-key":
            said = json.dumps({"error": {"message": f"bad key {request.headers['authorization']}"}}).encode()
            writer.write(whole_head(401, said))
        elif name == "breaks":
            writer.write(HEAD + sized(events(chunk({"content": "On its"}), done=False)[0]))
            await writer.drain()
            return False
        elif name == "never-ends":
            writer.write(HEAD)
            while True:
                writer.write(sized(events(chunk({"content": "On and "}), done=False)[0]))
                await writer.drain()
                await asyncio.sleep(0.01)
        elif name in ("stalls", "stalls-at-its-end", "stalls-after-its-end"):
            last = chunk({"content": "On its"}, None if name == "stalls" else "length")
            for event in events(last, done=name == "stalls-after-its-end"):
                writer.write((HEAD if b"On its" in event else b"") + sized(event))
            await asyncio.sleep(60)
        elif name == "floods":
            writer.write(HEAD)
            while True:
                writer.write(sized(events(chunk({"content": "x" * 2**16}), done=False)[0]))
                await writer.drain()
                self.flooded += 2**16
        elif name == "hangs":
            await asyncio.sleep(60)
        elif name == "huge":
            writer.write(whole_head(200, b"x" * (2**24 + 1)))
        else:
            usual = (r for r in RECORDINGS if (r.path, r.stream) == (request.path, bool(request.body.get("stream"))))
            await self._play(next((r for r in RECORDINGS if r.name == name), next(usual)), writer)
        await writer.drain()
        return True

    async def _play(self, recording: Recording, writer: asyncio.StreamWriter) -> None:
        if not recording.stream:
            writer.write(whole_head(recording.status, recording.body))
            return
        writer.write(HEAD)
        for piece in recording.chunks:
            writer.write(sized(piece))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")


MORE = "Set-Cookie: a=b\r\nX-Request-Id: r1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
HEAD = (
    f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n{MORE}\r\n"
).encode()


def sized(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def whole_head(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{MORE}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Running:
    """An ASGI application on a free port of the loopback, in a thread."""

    def __init__(self, app: Any) -> None:
        import uvicorn

        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()
        while not self.server.started:
            self._thread.join(0.01)
            assert self._thread.is_alive(), "the server did not start"
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join()
