"""The pages over HTTP: who sees them, and what a browser is allowed to do on them."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from prospect.collect.pages.chat import REASON_WORDS
from prospect.collect.registry import Move, Registry
from prospect.collect.turns import REASONS

TWO = {
    "admin": ("a", ["chat", "vote", "admin"]),
    "chat": ("a", ["chat"]),
    "theirs": ("b", ["chat", "admin"]),
}
BECAUSE = Move("it is time", "anna")


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def voted(one: Any, value: int, client: str | None = None, **more: Any) -> None:
    answer = one.chat("openai", client=client)
    said = {"id": answer.headers["x-prospect-turn"], "value": value, **more}
    headers = {"x-prospect-vote": answer.headers["x-prospect-vote"]}
    assert one.client.post("/v1/feedback", json=said, headers=headers).status_code == 200


def test_a_page_runs_its_own_script_and_no_other(desk: Callable[..., Any]) -> None:
    one = desk()
    for path, scripts in (("/", 1), ("/review", 1), ("/admin", 0)):
        response = one.client.get(path)
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert ("script-src" in policy) == bool(scripts) and "unsafe" not in str(policy) and "*" not in str(policy)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert len(re.findall("<script", response.text)) == scripts
        assert not re.findall('(?:src|href)=(?!"data:,")', response.text), "it loads nothing"


def test_the_chat_page_is_open_and_holds_no_data(desk: Callable[..., Any]) -> None:
    one = desk(keys=TWO)
    voted(one, -1, "admin", comment="a secret")
    page = one.client.get("/")
    assert page.status_code == 200 and "secret" not in page.text
    assert tuple(REASON_WORDS) == REASONS == tuple(re.findall('data-reason="([a-z_]+)"', page.text))


def test_the_admin_page_needs_the_scope(desk: Callable[..., Any]) -> None:
    one = desk(keys=TWO)
    refused = one.client.get("/admin")
    assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic ")
    for name, status in (("admin", 200), ("chat", 403)):
        assert one.client.get("/admin", headers=one.key(name)).status_code == status
        assert one.client.get("/admin", headers=basic("anybody", one.secrets[name])).status_code == status
    for wrong in (basic("a", "b"), basic("", ""), {"authorization": "Basic !"}, {"authorization": "Basic /w=="}):
        assert one.client.get("/admin", headers=wrong).status_code == 401
    password = basic("anybody", one.secrets["admin"])
    assert one.client.get("/v1/models", headers=password).status_code == 401, "a browser would send it from any page"


def test_pages_say_it_when_the_store_is_down(desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk(keys=TWO)
    voted(one, 1, "admin")

    def down(*_: Any, **__: Any) -> None:
        raise OperationalError("select text_of_people", {}, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr(one.store.database._engine, "connect", down)
    page = one.client.get("/admin", headers=one.key("admin"))
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert page.headers["content-type"] == "text/html; charset=utf-8" and "<p>The store cannot be read." in page.text
    assert not re.search("Traceback|text_of_people|disk|sqlite", page.text)
    assert "script-src" not in page.headers["content-security-policy"]
    assert one.client.get("/").status_code == 200, "the chat page needs no store"
    monkeypatch.undo()
    assert one.client.get("/admin", headers=one.key("admin")).status_code == 200


def test_an_admin_sees_the_own_tenants_votes_alone(desk: Callable[..., Any]) -> None:
    one = desk(keys=TWO)
    for value in (1, 1, 1, -1):
        voted(one, value, "admin")
    page = one.client.get("/admin", headers=one.key("admin")).text
    assert "75.0% (19.4% to 99.4%)" in page and "openai" in page
    theirs = one.client.get("/admin", headers=one.key("theirs")).text
    assert "No turns yet" in theirs and "openai" not in theirs


def test_the_admin_page_shows_the_canary(desk: Callable[..., Any], tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    one = desk(registry=registry.folder)
    assert "No canary is under way" in one.client.get("/admin").text
    for name in ("vllm", "openai"):
        registry.propose(name, f"runs/{name}", BECAUSE)
    registry.promote("vllm", BECAUSE)
    registry.start_canary("openai", 0.5, 0.05, BECAUSE)
    page = one.client.get("/admin").text
    assert "<bdi>openai</bdi>, 50.0% of the conversations" in page and "Too early" in page
    registry.path.write_text("{")
    page = one.client.get("/admin").text
    assert "The registry cannot be read" in page and str(tmp_path) not in page


def test_the_admin_page_lists_exports_without_their_folders(desk: Callable[..., Any], tmp_path: Path) -> None:
    from prospect.collect.export import Contents, export
    from prospect.feedback.files.store.selection import Selection

    one = desk()
    voted(one, 1)
    one.rows("select 1")
    output = tmp_path / "<b>votes.jsonl"
    export(one.store.database, output, Selection(), Contents())
    page = one.client.get("/admin").text
    assert "&lt;b&gt;votes.jsonl" in page and "<b>" not in page and str(tmp_path) not in page
