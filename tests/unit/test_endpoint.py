"""The client of OpenAI-compatible servers, against a small server made here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from prospect.errors import UsageError
from prospect.evaluation.endpoint import Endpoint, EndpointError, RequestRefusedError, origin_of
from prospect.evaluation.judges import EndpointJudge, Item
from prospect.evaluation.judges.asking import Asking, Price
from prospect.evaluation.judges.endpoint import RESPONSE_FORMAT
from prospect.evaluation.verdict_cache import VerdictCache

KEY = "sk-a-secret-key"
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


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Callable[[str, dict[str, Any]], Answer]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def said(text: str | None, finish: str = "stop") -> Answer:
    usage = {"prompt_tokens": 100, "completion_tokens": 5}
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": finish}], "usage": usage}


def in_turn(*answers: Answer) -> Callable[..., Answer]:
    rest = iter(answers)
    return lambda *_: next(rest)


def test_a_chat_is_sent_and_read(serve):
    server = serve(lambda *_: said("hello"))
    reply = server.endpoint().chat([{"role": "user", "content": "hi"}], temperature=0, seed=None)
    assert reply == ("hello", "stop", 100, 5, "")
    assert server.paths == ["/v1/chat/completions"]
    assert server.asked == [{"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}]
    assert server.headers[0]["Authorization"] is None


def test_a_completion_is_sent_and_read(serve):
    server = serve(lambda *_: (200, {"choices": [{"text": " there", "finish_reason": "length"}]}))
    assert server.endpoint().complete("hi", max_tokens=3) == (" there", "length", 0, 0, "")
    assert server.paths == ["/v1/completions"]
    assert server.asked == [{"model": "m", "prompt": "hi", "max_tokens": 3}]


def test_an_answer_without_content_is_empty_text(serve):
    assert serve(lambda *_: said(None)).endpoint().chat([]).text == ""


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("https://h/v1/", "https://h/v1"),
        ("http://h/api/v2", "http://h/api/v2"),
        ("http://h/v1/chat/completions", "http://h/v1"),
    ],
)
def test_an_address_ends_where_the_api_begins(url, base):
    assert Endpoint.parse(f"{url}#org/model:7b").url == base
    assert Endpoint.parse(f"{url}#org/model:7b").model == "org/model:7b"


@pytest.mark.parametrize(
    "url",
    [
        *("", "h:1", "ftp://h", "ftp://me:pw@h", "http://", "http://me:pw@h/v1", "http://me:pw@h:x/v1"),
        *("http://[h/v1", "http://h/v1?key=1", "http://h:0", "http://h:99999"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url):
    with pytest.raises(UsageError) as error:
        Endpoint(url, "m")
    assert "pw@" not in str(error.value)


def test_an_address_is_known_by_scheme_host_and_port():
    assert origin_of("https://API.example.org/v1#m") == origin_of("https://api.example.org:443/v2/chat#other")
    others = ["http://h#m", "https://h#m", "http://h:8000/v1#m", "http://h.org#m", "http://[::1]#m"]
    assert len({origin_of(address) for address in others}) == len(others)
    with pytest.raises(UsageError, match="expected an address"):
        origin_of("h#m")


@pytest.mark.parametrize("setting", ["timeout", "retries", "concurrency"])
def test_a_setting_out_of_range_is_refused(setting):
    with pytest.raises(UsageError, match=setting):
        Endpoint("http://h", "m", **{setting: -1})


def test_the_key_goes_to_the_server_and_nowhere_else(serve, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", KEY)
    server = serve(lambda *_: (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}))
    endpoint = server.endpoint(api_key_env="MY_KEY")
    with pytest.raises(EndpointError, match="Is the key in MY_KEY right") as error:
        endpoint.chat([])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    judge = EndpointJudge(endpoint)
    assert "***" in str(error.value)
    for text in (str(error.value), repr(endpoint), judge.name, judge.identity, str(vars(endpoint))):
        assert KEY not in text


def test_a_key_that_is_not_there_is_said_before_the_first_request(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UsageError, match="environment variable MY_KEY is empty"):
        Endpoint("http://h", "m", api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "a\nb")
    with pytest.raises(UsageError, match="characters that no key has"):
        Endpoint("http://h", "m", api_key_env="MY_KEY")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(serve, status):
    server = serve(in_turn((status, {"error": "busy"}), (status, b""), said("at last")))
    assert server.endpoint().chat([]).text == "at last"
    assert len(server.asked) == 3


def test_after_the_last_try_the_error_says_what_the_server_said(serve):
    server = serve(lambda *_: (503, {"error": {"message": "overloaded"}}))
    with pytest.raises(EndpointError, match=r"no answer after 3 tries: 503 .*\(overloaded\)"):
        server.endpoint(retries=2).chat([])
    assert len(server.asked) == 3


def test_the_wait_that_a_server_asks_for_is_kept(serve, monkeypatch):
    waits = []
    server = serve(in_turn((429, {}, {"Retry-After": "7"}), (429, {}), said("yes")))
    endpoint = server.endpoint(first_wait=2)
    monkeypatch.setattr(endpoint._stopped, "wait", lambda seconds: bool(waits.append(seconds)))
    assert endpoint.chat([]).text == "yes"
    assert waits[0] == 7
    assert 3 <= waits[1] <= 5  # the second wait: twice the first, give or take a quarter


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (400, RequestRefusedError, "wrong"),
        (401, EndpointError, "environment variable that holds your key"),
        (404, EndpointError, 'Is "m" a model of this server'),
    ],
)
def test_what_would_fail_again_is_not_tried_again(serve, status, kind, advice):
    server = serve(lambda *_: (status, {"error": {"message": "wrong"}}))
    with pytest.raises(kind, match=advice):
        server.endpoint().chat([])
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed_for_the_key_would_go_with_it(serve, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    other = serve(lambda *_: said("thank you for the key"))
    server = serve(lambda *_: (302, {}, {"Location": f"{other.url}/v1/chat/completions"}))
    with pytest.raises(EndpointError, match="sends us elsewhere"):
        server.endpoint(api_key_env="MY_KEY").chat([])
    assert other.asked == []


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9/v1: no answer after 2 tries: .*refused"):
        Endpoint("http://127.0.0.1:9", "m", retries=1, first_wait=0).chat([])


def test_a_server_that_is_too_slow_is_given_up(serve):
    done = threading.Event()
    server = serve(lambda *_: (done.wait(5), said("late"))[1])
    try:
        with pytest.raises(EndpointError, match="took too long"):
            server.endpoint(timeout=0.05, retries=0).chat([])
    finally:
        done.set()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>hello</html>", "which is no JSON"),
        ({"error": "x"}, "no choices"),
        ([], "no choices"),
        (3, "no choices"),
    ],
)
def test_an_answer_of_another_kind_of_server_is_said_to_be_one(serve, answer, message):
    with pytest.raises(EndpointError, match=message):
        serve(lambda *_: (200, answer)).endpoint().chat([])


def test_requests_run_side_by_side_up_to_the_limit(serve):
    both = threading.Barrier(2, timeout=5)

    server = serve(lambda path, body: (both.wait(), (200, {"choices": [{"text": body["prompt"]}]}))[1])
    endpoint = server.endpoint(concurrency=2)
    found = dict(endpoint.in_parallel(lambda text: endpoint.complete(text).text, ["a", "b", "c", "d"]))
    assert found == {0: "a", 1: "b", 2: "c", 3: "d"}
    assert server.most_at_once == 2


def test_answers_under_way_are_kept_when_one_fails(serve):
    def answer(_: str, body: dict[str, Any]) -> Answer:
        if body["prompt"] == "bad":
            return 404, {}
        endpoint._stopped.wait(5)  # still under way when the other has failed
        return 200, {"choices": [{"text": body["prompt"]}]}

    server = serve(answer)
    endpoint, found = server.endpoint(concurrency=2), []
    with pytest.raises(EndpointError, match="404"):
        found.extend(endpoint.in_parallel(lambda text: endpoint.complete(text).text, ["good", "bad", *["later"] * 50]))
    assert found == [(0, "good")]
    assert len(server.asked) == 2


def letter(body: dict[str, Any]) -> str:
    """Prefers the completion that says good."""
    text = body["messages"][0]["content"]
    return "A" if text.index("good") < text.index("bad") else "B"


def test_the_judge_asks_for_a_schema_and_reads_the_verdict(serve):
    server = serve(lambda _, body: said(json.dumps({"verdict": letter(body)})))
    judge = EndpointJudge(server.endpoint(), "Which is better?")
    (one,), calls = Asking(judge, [Item("p", "good", "bad")], price=Price(1, 10)).run()
    assert (one.choice, one.flipped) == ("first", False)
    assert all(body["response_format"] == RESPONSE_FORMAT for body in server.asked)
    assert all(body["temperature"] == 0 for body in server.asked)
    assert (calls.calls, calls.prompt_tokens, calls.completion_tokens) == (2, 200, 10)
    assert calls.cost == pytest.approx((200 * 1 + 10 * 10) / 1e6)


def test_a_server_that_knows_no_schema_is_asked_for_a_letter_from_then_on(serve):
    def answer(_: str, body: dict[str, Any]) -> Answer:
        return (400, {"error": "response_format?"}) if "response_format" in body else said(letter(body))

    server = serve(answer)
    judge = EndpointJudge(server.endpoint(concurrency=1))
    verdicts = judge.compare_many([Item(f"p{i}", "good", "bad") for i in range(4)])
    assert [verdict.choice for verdict in verdicts] == ["first"] * 4
    assert sum("response_format" in body for body in server.asked) == 1
    assert "JSON" not in server.asked[-1]["messages"][0]["content"]


def test_a_request_that_is_refused_for_itself_is_unparsed_and_not_kept(serve, tmp_path):
    def answer(_: str, body: dict[str, Any]) -> Answer:
        return (400, {"error": "too long"}) if "long prompt" in str(body["messages"]) else said('{"verdict": "A"}')

    judge = EndpointJudge(serve(answer).endpoint(concurrency=1))
    items = [Item("p", "good", "bad"), Item("long prompt", "good", "bad")]
    with VerdictCache(tmp_path / "verdicts.jsonl") as cache:
        judged, _ = Asking(judge, items, cache=cache).run()
        assert (judged[1].choice, len(cache)) == ("unparsed", 2)
    assert "too long" in judged[1].said[0].note


def test_a_server_that_refuses_everything_ends_the_run(serve):
    server = serve(lambda *_: (400, {"error": "no such field temperature"}))
    judge = EndpointJudge(server.endpoint(concurrency=1))
    with pytest.raises(RequestRefusedError, match="no such field temperature"):
        judge.compare_many([Item(f"p{i}", "good", "bad") for i in range(50)])
    assert len(server.asked) == 10  # five items, with the schema and without


def test_a_chatty_answer_is_unparsed_and_kept(serve, tmp_path):
    server = serve(lambda *_: said("I think that A is better."))
    judge = EndpointJudge(server.endpoint())
    with VerdictCache(tmp_path / "verdicts.jsonl") as cache:
        (one,), _ = Asking(judge, [Item("p", "good", "bad")], cache=cache).run()
        assert (one.choice, len(cache)) == ("unparsed", 2)


def test_options_of_a_request_are_set_and_taken_out(serve):
    server = serve(lambda *_: said('{"verdict": "A"}'))
    options = {"temperature": None, "max_tokens": None, "max_completion_tokens": 2000}
    EndpointJudge(server.endpoint(request=options)).compare("p", "good", "bad")
    assert {"temperature", "max_tokens"}.isdisjoint(server.asked[0])
    assert server.asked[0]["max_completion_tokens"] == 2000


def test_the_estimate_before_the_run_is_of_what_is_read(serve):
    judge = EndpointJudge(Endpoint("http://h", "m"))
    planned = Asking(judge, [Item("p" * 4000, "good", "bad")], price=Price(1, 1)).planned
    assert planned.calls == 2 and planned.estimated
    assert 2000 < planned.prompt_tokens < 2600
    assert planned.cost == pytest.approx((planned.prompt_tokens + planned.completion_tokens) / 1e6)


def test_two_servers_models_or_questions_share_no_verdicts():
    judges = [
        EndpointJudge(Endpoint("http://h", "m")),
        EndpointJudge(Endpoint("http://i", "m")),
        EndpointJudge(Endpoint("http://h", "n")),
        EndpointJudge(Endpoint("http://h", "m"), "Which is kinder?"),
        EndpointJudge(Endpoint("http://h", "m", request={"seed": 1})),
    ]
    assert len({judge.identity for judge in judges}) == len(judges)
