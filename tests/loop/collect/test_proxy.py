from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from serving import eventually
from upstreams import ID, RECORDINGS, FakeUpstream, Recording


def body_for(recording: Recording) -> dict[str, Any]:
    asked = (
        {"prompt": "Once"} if recording.path == "/v1/completions" else {"messages": [{"role": "user", "content": "?"}]}
    )
    return {"model": recording.name, "stream": recording.stream, **asked}


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_the_client_gets_the_upstreams_bytes_but_for_the_id(
    recording: Recording, desk: Callable[..., Any], upstream: FakeUpstream
) -> None:
    one = desk()
    body = body_for(recording)
    direct = httpx2.post(f"{upstream.url}{recording.path.removeprefix('/v1')}", json=body)
    through = one.client.post(recording.path, json=body)
    assert direct.content == recording.body
    assert through.status_code == direct.status_code
    assert through.headers["content-type"] == direct.headers["content-type"]
    if recording.status != 200:
        assert through.content == direct.content
        assert one.rows("select * from turn") == []
        return
    turn = through.headers["x-prospect-turn"]
    assert len(turn) == 32
    if recording.stream:  # in these streams the id stands nowhere else
        assert through.content.replace(turn.encode(), ID.encode()) == recording.body
    else:
        assert json.loads(through.content.replace(b"NaN", b"0"))["id"] == turn
        assert through.content.replace(turn.encode(), ID.encode(), 1) == recording.body
    ids = [turn, *(f"{turn}-{number}" for number in range(1, len(recording.texts)))]
    assert one.rows("select id, ended from turn order by id") == list(zip(ids, recording.ended, strict=True))
    assert {row[0] for row in one.rows("select upstream_id from turn")} == {ID}


def test_a_turn_holds_what_was_asked_and_answered(desk: Callable[..., Any]) -> None:
    import asyncio

    one = desk()
    body = {**body_for(RECORDINGS[0]), "temperature": 0.5, "stop": ["\n"], "logit_bias": {"1": 2}}
    headers = {"x-prospect-rater": "ada", "x-prospect-conversation": "c7"}
    turn_id = one.client.post("/v1/chat/completions", json=body, headers=headers).headers["x-prospect-turn"]
    one.client.get("/readyz")  # what waits is written
    turn = asyncio.run(one.store.turn("main", turn_id))
    assert turn.messages == body["messages"]
    assert turn.completion == {"role": "assistant", "content": "Grüße, 你好"}
    assert (turn.conversation, turn.model, turn.arm, turn.fingerprint) == ("c7", "openai", "current", "fp_1")
    assert turn.sampling == {"temperature": 0.5, "stop": ["\n"]}
    assert (turn.prompt_tokens, turn.completion_tokens) == (9, 3)
    assert 0 < turn.ms_first <= turn.ms_last < 60_000


@pytest.mark.parametrize(
    ("consent", "said", "kept"), [(True, None, True), (True, "no", False), (False, None, False), (False, "yes", True)]
)
def test_text_is_kept_with_consent_alone(desk: Callable[..., Any], consent: bool, said: str | None, kept: bool) -> None:
    one = desk(consent=consent)
    one.chat("openai", **({"consent": said} if said else {}))
    [(text, answer, was)] = one.rows("select said, answer, consent from turn")
    assert (text is not None, answer is not None, bool(was)) == (kept, kept, kept)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_upstream_and_is_recorded(
    stream: bool, desk: Callable[..., Any], upstream: FakeUpstream
) -> None:
    one = desk()
    model = "never-ends" if stream else "hangs"
    body = {"model": model, "messages": [{"role": "user", "content": "?"}], "stream": stream}
    if stream:
        with one.client.stream("POST", "/v1/chat/completions", json=body) as response:
            seen = next(response.iter_raw())
        assert b"On and" in seen
    else:
        with pytest.raises(httpx2.ReadTimeout):
            one.client.post("/v1/chat/completions", json=body, timeout=0.3)
    [(ended, answer)] = eventually(lambda: one.rows("select ended, answer from turn"))
    assert ended == "client_left"
    assert (answer is not None) == stream
    if stream:
        assert upstream.left.wait(5), "the upstream goes on for nobody"
    assert eventually(lambda: "prospect_open_answers 0.0" in one.client.get("/metrics").text)


def test_an_answer_that_was_whole_when_the_client_left_counts_as_whole(desk: Callable[..., Any]) -> None:
    one = desk()
    body = {"model": "openai-stream", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with one.client.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line == "data: [DONE]":
                break
    assert eventually(lambda: one.rows("select ended from turn")) == [("stop",)]


def until(response: Any, word: str) -> Any:
    """Read a stream up to a word; returns what is left, with which the connection would end."""
    lines = response.iter_lines()
    assert any(word in line for line in lines)
    return lines


def test_the_end_of_an_answer_is_its_end_though_the_client_leaves_then(desk: Callable[..., Any]) -> None:
    one = desk()
    body = {"model": "stalls-at-its-end", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with one.client.stream("POST", "/v1/chat/completions", json=body) as response:
        until(response, "length")
    assert eventually(lambda: one.rows("select ended from turn")) == [("length",)]


def test_a_vote_may_follow_done_at_once(desk: Callable[..., Any]) -> None:
    one = desk()
    body = {"model": "stalls-after-its-end", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with one.client.stream("POST", "/v1/chat/completions", json=body) as response:
        left = until(response, "[DONE]")
        vote = {"id": response.headers["x-prospect-turn"], "value": 1}
        assert httpx2.post(f"{one.running.url}/v1/feedback", json=vote).status_code == 200
        del left


def test_an_upstream_that_breaks_off_says_so_in_the_stream(desk: Callable[..., Any]) -> None:
    one = desk()
    response = one.chat("breaks", stream=True)
    last = json.loads(response.text.strip().rpartition("data: ")[2])
    assert last["error"]["type"] == "upstream_error"
    [(ended, answer)] = one.rows("select ended, answer from turn")
    assert ended == "upstream_error"
    assert b"On its" in answer


def test_a_connection_that_fails_before_the_first_byte_is_tried_once_more(
    desk: Callable[..., Any], upstream: FakeUpstream
) -> None:
    one = desk()
    upstream.asked.clear()
    response = one.client.post(
        "/v1/chat/completions", json={"model": "drops", "messages": [{"role": "user", "content": "?"}]}
    )
    assert response.status_code == 502
    assert response.json()["error"]["type"] == "upstream_error"
    assert len(upstream.asked) == 2
    assert one.rows("select ended, answer from turn") == [("upstream_error", None)]


def test_the_second_try_answers(desk: Callable[..., Any], upstream: FakeUpstream) -> None:
    assert desk().chat("drops-first").status_code == 200
    assert len(upstream.asked) == 2


def test_a_server_that_ends_records_what_is_under_way(desk: Callable[..., Any]) -> None:
    one = desk()
    body = {"model": "never-ends", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with one.client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_raw())
        one.running.close()
    assert one.rows("select ended from turn") == [("client_left",)]


def test_a_client_that_does_not_read_stops_the_upstream_from_writing(
    desk: Callable[..., Any], upstream: FakeUpstream
) -> None:
    body = {"model": "floods", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with desk().client.stream("POST", "/v1/chat/completions", json=body):
        seen = -1
        while upstream.flooded != seen:  # it stands still once every buffer on the way is full
            seen = upstream.flooded
            time.sleep(0.3)
    assert 0 < seen < 2**25


def test_prompts_of_tokens_are_counted_and_not_kept(desk: Callable[..., Any]) -> None:
    one = desk()
    for prompt in ([1, 2, 3], ["Once", "Twice"], None):
        one.client.post("/v1/completions", json={"model": "openai-completions", "prompt": prompt})
    assert one.rows("select consent, said from turn order by created") == [
        (0, None),
        (1, b'{"text":"Once"}'),
        (0, None),
    ]


def test_an_upstream_that_is_down_is_a_502_in_openais_shape(desk: Callable[..., Any]) -> None:
    one = desk(url="http://127.0.0.1:9/v1")
    response = one.chat("m")
    assert response.status_code == 502
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_an_upstream_that_is_silent_is_given_up(desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prospect.collect.upstream.FIRST_SECONDS", 0.2)
    assert desk().chat("hangs").status_code == 504


def test_a_stream_that_stalls_is_given_up(desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prospect.collect.upstream.IDLE_SECONDS", 0.2)
    one = desk()
    assert "said nothing" in one.chat("stalls", stream=True).text
    assert one.rows("select ended from turn") == [("upstream_error",)]


def test_an_answer_without_end_is_given_up(desk: Callable[..., Any]) -> None:
    assert desk().chat("huge").status_code == 502


def test_models_are_the_upstreams(desk: Callable[..., Any]) -> None:
    assert desk().client.get("/v1/models").content == b'{"object":"list","data":[{"id":"m"}]}'


@pytest.mark.parametrize("path", ["our/m 1", "our%2Fm%201"])
def test_one_model_is_described_as_the_upstream_does(path: str, desk: Callable[..., Any]) -> None:
    one = desk(keys={"chat": ("a", ["chat"])})
    assert one.client.get(f"/v1/models/{path}").status_code == 401
    found = one.client.get(f"/v1/models/{path}", headers=one.key("chat"))
    assert (found.status_code, found.content) == (200, b'{"id":"our/m 1"}')
    unknown = one.client.get("/v1/models/m", headers=one.key("chat"))
    assert (unknown.status_code, unknown.content) == (404, b'{"error":{"message":"no such model"}}')


@pytest.mark.parametrize(
    "name", ["%2e%2e/admin", "..%2Fadmin", "m/../../admin", "m%5C..%5Cadmin", "%2e", "", "m%0d%0aHost:%20x", "x" * 257]
)
def test_the_name_of_a_model_leads_to_no_other_place_of_the_upstream(
    name: str, desk: Callable[..., Any], upstream: FakeUpstream
) -> None:
    one = desk()
    head = (
        f"GET /v1/models/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"  # no client tidies the path
    )
    with socket.create_connection(("127.0.0.1", one.running.port)) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert upstream.asked == []


@pytest.mark.parametrize(("share", "said"), [(0.0, {"no"}), (0.5, {"no", "yes"}), (1.0, {"yes"})])
def test_the_answer_says_whether_its_reader_is_asked(share: float, said: set[str], desk: Callable[..., Any]) -> None:
    one = desk(ask=share)
    answers = [one.chat("openai").headers for _ in range(40)]
    assert {answer["x-prospect-ask"] for answer in answers} == said
    assert all((a["x-prospect-turn"] < "8") == (a["x-prospect-ask"] == "yes") for a in answers if share == 0.5)


def test_votes_are_counted_by_model(desk: Callable[..., Any]) -> None:
    one = desk()
    for model, value in (("openai", 1), ("openai", 1), ("vllm", -1)):
        vote = {"id": one.chat(model).headers["x-prospect-turn"], "value": value}
        one.client.post("/v1/feedback", json=vote)
    said = one.client.get("/metrics").text
    assert 'prospect_votes_total{model="openai",value="up"} 2.0' in said
    assert 'prospect_votes_total{model="vllm",value="down"} 1.0' in said


def test_a_store_that_is_down_stops_no_chat_and_no_vote_is_lost(
    desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prospect.errors import StoreError

    one = desk()
    turn = one.chat("openai").headers["x-prospect-turn"]

    def full(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(one.store._writer, "submit", full)
    assert one.chat("openai").status_code == 200
    assert "prospect_unrecorded_turns_total 1.0" in one.client.get("/metrics").text
    vote = one.client.post("/v1/feedback", json={"id": turn, "value": 1})
    assert vote.status_code == 503
    assert vote.headers["retry-after"] == "2"
    assert one.client.get("/readyz").status_code == 503
    assert one.client.get("/healthz").status_code == 200
    monkeypatch.undo()
    assert one.client.post("/v1/feedback", json={"id": turn, "value": 1}).status_code == 200


def test_the_canary_answers_whole_conversations(desk: Callable[..., Any], upstream: FakeUpstream) -> None:
    from prospect.collect.canary import Canary

    one = desk(model="openai", canary=Canary("openai-cut", 0.5))
    for conversation in "abcdefghijkl":
        for _ in range(2):
            one.chat("whatever", conversation=conversation)
    models = [(request.body["model"]) for request in upstream.asked]
    assert models[::2] == models[1::2], "a conversation changed sides"
    assert set(models) == {"openai", "openai-cut"}
    assert set(one.rows("select model, arm from turn")) == {("openai", "current"), ("openai-cut", "canary")}
