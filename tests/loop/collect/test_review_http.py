"""The review over HTTP: scopes, names, tenants, blindness, and words that are taken out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

ANSWER = "Grüße, 你好"  # of the upstream's recording
KEYS = {
    "ada": ("a", ["review"]), "bob": ("a", ["review"]), "theirs": ("b", ["review"]),
    "chat": ("a", ["chat", "vote", "admin"]),
}  # fmt: skip


def post(one: Any, path: str, client: str | None = None, **body: Any) -> Any:
    return one.client.post(f"/v1/review{path}", json=body, headers=one.key(client))


def answered(one: Any, value: int | None = None, client: str | None = None, **said: Any) -> str:
    """Return the id of a new turn, with a vote on it."""
    response = one.chat("openai", client=client)
    turn: str = response.headers["x-prospect-turn"]
    if value is not None:
        headers = {"x-prospect-vote": response.headers["x-prospect-vote"]}
        vote = one.client.post("/v1/feedback", json={"id": turn, "value": value, **said}, headers=headers)
        assert vote.status_code == 200
    one.rows("select 1")  # it is written
    return turn


def test_an_answer_is_opened_and_decided_without_its_model_or_votes(desk: Callable[..., Any]) -> None:
    one = desk()
    turn = answered(one, -1, reason="unsafe", comment="a secret")
    opened = post(one, "/next", reviewer="ada", strategy="flagged")
    assert opened.status_code == 200, opened.text
    item = opened.json()["item"]
    assert (item["id"], item["answer"], item["finished"]) == (turn, ANSWER, True)
    assert item["messages"] == [{"role": "user", "text": "Where is it?"}]
    assert "openai" not in opened.text and "secret" not in opened.text and "value" not in opened.text
    skipped = post(one, "", reviewer="ada", id=turn, verdict="skip").json()
    assert skipped["votes"] == []
    kept = post(one, "", reviewer="ada", id=turn, verdict="good", note="It is fine.").json()
    assert (kept["verdict"], kept["version"]) == ("good", 2)
    assert kept["votes"] == [{"value": -1, "reason": "unsafe", "comment": "a secret", "correction": None}]
    assert one.rows("select value from vote") == [(-1,)]
    assert one.rows("select reviewer, verdict, note from review") == [("ada", 1, "It is fine.")]
    assert post(one, "/next", reviewer="ada").json() == {"item": None}
    stats = one.client.get("/v1/review/stats").json()
    assert stats["reviewer"] is None and (stats["good"], stats["bad"]) == (1, 0)
    assert stats["waiting"] == {"random": 1, "disagreement": 1, "new_raters": 1, "margin": 0, "flagged": 1}
    assert stats["with_votes"]["turns"] == 1 and stats["with_votes"]["rate"] == 0


def test_with_keys_the_scope_is_needed_and_the_key_says_who_reviews(desk: Callable[..., Any]) -> None:
    one = desk(keys=KEYS)
    turn = answered(one, client="chat")
    for client, status in ((None, 401), ("chat", 403)):
        for path, body in (("/next", {}), ("", {"id": turn, "verdict": "good"}), ("/redact", {"id": turn})):
            assert post(one, path, client, **body).status_code == status
        assert one.client.get("/v1/review/stats", headers=one.key(client)).status_code == status
    assert post(one, "/next", "ada").json()["item"]["id"] == turn
    assert post(one, "", "ada", id=turn, verdict="good").status_code == 200
    assert post(one, "", "ada", id=turn, verdict="good", reviewer="bob").status_code == 403
    assert one.rows("select reviewer from review") == [("ada",)]
    assert one.client.get("/v1/review/stats", headers=one.key("bob")).json()["reviewer"] == "bob"
    assert one.client.get("/review").status_code == 200, "the page holds no data"


def test_without_keys_somebody_says_who_reviews(desk: Callable[..., Any]) -> None:
    assert post(desk(), "/next").status_code == 403


def test_another_tenant_sees_and_changes_nothing(desk: Callable[..., Any]) -> None:
    one = desk(keys=KEYS)
    turn = answered(one, client="chat")
    assert post(one, "/next", "theirs").json() == {"item": None}
    for path, body in (("", {"verdict": "good"}), ("/redact", {"texts": [ANSWER]})):
        assert post(one, path, "theirs", id=turn, **body).status_code == 404
    stats = one.client.get("/v1/review/stats", headers=one.key("theirs")).json()
    assert stats["waiting"]["random"] == stats["good"] == 0
    assert post(one, "/next", "ada").json()["item"]["answer"] == ANSWER


def test_a_server_is_told_how_many_reviewers_an_answer_gets(desk: Callable[..., Any]) -> None:
    one = desk(reviewers=1)
    turn = answered(one)
    assert post(one, "", reviewer="ada", id=turn, verdict="bad").status_code == 200
    assert post(one, "/next", reviewer="bob").json() == {"item": None}


def test_words_are_taken_out_of_the_store_and_its_log(desk: Callable[..., Any]) -> None:
    one = desk()
    turn = answered(one, -1, comment=f"{ANSWER} is no answer, write to me@example.org")
    done = post(one, "/redact", reviewer="ada", id=turn, texts=[ANSWER]).json()
    assert done["replaced"] == {"marked": 2, "email": 1}
    assert done["item"]["answer"] == "[REDACTED]"
    assert one.rows("select comment from vote") == [("[REDACTED] is no answer, write to [EMAIL]",)]
    files = [file.read_bytes() for file in one.path.parent.glob("store.sqlite*")]
    assert not any(ANSWER.encode() in data or b"me@example.org" in data for data in files)
    history = one.rows("select kind, rater, detail from event where kind = 'redacted'")
    assert history == [("redacted", "ada", json.dumps({"marked": 2, "email": 1}))]


def test_one_redaction_at_a_time_works_on_the_log(desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk()
    turn, at_once, most = answered(one), [0], []

    def shorten_log() -> bool:
        at_once[0] += 1
        most.append(at_once[0])
        time.sleep(0.1)  # of SQLite it is seconds while somebody reads
        at_once[0] -= 1
        return True

    monkeypatch.setattr(one.store.database, "shorten_log", shorten_log)
    with ThreadPoolExecutor(4) as reviewers:
        done = list(reviewers.map(lambda _: post(one, "/redact", reviewer="ada", id=turn).status_code, range(4)))
    assert done == [200] * 4 and most == [1] * 4


@pytest.mark.parametrize(
    "body",
    [
        {"verdict": "fine"}, {"verdict": 1}, {"verdict": "good", "model": "x"}, {"verdict": "good", "note": "\0"},
        {"verdict": "good", "reviewer": "ü"}, {},
    ],
)  # fmt: skip
def test_a_body_that_says_anything_else_is_refused(body: dict[str, Any], desk: Callable[..., Any]) -> None:
    one = desk()
    said = {"reviewer": "ada", "id": "0" * 32, **body}
    assert one.client.post("/v1/review", json=said).status_code == 422
    for path, more in (("/redact", {"texts": ["ab"]}), ("/next", {"strategy": "mine"})):
        assert one.client.post(f"/v1/review{path}", json={**said, **more}).status_code == 422


def test_a_long_note_is_refused_and_a_form_of_another_page_too(desk: Callable[..., Any]) -> None:
    one = desk(origins=["https://shop.example"])
    turn = answered(one)
    assert post(one, "", reviewer="ada", id=turn, verdict="good", note="x" * 4097).status_code == 413
    body = json.dumps({"reviewer": "ada", "id": turn, "verdict": "good"})
    form = one.client.post("/v1/review", content=body, headers={"content-type": "text/plain"})
    assert form.status_code == 415
    asked = one.client.options("/v1/review", headers={"origin": "https://shop.example"})
    assert "access-control-allow-origin" not in asked.headers, "pages of others vote, and review nothing"


def test_no_verdict_is_acknowledged_that_is_not_kept(desk: Callable[..., Any]) -> None:
    one = desk()
    turn = answered(one)
    with one.store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE review RENAME TO elsewhere")
    assert post(one, "", reviewer="ada", id=turn, verdict="good").status_code == 503
    assert post(one, "/next", reviewer="ada").status_code == 503
    assert one.client.get("/v1/review/stats").status_code == 503
