"""The client of OpenAI-compatible servers, against a small server made here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from prospect.endpoint.client import (
    LONGEST_ASKED_WAIT,
    Endpoint,
    EndpointError,
    RequestRefusedError,
    origin_of,
)
from prospect.endpoint.request_fields import parse_request
from prospect.errors import UsageError
from prospect.evaluation.contest.judges import EndpointJudge, Item
from prospect.evaluation.contest.judges.asking import Asking, Price
from prospect.evaluation.contest.judges.endpoint import MOST_UNREAD, RESPONSE_FORMAT
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from servers import Answer, said

KEY = "sk-a-secret-key"


def in_turn(*answers: Answer) -> Callable[..., Answer]:
    rest = iter(answers)
    return lambda *_: next(rest)


def test_a_chat_is_sent_and_read(serve):
    server = serve(lambda *_: said("hello"))
    reply = server.endpoint().chat([{"role": "user", "content": "hi"}], temperature=0, seed=None)
    assert reply == ("hello", "stop", 100, 5, "", ())
    assert server.paths == ["/v1/chat/completions"]
    assert server.asked == [{"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}]
    assert server.headers[0]["Authorization"] is None


def test_a_completion_is_sent_and_read(serve):
    server = serve(lambda *_: (200, {"choices": [{"text": " there", "finish_reason": "length"}]}))
    assert server.endpoint().complete("hi", max_tokens=3) == (" there", "length", 0, 0, "", ())
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


@pytest.mark.parametrize("asked", ["99999", "1e999", "nan", "-7", "soon", "Thu, 01 Jan 9999 00:00:00 GMT", "32 Foo 1"])
def test_no_server_makes_us_wait_for_long(serve, monkeypatch, asked):
    waits = []
    endpoint = serve(in_turn((429, {}, {"Retry-After": asked}), said("yes"))).endpoint(first_wait=2)
    monkeypatch.setattr(endpoint._stopped, "wait", lambda seconds: bool(waits.append(seconds)))
    assert endpoint.chat([]).text == "yes"
    assert 1 < waits[0] <= LONGEST_ASKED_WAIT


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
        (b"[" * 100_000, "which is no JSON"),
        (b"9" * 5000, "which is no JSON"),
        (b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1e999}}', "no count of tokens"),
        (b'{"choices": ' + b"[" * 500 + b"]" * 500 + b"}", "no choices"),
        ({"error": "x"}, "no choices"),
        ([], "no choices"),
        (3, "no choices"),
    ],
)
def test_an_answer_of_another_kind_of_server_is_said_to_be_one(serve, answer, message):
    with pytest.raises(EndpointError, match=message):
        serve(lambda *_: (200, answer)).endpoint().chat([])


def test_what_a_server_says_reaches_the_terminal_without_its_escapes(serve):
    for answer in ((400, {"error": "\x1b[2Jall is \u202ewell"}), (200, b"\x1b[2Jno JSON"), (200, {"x": "\x1b[2J"})):
        with pytest.raises(EndpointError) as error:
            serve(lambda *_, answer=answer: answer).endpoint().chat([])
        assert str(error.value).isprintable()


def drip(connection, over):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(0.02):
        connection.sendall(b" ")


def drip_headers(connection, over):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.02):
        connection.sendall(b"x")


def drip_an_error(connection, over):
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(0.02):
        connection.sendall(b" ")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("talk", [drip, drip_headers, drip_an_error])
def test_a_server_that_drips_is_given_up(serve_raw, talk):
    with pytest.raises(EndpointError, match="it took too long"):
        serve_raw(talk).endpoint(timeout=0.2).chat([])


@pytest.mark.timeout(60)
def test_a_body_without_end_is_given_up(serve_raw, monkeypatch):
    monkeypatch.setattr("prospect.endpoint.transport.MOST_BYTES", 2**20)

    def pour(connection, over):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            connection.sendall(b" " * 2**16)

    with pytest.raises(EndpointError, match="more than 1 MB"):
        serve_raw(pour).endpoint().chat([])


BODY = json.dumps(said("at last")[1]).encode()


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" + BODY,
        b"HTTP/1.1 ?\r\n\r\n",
        b"\x00\x01\x02",
        b"",
    ],
)
def test_an_answer_that_ends_early_or_is_no_http_is_asked_for_again(serve_raw, broken):
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    server = serve_raw(lambda connection, _: connection.sendall(whole if server.tries > 1 else broken))
    assert server.endpoint(retries=1).chat([]).text == "at last"
    assert server.tries == 2


@pytest.mark.timeout(20)
def test_who_leaves_the_loop_does_not_wait_for_what_is_under_way(serve):
    over = threading.Event()

    def answer(_: str, body: dict[str, Any]) -> Answer:
        if body["prompt"] != "quick":
            over.wait(30)
        return 200, {"choices": [{"text": body["prompt"]}]}

    endpoint = serve(answer).endpoint(concurrency=2, timeout=30)
    coming = endpoint.in_parallel(lambda text: endpoint.complete(text).text, ["quick", "slow", "slow"])
    assert next(coming) == (0, "quick")
    coming.close()  # as Ctrl-C does
    assert not over.is_set()
    over.set()


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


LIMIT_UNKNOWN = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' and not 'seed'."
TEMPERATURE_UNKNOWN = "'temperature' does not support 0 with this model. Only the default (1) value is supported."


def picky(_: str, body: dict[str, Any]) -> Answer:
    """A server that knows another limit, and no temperature but its own."""
    if "max_tokens" in body:
        return 400, {"error": {"message": LIMIT_UNKNOWN}}
    if "temperature" in body:
        return 400, {"error": {"message": TEMPERATURE_UNKNOWN}}
    return said('{"verdict": "A"}')


def test_a_field_that_a_server_does_not_know_is_replaced_once_and_said(serve, caplog):
    server = serve(picky)
    judge = EndpointJudge(server.endpoint(concurrency=1))
    assert [one.choice for one in judge.compare_many([Item(f"p{i}", "a", "b") for i in range(3)])] == ["first"] * 3
    assert len(server.asked) == 3 + 2
    assert server.asked[-1]["max_completion_tokens"] == server.asked[0]["max_tokens"]
    assert server.asked[-1]["response_format"] == RESPONSE_FORMAT  # nobody refused that
    assert ["takes no max_tokens" in line for line in caplog.messages] == [True, False]
    assert "takes no temperature, so it is left out from now on" in caplog.messages[1]


def test_requests_side_by_side_learn_of_it_once(serve, caplog):
    server = serve(picky)
    judge = EndpointJudge(server.endpoint(concurrency=8))
    assert len(judge.compare_many([Item(f"p{i}", "a", "b") for i in range(16)])) == 16
    assert len(caplog.messages) == 2


def test_a_field_that_the_user_set_is_not_given_up(serve):
    server = serve(picky)
    with pytest.raises(RequestRefusedError, match="does not support 0"):
        server.endpoint(request={"temperature": 0}).chat([], max_tokens=5)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "reason", ["max_tokens is too large: 4096, this model's context is 2048", "unknown error", "no"]
)
def test_a_refusal_for_another_reason_changes_no_field(serve, reason):
    server = serve(lambda *_: (400, {"error": {"message": reason}}))
    with pytest.raises(RequestRefusedError):
        server.endpoint().chat([], max_tokens=4096, temperature=0)
    assert len(server.asked) == 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_the_user_replaces_ours_by_either_name(serve, name):
    server = serve(lambda *_: said("yes"))
    server.endpoint(request={name: 7, "seed": None, "think": False}).chat([], max_tokens=64, seed=1, temperature=0)
    assert server.asked == [{"model": "m", "messages": [], "temperature": 0, name: 7, "think": False}]


def test_fields_are_read_from_the_command_line():
    texts = [
        "max_completion_tokens=512",
        "temperature=null",
        "reasoning_effort=low",
        'chat_template_kwargs={"a": false}',
    ]
    assert parse_request([*texts, "stop= a=b"]) == {
        "max_completion_tokens": 512,
        "temperature": None,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"a": False},
        "stop": " a=b",
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["temperature"], "expected NAME=VALUE"),
        (["=3"], "expected NAME=VALUE"),
        (["seed=1", "seed=2"], "given twice"),
        (["model=other"], "every request has its own"),
        (["stream=true"], "every request has its own"),
        (["temperature=NaN"], "cannot be sent"),
        (["temperature=1e999"], "cannot be sent"),
        (["max_tokens=1", "max_completion_tokens=2"], "a server takes one of them"),
    ],
)
def test_a_field_that_cannot_be_sent_is_refused(texts, message):
    with pytest.raises(UsageError, match=message):
        parse_request(texts)


@pytest.mark.parametrize(("finish", "advice"), [("length", "It was cut at 9 tokens"), ("stop", "keeps to a form")])
def test_a_judge_of_whom_nothing_can_be_read_is_asked_no_more(serve, finish, advice):
    server = serve(lambda *_: said("I think \x1b[2J that A is better.", finish))
    judge = EndpointJudge(server.endpoint(concurrency=1, request={"max_tokens": 9}))
    with pytest.raises(
        EndpointError, match=rf"none of its first {MOST_UNREAD} replies is a verdict.*{advice}"
    ) as error:
        judge.compare_many([Item(f"p{i}", "good", "bad") for i in range(50)])
    assert len(server.asked) == MOST_UNREAD
    assert r"\x1b[2J that A is better" in str(error.value)


def test_one_verdict_that_can_be_read_is_enough_to_go_on(serve):
    server = serve(in_turn(*[said("A or B")] * (MOST_UNREAD - 1), said("B"), *[said("A or B")] * 20))
    verdicts = EndpointJudge(server.endpoint(concurrency=1)).compare_many([Item(f"p{i}", "a", "b") for i in range(20)])
    assert [verdict.choice for verdict in verdicts].count("unparsed") == 19


def test_a_user_can_ask_without_the_schema(serve):
    server = serve(lambda *_: said("A"))
    assert EndpointJudge(server.endpoint(request={"response_format": None})).compare("p", "a", "b").choice == "first"
    assert "response_format" not in server.asked[0] and "JSON" not in server.asked[0]["messages"][0]["content"]


def test_the_estimate_before_the_run_is_of_what_is_read(serve):
    judge = EndpointJudge(Endpoint("http://h", "m"))
    planned = Asking(judge, [Item("p" * 4000, "good", "bad")], price=Price(1, 1)).planned
    assert planned.calls == 2 and planned.estimated
    assert 2000 < planned.prompt_tokens < 2600
    assert planned.cost == pytest.approx((planned.prompt_tokens + planned.completion_tokens) / 1e6)
