"""The threats of a server that takes votes from anywhere, each with its answer."""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from prospect.collect.limits import Limits, Rates
from prospect.collect.tokens import Signer
from prospect.collect.upstream import HttpUpstream, UpstreamError
from prospect.errors import UsageError
from upstreams import FakeUpstream

ALL = ["chat", "vote", "review", "admin"]
TWO = {"ours": ("a", ALL), "theirs": ("b", ALL), "chat": ("a", ["chat"]), "vote": ("a", ["vote"])}


def turn_of(one: Any, client: str | None = None, **headers: str) -> tuple[str, str]:
    """Return the id and the token of a new turn."""
    response = one.chat("openai", client=client, **headers)
    assert response.status_code == 200, response.text
    return response.headers["x-prospect-turn"], response.headers["x-prospect-vote"]


def vote(
    one: Any, turn: str, value: Any = 1, *, client: str | None = None, token: str | None = None, **more: Any
) -> Any:
    headers = {**one.key(client), **({"x-prospect-vote": token} if token else {})}
    key = more.pop("key", None)
    headers |= {"idempotency-key": key} if key else {}
    return one.client.post("/v1/feedback", json={"id": turn, "value": value, **more}, headers=headers)


@pytest.mark.parametrize(("value", "kept"), [(1, 1), (True, 1), (-1, -1), (False, -1), (0, 0)])
def test_a_vote_is_returned_as_it_is_kept(value: Any, kept: int, desk: Callable[..., Any]) -> None:
    one = desk()
    turn, _ = turn_of(one)
    said = {"reason": "wrong", "comment": "It is <b>not</b>.", "correction": "Tomorrow."}
    answer = vote(one, turn, value, rater="ruth", **said).json()
    assert {name: answer[name] for name in said} == said
    assert (answer["id"], answer["value"], answer["version"]) == (turn, kept, 1)
    assert "ruth" not in json.dumps(answer)  # no id in hexadecimal digits has it by chance
    assert one.rows("select turn, value from vote") == [(turn, kept)]


def test_the_latest_vote_of_a_rater_counts_and_can_be_taken_back(desk: Callable[..., Any]) -> None:
    one = desk()
    turn, _ = turn_of(one)
    vote(one, turn, 1, rater="ada")
    assert vote(one, turn, -1, rater="ada").json()["version"] == 2
    vote(one, turn, 1, rater="bob")
    gone = one.client.delete("/v1/feedback", params={"id": turn, "rater": "ada"})
    assert (gone.json()["value"], gone.json()["version"]) == (0, 3)
    votes = one.client.get("/v1/feedback").json()["votes"]
    assert sorted(one["value"] for one in votes) == [0, 1]


def test_votes_come_page_by_page(desk: Callable[..., Any]) -> None:
    one = desk()
    for number in range(5):
        vote(one, turn_of(one)[0], 1, rater=f"r{number}")
    seen, cursor = [], 0
    while cursor is not None:
        page = one.client.get("/v1/feedback", params={"cursor": cursor, "limit": 2}).json()
        seen += page["votes"]
        cursor = page["cursor"]
    assert len({found["rater"] for found in seen}) == len(seen) == 5
    assert one.client.get("/v1/feedback", params={"since": "2999-01-01T00:00:00Z"}).json()["votes"] == []


def test_an_event_is_no_vote(desk: Callable[..., Any]) -> None:
    one = desk()
    (first, _), (second, _) = turn_of(one, conversation="c"), turn_of(one, conversation="c")
    kept = one.client.post("/v1/events", json={"id": first, "kind": "regenerated"})
    assert kept.json() == {"kept": True}
    preferred = {"id": second, "kind": "preferred", "other": first}
    assert one.client.post("/v1/events", json=preferred).status_code == 200
    same = {"id": second, "kind": "same", "other": first, "first": "other"}
    assert one.client.post("/v1/events", json=same).status_code == 200
    for wrong in ({"kind": "preferred"}, {"kind": "copied", "other": second}, {**same, "first": first}):
        assert one.client.post("/v1/events", json={"id": first, **wrong}).status_code == 422
    assert one.rows("select kind, detail from event order by id") == [
        ("regenerated", "{}"),
        ("preferred", "{}"),
        ("same", '{"first": "other"}'),
    ]
    assert one.rows("select * from vote") == []


def test_each_choice_of_an_answer_has_its_own_vote(desk: Callable[..., Any]) -> None:
    one = desk()
    response = one.chat("openai-n2")
    turn, token = response.headers["x-prospect-turn"], response.headers["x-prospect-vote"]
    assert vote(one, f"{turn}-1", -1, token=token).status_code == 200
    assert one.rows("select turn, value from vote") == [(f"{turn}-1", -1)]
    assert vote(one, f"{turn}-2", -1, token=token).status_code == 404


def test_a_token_votes_on_its_turn_as_its_rater_and_on_nothing_else(desk: Callable[..., Any]) -> None:
    one = desk(keys=TWO)
    turn, token = turn_of(one, "ours", rater="ada")
    other, _ = turn_of(one, "ours", rater="ada")
    assert vote(one, turn, token=token).status_code == 200
    assert vote(one, turn, -1, token=token).json()["version"] == 2, "a replayed token is the same rater's vote"
    assert vote(one, other, token=token).status_code == 401
    assert vote(one, turn, token=token, rater="bob").status_code == 403
    assert one.client.get("/v1/feedback", headers={"x-prospect-vote": token}).status_code == 401
    assert one.client.get("/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 401


def test_forged_and_damaged_tokens_are_refused(desk: Callable[..., Any]) -> None:
    one = desk(keys=TWO)
    turn, token = turn_of(one, "ours")
    key, claims, mac = token.split(".")
    other = base64.urlsafe_b64encode(json.dumps(["b", turn, "eve", 2**40]).encode()).decode().rstrip("=")
    foreign = Signer(lambda: [b"w" * 32])
    from datetime import UTC, datetime, timedelta

    from prospect.collect.tokens import Claims

    old = Signer(lambda: [b"v" * 32]).sign(Claims("a", turn, "ada"), datetime.now(UTC), timedelta(seconds=-1))
    forged = [
        f"{key}.{other}.{mac}", f"{key}.{claims}.{mac[::-1]}", f"{key}.{claims}.", "..", "x", f"0.{claims}.{mac}",
        foreign.sign(Claims("a", turn, "ada"), datetime.now(UTC)), old,
    ]  # fmt: skip
    assert {vote(one, turn, token=one_forged).status_code for one_forged in forged} == {401}
    assert one.rows("select * from vote") == []


def test_a_request_that_comes_twice_counts_once(desk: Callable[..., Any]) -> None:
    one = desk()
    turn, _ = turn_of(one)
    first, second = (vote(one, turn, 1, rater="ada", key="k1") for _ in range(2))
    assert first.json() == second.json()
    assert vote(one, turn, -1, rater="ada", key="k1").status_code == 409
    assert one.rows("select value, version from vote") == [(1, 1)]


def test_another_tenant_sees_and_changes_nothing(desk: Callable[..., Any]) -> None:
    one = desk(keys=TWO)
    turn, _ = turn_of(one, "ours")
    assert vote(one, turn, client="ours").status_code == 200
    assert vote(one, turn, -1, client="theirs").status_code == 404
    delete = one.client.delete("/v1/feedback", params={"id": turn}, headers=one.key("theirs"))
    event = one.client.post("/v1/events", json={"id": turn, "kind": "copied"}, headers=one.key("theirs"))
    assert (delete.status_code, event.status_code) == (404, 404)
    assert one.client.get("/v1/feedback", headers=one.key("theirs")).json() == {"votes": [], "cursor": None}
    assert len(one.client.get("/v1/feedback", headers=one.key("ours")).json()["votes"]) == 1


def test_a_key_does_what_its_scopes_say(desk: Callable[..., Any]) -> None:
    one = desk(keys=TWO)
    turn, _ = turn_of(one, "chat")
    assert vote(one, turn, client="chat").status_code == 403
    assert vote(one, turn, client="vote").status_code == 200
    assert one.chat("openai", client="vote").status_code == 403
    assert one.client.get("/v1/feedback", headers=one.key("vote")).status_code == 403
    assert one.client.get("/metrics", headers=one.key("vote")).status_code == 403
    assert one.client.get("/metrics", headers=one.key("ours")).status_code == 200
    for path in ("/metrics", "/v1/models", "/v1/feedback"):
        assert one.client.get(path).status_code == 401
    assert one.chat("openai").status_code == 401


def test_the_upstream_gets_our_key_and_nothing_of_the_clients(
    desk: Callable[..., Any], upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    one = desk(keys=TWO, api_key_env="UPSTREAM_KEY")
    with caplog.at_level(logging.DEBUG):
        headers = {"cookie": "a=b", "x-forwarded-for": "1.2.3.4", "openai-organization": "o", **one.key("ours")}
        body = {"model": "openai", "messages": [{"role": "user", "content": "a secret question"}]}
        answer = one.client.post("/v1/chat/completions", json=body, headers=headers)
        told = one.chat("repeats-key", client="ours", rater="ada")
    [asked, _] = upstream.asked
    assert asked.headers["authorization"] == "Bearer sk-upstream-secret"
    assert asked.headers["accept-encoding"] == "identity"
    assert not {"cookie", "x-forwarded-for", "openai-organization"} & asked.headers.keys()
    assert not [name for name in upstream.asked[1].headers if name.startswith("x-prospect")]
    assert told.status_code == 401
    assert "sk-upstream-secret" not in told.text
    assert "***" in told.text
    assert not {"set-cookie", "x-hop"} & answer.headers.keys()
    assert answer.headers["x-request-id"] == "r1"
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    for secret in ("sk-upstream-secret", "a secret question", one.secrets["ours"]):
        assert not [line for line in ours if secret in line]


def test_no_redirect_of_the_upstream_is_followed(desk: Callable[..., Any], upstream: FakeUpstream) -> None:
    response = desk().chat("redirects")
    assert len(upstream.asked) == 1
    assert response.status_code == 502
    assert "location" not in response.headers


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
def test_link_local_addresses_are_no_upstreams(host: str) -> None:
    with pytest.raises(UsageError, match="link-local"):
        HttpUpstream(f"http://{host}/v1")


async def _ask(url: str) -> None:
    upstream = HttpUpstream(url)
    try:
        await upstream.ask("models", None, {})
    finally:
        await upstream.close()


def test_a_name_that_leads_to_a_link_local_address_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UpstreamError):
        asyncio.run(_ask("http://metadata.internal/v1"))


def test_the_client_cannot_choose_the_upstream(desk: Callable[..., Any], upstream: FakeUpstream) -> None:
    one = desk()
    headers = {"x-forwarded-host": "169.254.169.254", "forwarded": "host=evil"}
    body = {"model": "openai", "messages": [{"role": "user", "content": "?"}], "base_url": "http://127.0.0.1:1"}
    assert one.client.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    assert one.client.post(f"{one.running.url}/v1/../chat", json=body).status_code == 404
    assert [request.path for request in upstream.asked] == ["/v1/chat/completions"]


def test_sizes_are_limited(desk: Callable[..., Any]) -> None:
    one = desk()
    turn, _ = turn_of(one)
    head = {"content-type": "application/json"}
    assert one.client.post("/v1/chat/completions", content=b"x" * (2**20 + 1), headers=head).status_code == 413
    pieces = (b"x" * 2**16 for _ in range(17))  # without a length in the head
    assert one.client.post("/v1/chat/completions", content=pieces, headers=head).status_code == 413
    pieces = (b" " * 2**16 for _ in range(17))
    assert one.client.post("/v1/feedback", content=pieces, headers=head).status_code == 413
    many = {"model": "openai", "messages": [{"role": "user", "content": "?"}] * 201}
    assert one.client.post("/v1/chat/completions", json=many).status_code == 413
    assert vote(one, turn, comment="é" * 2049).status_code == 413
    assert vote(one, turn, comment="é" * 2048).status_code == 200
    assert one.chat("openai", rater="r" * 129).status_code == 400


def test_rates_are_limited_for_each_key_and_rater(desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rates.__init__, "__defaults__", (lambda: 0.0,))  # however slow the machine, no time passes
    one = desk(keys=TWO, limits=Limits(requests=2, votes_of_rater=3))
    *answers, last = [one.chat("openai", client="ours") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert last.status_code == 429
    assert int(last.headers["retry-after"]) >= 1
    assert last.json()["error"]["type"] == "rate_limit_error"
    turn, _ = turn_of(one, "theirs")
    votes = [vote(one, turn, client="theirs", rater="ada").status_code for _ in range(4)]
    assert votes == [200, 200, 200, 429]
    assert vote(one, turn, client="theirs", rater="bob").status_code == 200


def test_a_rater_who_is_refused_takes_nothing_from_others_of_the_key(
    desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rates.__init__, "__defaults__", (lambda: 0.0,))
    one = desk(limits=Limits(votes=2, votes_of_rater=1))
    turn, token = turn_of(one, rater="ada")
    assert [vote(one, turn, token=token).status_code for _ in range(9)] == [200] + [429] * 8
    turn, token = turn_of(one, rater="bob")
    assert vote(one, turn, token=token).status_code == 200


def test_half_a_vote_is_no_error_of_ours(desk: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    one = desk()
    with socket.create_connection(("127.0.0.1", one.client.base_url.port)) as broken:
        head = "POST /v1/feedback HTTP/1.1", "host: localhost", "content-type: application/json", "content-length: 99"
        broken.sendall("\r\n".join([*head, "", '{"id":']).encode())
    one.close()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_answers_under_way_are_limited(desk: Callable[..., Any]) -> None:
    one = desk(limits=Limits(streams=2))
    body = {"model": "never-ends", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with (
        one.client.stream("POST", "/v1/chat/completions", json=body),
        one.client.stream("POST", "/v1/chat/completions", json=body),
    ):
        assert one.chat("openai").status_code == 429


def test_without_keys_other_names_than_the_loopbacks_are_refused(desk: Callable[..., Any]) -> None:
    one = desk()
    for name in ("evil.example", "127.0.0.1.evil.example", "", "[::1].evil"):
        assert one.client.get("/v1/models", headers={"host": name}).status_code in (400, 421)
    assert one.client.get("/v1/models", headers={"host": f"localhost:{one.running.port}"}).status_code == 200


def test_pages_of_other_origins_can_neither_post_nor_read(desk: Callable[..., Any]) -> None:
    one = desk(origins=["https://shop.example"])
    turn, token = turn_of(one)
    form = one.client.post(
        "/v1/feedback", content=json.dumps({"id": turn, "value": -1}), headers={"content-type": "text/plain"}
    )
    assert form.status_code == 415
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for origin, path, allowed in (
        ("https://shop.example", "/v1/feedback", "https://shop.example"),
        ("https://evil.example", "/v1/feedback", None),
        ("null", "/v1/feedback", None),
        ("https://shop.example", "/v1/chat/completions", None),
    ):
        answer = one.client.options(path, headers={"origin": origin, **asked})
        assert answer.headers.get("access-control-allow-origin") == allowed
    kept = one.client.post(
        "/v1/feedback",
        json={"id": turn, "value": 1},
        headers={"origin": "https://shop.example", "x-prospect-vote": token},
    )
    assert kept.headers["access-control-allow-origin"] == "https://shop.example"


def test_every_response_forbids_scripts_and_frames(desk: Callable[..., Any]) -> None:
    one = desk()
    for answer in (
        one.chat("openai"),
        one.client.get("/healthz"),
        one.client.get("/nothing"),
        one.client.get("/v1/events"),
    ):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_models_name_cannot_add_headers(desk: Callable[..., Any], upstream: FakeUpstream) -> None:
    from prospect.collect.request import header_value

    assert header_value("a\r\nset-cookie: x=1\0ü") == b"a%0D%0Aset-cookie: x%3D1%00%C3%BC"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"messages": {}}', b'{"messages": [1]}', b'{"messages": []}', b"\xff", b"[" * 10_000,
     b'{"model": 1, "messages": [{}]}', b'{"stream": "yes", "messages": [{}]}',
     b'{"messages": [{"content": "\\ud800"}]}'],
)  # fmt: skip
def test_what_is_no_request_is_a_400(body: bytes, desk: Callable[..., Any]) -> None:
    one = desk()
    answer = one.client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "change",
    [{"value": 2}, {"value": "1"}, {"value": 1.5}, {"value": None}, {"id": "x"}, {"id": "../x"}, {"reason": "spite"},
     {"comment": 1}, {"comment": "a\0b"}, {"more": 1}, {"rater": ""}, {"rater": "a\nb"}, {"comment": "\ud800"}],
)  # fmt: skip
def test_what_is_no_vote_is_a_422_that_quotes_nothing(change: dict[str, Any], desk: Callable[..., Any]) -> None:
    one = desk()
    said = {"id": turn_of(one)[0], "value": 1, "comment": "a secret", **change}
    head = {"content-type": "application/json"}
    answer = one.client.post("/v1/feedback", content=json.dumps(said), headers=head)
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert one.rows("select * from vote") == []
