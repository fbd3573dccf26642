"""The chat page and the admin page in a real browser: people chat, vote and think again, and nothing foreign runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatting import ask, complete, kept

import upstreams
from browsers import ATTACK, PHONE, wide
from upstreams import FakeUpstream, Recording, chunk, events, said


def test_people_chat_vote_and_think_again(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="openai-stream", consent=False)
    page = visit(one.running.url)
    page.check("#consent")
    first = ask(page, "Where is it?")
    assert first.locator(".text").inner_text() == "On its way."
    assert page.is_disabled("#consent"), "a conversation is kept whole or not at all"

    second = ask(page, "And now?")
    down, up = second.get_by_label("Bad answer"), second.get_by_label("Good answer")
    down.focus()
    page.keyboard.press("Enter")
    kept(second, "your vote is kept")
    assert (down.get_attribute("aria-pressed"), up.get_attribute("aria-pressed")) == ("true", "false")
    with page.expect_response("**/v1/feedback"):
        second.get_by_text("Wrong").click()
    second.get_by_label("Comment").fill("It <b>is</b> not.")
    second.get_by_label("What the answer should have been").fill("Tomorrow.")
    with page.expect_response("**/v1/feedback"):
        second.get_by_text("Send what I wrote").click()
    assert one.rows("select value, reason, comment, correction from vote") == [
        (-1, "wrong", "It <b>is</b> not.", "Tomorrow.")
    ]
    second.get_by_text("Undo").click()
    kept(second, "taken back")
    assert down.get_attribute("aria-pressed") == "false"
    assert one.rows("select value, comment from vote") == [(0, None)]

    turns = one.rows("select conversation, rater, consent, parent is null from turn order by created")
    assert len({turn[:2] for turn in turns}) == 1, "one conversation of one rater"
    assert [turn[2:] for turn in turns] == [(1, 1), (1, 0)]


def test_another_answer_is_an_event_and_no_thumb(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="openai-stream")
    page = visit(one.running.url)
    ask(page, "Where is it?")
    page.get_by_text("Another answer").click()
    second = complete(page, 1)
    assert page.get_by_text("Which is better?").is_hidden(), "a choice between texts that are not kept is of no use"
    assert second.locator(".place").inner_text() == "2 of 2"
    second.get_by_label("Earlier answer").click()
    assert page.locator("article").nth(0).is_visible() and not second.is_visible()
    assert one.rows("select kind from event") == [("regenerated",)]
    assert one.rows("select count(*) from vote") == [(0,)]


def test_an_answer_can_be_stopped_and_voted_on(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="never-ends")
    page = visit(one.running.url)
    page.fill("#question", "Go on")
    page.press("#question", "Enter")
    page.get_by_text("On and").first.wait_for()
    page.keyboard.press("Escape")
    answer = complete(page, 0)
    assert "You stopped this answer" in answer.inner_text()
    answer.get_by_label("Bad answer").click()
    kept(answer, "your vote is kept")
    assert one.rows("select ended, value from turn join vote on vote.turn = turn.id") == [("client_left", -1)]
    assert one.rows("select consent, said from turn") == [(0, None)], "a box that nobody ticked is no consent"


def test_a_vote_that_was_not_kept_is_not_shown(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="openai-stream")
    page = visit(one.running.url)
    answer = ask(page, "Where is it?")
    page.route("**/v1/feedback", lambda route: route.fulfill(status=503, body='{"error": {"message": "no disk"}}'))
    answer.get_by_label("Good answer").click()
    kept(answer, "not kept: no disk")
    assert answer.get_by_label("Good answer").get_attribute("aria-pressed") == "false"
    assert answer.get_by_text("Undo").is_hidden()


def test_an_error_gives_the_question_back(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    page = visit(desk(model="drops").running.url)
    page.fill("#question", "Where is it?")
    page.get_by_text("Send", exact=True).click()
    page.locator("#state.fault").wait_for()
    assert page.input_value("#question") == "Where is it?"
    assert page.locator("article, .question").count() == 0


def test_with_keys_the_page_asks_for_one_and_votes_by_it(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(keys={"chat": ("shop", ["chat"])}, model="openai-stream")
    page = visit(one.running.url)
    page.fill("#key", one.secrets["chat"])
    page.get_by_text("Use it").click()
    page.locator("#key-line").wait_for(state="hidden")
    answer = ask(page, "Where is it?")
    answer.get_by_label("Good answer").click()
    kept(answer, "your vote is kept")
    assert one.rows("select tenant, value from vote") == [("shop", 1)]
    assert one.secrets["chat"] not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")


def test_nothing_that_models_or_people_wrote_runs(
    desk: Callable[..., Any], visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = Recording(ATTACK, events(chunk(said(ATTACK)), chunk({}, "stop")), [ATTACK], ["stop"])
    monkeypatch.setattr(upstreams, "RECORDINGS", [attack, *upstreams.RECORDINGS])
    one = desk(model=ATTACK)
    names = json.dumps({"data": [{"id": ATTACK}, {"id": "</option><script>window.ran=1</script>"}]})
    page = visit("about:blank")
    page.route("**/v1/models", lambda route: route.fulfill(body=names, content_type="application/json"))
    page.goto(one.running.url)
    answer = ask(page, ATTACK)
    assert answer.locator(".text").inner_text() == ATTACK
    assert page.locator("#model option").first.inner_text() == ATTACK
    answer.get_by_label("Bad answer").click()
    answer.get_by_label("Comment").fill(ATTACK)
    answer.get_by_text("Send what I wrote").click()
    kept(answer, "your vote is kept")
    assert page.locator("#talk :is(img, script, a)").count() == 0
    admin = visit(one.running.url + "/admin")
    assert admin.locator("tbody th").first.inner_text() == ATTACK
    assert admin.locator(":is(img, script, a)").count() == 0
    assert [found.evaluate("window.ran") for found in (page, admin)] == [None, None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    scheme: str, desk: Callable[..., Any], visit: Callable[..., Any], upstream: FakeUpstream, tmp_path: Path
) -> None:
    one = desk(model="openai-stream")
    page = visit(one.running.url, viewport=PHONE, color_scheme=scheme)
    answer = ask(page, "no-spaces" * 60)
    answer.get_by_label("Bad answer").click()
    kept(answer, "your vote is kept")
    assert wide(page) == 0
    small = [box for box in (b.bounding_box() for b in page.locator("button:visible").all()) if box["height"] < 40]
    assert not small, "a thumb is larger than that"
    page.goto(one.running.url + "/admin")
    assert wide(page) == 0 and page.locator("tbody tr").count() == 2
