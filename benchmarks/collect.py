"""What `prospect serve` costs: latency, requests, streams and votes a second, CPU, memory, start.

A server that answers at once stands on the loopback, `prospect serve` in front of it, and a client asks both in turn,
each in a process of its own. On a machine that does something else too, compare the CPU milliseconds of the proxy.

    python benchmarks/collect.py                    all parts
    python benchmarks/collect.py --parts json votes --seconds 5 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("start", "latency", "first", "json", "streams", "votes", "memory")
CHUNKS = 64
QUESTION = [{"role": "user", "content": "Where is my parcel? It was sent a week ago, and nobody answers the phone."}]
ANSWER = "It is on its way: it left the depot on Monday, and you will have it by Thursday. " * 3
TICKS = os.sysconf("SC_CLK_TCK")


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
    body = {
        "id": "chatcmpl-0123456789",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }
    event = b"data: " + json.dumps(body).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
    body = json.dumps({"id": "chatcmpl-0123456789", "object": "chat.completion", "choices": [choice], "usage": usage})
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECES = [*(chunk(" word") for _ in range(CHUNKS - 1)), chunk("", "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


class Upstream(asyncio.Protocol):
    """Answers at once; a stream of the model `slow` comes in a chunk each 50 ms."""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            if b'"stream": true' in body:
                self.task = asyncio.ensure_future(self.stream(0.05 if b'"slow"' in body else 0))
            else:
                self.transport.write(whole())

    async def stream(self, pause: float) -> None:
        """Write a stream, chunk by chunk."""
        self.transport.write(HEAD)
        for piece in PIECES:
            self.transport.write(piece)
            await asyncio.sleep(pause)


class Client(asyncio.Protocol):
    """One connection: a request at a time, with the times of its first and last byte."""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    async def ask(self, request: bytes) -> tuple[float, float, bytes]:
        """Return seconds to the first and the last byte, and the answer."""
        self.done = asyncio.get_running_loop().create_future()
        self.buffer, self.first, self.length, self.began = b"", 0.0, -1, time.perf_counter()
        self.transport.write(request)
        return await self.done

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is whole."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if self.length < 0:
            named = self.buffer[:end].lower().partition(b"content-length: ")[2]
            self.length = int(named.split(b"\r\n")[0]) if named else 0
        if not self.first and len(self.buffer) > end + 4:
            self.first = time.perf_counter() - self.began
        whole = len(self.buffer) >= end + 4 + self.length if self.length else self.buffer.endswith(b"0\r\n\r\n")
        if whole and not self.done.done():
            self.done.set_result((self.first, time.perf_counter() - self.began, self.buffer))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what waits."""
        if not self.done.done():
            self.done.set_exception(ConnectionError("closed"))


def post(path: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


def chat(*, stream: bool = False, model: str = "m") -> bytes:
    body = {"model": model, "messages": QUESTION, "temperature": 0.7, "stream": stream}
    return post("/v1/chat/completions", body)


async def connect(port: int, count: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(count)]


async def at_rate(port: int, request: bytes, rate: float, seconds: float) -> list[tuple[float, float]]:
    """Ask `rate` times a second, whether or not answers come; return the times of each request, seconds."""
    free, times, tasks = await connect(port, 64), [], []

    async def one() -> None:
        client = free.pop() if free else (await connect(port, 1))[0]  # a server that is late is asked all the same
        first, last, answer = await client.ask(request)
        assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
        times.append((first, last))
        free.append(client)

    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(began + number / rate - time.perf_counter())
        tasks.append(asyncio.ensure_future(one()))
    await asyncio.gather(*tasks)
    return times


async def flat_out(port: int, make: Callable[[int], bytes], seconds: float, clients: int = 16) -> tuple[float, int]:
    """Ask on all connections as fast as answers come; return requests a second, and how many."""
    count, over = 0, time.perf_counter() + seconds

    async def one(client: Client) -> None:
        nonlocal count
        while time.perf_counter() < over:
            number, count = count, count + 1
            _, _, answer = await client.ask(make(number))
            assert answer.startswith(b"HTTP/1.1 200"), answer[:300]

    began = time.perf_counter()
    await asyncio.gather(*(one(client) for client in await connect(port, clients)))
    return count / (time.perf_counter() - began), count


class Server:
    """A process on a port of its own, with its CPU time and memory."""

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        self.port, began = port, time.perf_counter()
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read().decode()
                time.sleep(0.005)
        self.started = time.perf_counter() - began

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Megabytes that are resident."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def stop(self) -> None:
        """End the process."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self.process.stderr.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def serve(upstream: int, folder: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "prospect", "serve", "--upstream", f"http://127.0.0.1:{upstream}/v1"]
    options = ["--port", str(port), "--consent", "given", "--rate", "1e9", "--db", str(folder / f"{port}.sqlite")]
    return Server([*command, *options], port, folder)


def milliseconds(times: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(np.array(times) * 1000, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


class Bench:
    """The parts, on one proxy and one upstream."""

    def __init__(self, upstream: int, proxy: Server, folder: Path, seconds: float) -> None:
        self.upstream, self.proxy, self.folder, self.seconds = upstream, proxy, folder, seconds

    async def start(self) -> dict[str, Any]:
        """Seconds until a connection is taken, three times."""
        servers = [serve(self.upstream, self.folder) for _ in range(3)]
        found = {
            "seconds": [round(one.started, 2) for one in servers],
            "cpu_seconds": [round(one.cpu(), 2) for one in servers],
        }
        for one in servers:
            one.stop()
        return found

    async def latency(self) -> dict[str, Any]:
        """200 requests a second; the difference of the percentiles is what the proxy adds."""
        raw = milliseconds([last for _, last in await at_rate(self.upstream, chat(), 200, self.seconds)])
        through = milliseconds([last for _, last in await at_rate(self.proxy.port, chat(), 200, self.seconds)])
        added = {f"added_{name}": round(through[name] - raw[name], 3) for name in raw}
        return {"upstream": raw, "proxy": through, **added}

    async def first(self) -> dict[str, Any]:
        """The first byte of streams that take three seconds, 5 begun each second."""
        asked = chat(stream=True, model="slow")
        raw = milliseconds([first for first, _ in await at_rate(self.upstream, asked, 5, self.seconds)])
        through = milliseconds([first for first, _ in await at_rate(self.proxy.port, asked, 5, self.seconds)])
        return {"upstream": raw, "proxy": through, "added_p50_ms": round(through["p50_ms"] - raw["p50_ms"], 3)}

    async def json(self) -> dict[str, Any]:
        """Requests that are no streams, as many as it can."""
        return await self._flat_out(lambda _: chat())

    async def streams(self) -> dict[str, Any]:
        """Streams of 64 chunks, as many as it can."""
        return await self._flat_out(lambda _: chat(stream=True))

    async def votes(self) -> dict[str, Any]:
        """Votes on 200 turns, each of another rater, each acknowledged after its commit."""
        [client] = await connect(self.proxy.port, 1)
        answers = [(await client.ask(chat()))[2] for _ in range(200)]
        ids = [answer.partition(b"x-prospect-turn: ")[2][:32].decode() for answer in answers]

        def vote(number: int) -> bytes:
            return post("/v1/feedback", {"id": ids[number % 200], "value": 1, "rater": f"r{number}"})

        return await self._flat_out(vote, both=False, clients=64)

    async def memory(self) -> dict[str, Any]:
        """While 200 streams are open."""
        clients, asked = await connect(self.proxy.port, 200), chat(stream=True, model="slow")
        tasks = [asyncio.ensure_future(client.ask(asked)) for client in clients]
        await asyncio.sleep(1.5)
        found = {"MB_with_200_streams": round(self.proxy.memory(), 1)}
        await asyncio.gather(*tasks)
        return found

    async def _flat_out(self, make: Callable[[int], bytes], *, both: bool = True, clients: int = 16) -> dict[str, Any]:
        raw = (await flat_out(self.upstream, make, self.seconds))[0] if both else None
        before = self.proxy.cpu()
        rate, count = await flat_out(self.proxy.port, make, self.seconds, clients)
        found: dict[str, Any] = {} if raw is None else {"upstream_per_s": round(raw)}
        return {**found, "per_s": round(rate), "cpu_ms_each": round((self.proxy.cpu() - before) / count * 1000, 3)}


async def run_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    import uvloop

    if options.upstream:
        uvloop.run(run_upstream(options.upstream))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        upstream = Server([sys.executable, __file__, "--upstream", str(port)], port, folder)
        proxy = serve(port, folder)
        bench = Bench(port, proxy, folder, options.seconds)
        found = {"load": os.getloadavg()[0], "cores": os.cpu_count()}
        try:
            for part in options.parts:
                measure: Callable[[], Awaitable[dict[str, Any]]] = getattr(bench, part)
                found[part] = uvloop.run(measure())
                if not options.json:
                    print(f"{part:9}{json.dumps(found[part])}", flush=True)
        finally:
            proxy.stop()
            upstream.stop()
        if options.json:
            print(json.dumps(found))


if __name__ == "__main__":
    main()
