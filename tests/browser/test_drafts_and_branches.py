"""Two answers side by side, questions in other words, copies, and the question whether it helped; by keyboard too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chatting import ask, complete, kept

import upstreams
from browsers import PHONE, wide
from upstreams import FakeUpstream, Recording, chunk, events, said

ATTACK = (
    "</div><img src=x onerror=\"window.ran=1\"><script>window.ran=1</script><a href='javascript:window.ran=1'>x</a>"
)
DESK = {"width": 1100, "height": 800}


def with_chance(byte: int) -> str:
    """Return a script that makes every draw of a page the same."""
    return f"crypto.getRandomValues = (bytes) => bytes.fill({byte})"


def two_answers(page: Any) -> tuple[Any, Any]:
    """Ask with consent, then for another answer; return both in the order in which they stand."""
    page.check("#consent")
    ask(page, "Where is it?")
    page.get_by_text("Another answer").click()
    page.get_by_role("group", name="Which is better?").wait_for()
    first, second = page.locator("article:visible").all()
    return first, second


def focus(page: Any, name: str, presses: int = 60) -> None:
    """Press Tab until a button of this name has the focus."""
    label = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate(label) == name:
            return
    pytest.fail(f"the keyboard does not reach {name}")


@pytest.mark.parametrize(("byte", "side"), [(0, 1), (0, 2), (255, 1), (255, 2)])
def test_the_side_is_drawn_and_kept_with_the_choice(
    byte: int, side: int, desk: Callable[..., Any], visit: Callable[..., Any]
) -> None:
    one = desk(model="openai-stream")
    page = visit("about:blank", viewport=DESK)
    page.add_init_script(with_chance(byte))
    page.goto(one.running.url)
    left, right = two_answers(page)
    assert [each.locator(".which").inner_text() for each in (left, right)] == ["Answer 1", "Answer 2"]
    boxes = [each.bounding_box() for each in (left, right)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    page.get_by_role("button", name=f"Answer {side}").click()
    page.get_by_text("your choice is kept").wait_for()
    old, new = (row[0] for row in one.rows("select id from turn order by created"))
    new_is_better = (byte == 0) == (side == 1)
    better, worse = (new, old) if new_is_better else (old, new)
    first = "id" if side == 1 else "other"
    assert one.rows("select turn, other, detail from event where kind = 'preferred'") == [
        (better, worse, f'{{"first": "{first}"}}')
    ]
    assert one.rows("select count(*) from vote") == [(0,)]
    assert page.locator("article:visible").count() == 1, "the better one goes on"
    assert page.locator("article:visible .versions .place").inner_text() == ("2 of 2" if new_is_better else "1 of 2")
    assert one.rows("select count(distinct sibling_group) from turn") == [(1,)]


def test_two_answers_can_be_the_same(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="openai-stream")
    page = visit(one.running.url)
    two_answers(page)
    page.route("**/v1/events", lambda route: route.fulfill(status=503, body='{"error": {"message": "no disk"}}'))
    page.get_by_role("button", name="Same").click()
    page.get_by_text("Your choice was not kept: no disk").wait_for()
    assert page.locator("article:visible").count() == 2, "it can be said again"
    page.unroute("**/v1/events")
    page.get_by_role("button", name="Same").click()
    page.get_by_text("your choice is kept").wait_for()
    assert one.rows("select kind from event order by id") == [("regenerated",), ("same",)]
    page.get_by_role("button", name="Another answer").click()
    page.get_by_role("group", name="Which is better?").wait_for()
    ask(page, "And now?")
    assert page.get_by_text("Which is better?").locator("visible=true").count() == 0, "it went on without a choice"
    assert one.rows("select count(*) from event where kind = 'preferred'") == [(0,)]


def test_an_answer_that_was_stopped_is_not_compared(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="never-ends")
    page = visit(one.running.url)
    page.check("#consent")
    for place in range(2):
        if place:
            page.get_by_text("Another answer").click()
        else:
            page.fill("#question", "Go on")
            page.press("#question", "Enter")
        page.locator("article").nth(place).get_by_text("On and").wait_for()
        page.keyboard.press("Escape")
        complete(page, place)
    assert page.get_by_text("Which is better?").is_hidden()
    assert page.locator("article:visible").count() == 1


def test_an_answer_with_nothing_in_it_is_not_compared(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    page = visit(desk(model="openai-stream").running.url)
    page.check("#consent")
    ask(page, "Where is it?")
    nothing = 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    answers = "**/v1/chat/completions"
    page.route(answers, lambda route: route.fulfill(body=nothing, content_type="text/event-stream"))
    page.get_by_text("Another answer").click()
    page.get_by_text("The model answered with nothing.").wait_for()
    assert page.get_by_text("Which is better?").is_hidden()
    assert page.locator("article:visible .text").all_inner_texts() == ["On its way."]


def test_a_question_in_other_words_starts_a_branch_that_one_can_leave(
    desk: Callable[..., Any], visit: Callable[..., Any], upstream: FakeUpstream
) -> None:
    one = desk(model="openai-stream")
    page = visit(one.running.url)
    page.check("#consent")
    ask(page, "Where is it?")
    ask(page, "And now?")
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Your message in other words").locator("visible=true").fill("Where is my radio?")
    page.get_by_role("button", name="Ask this instead").locator("visible=true").click()
    complete(page, 2)
    assert page.locator(".question:visible").all_inner_texts() == ["Where is my radio?"]
    assert page.locator(".wordings:visible .place").inner_text() == "2 of 2"
    page.get_by_label("Earlier wording").locator("visible=true").click()
    assert page.locator(".question:visible").all_inner_texts() == ["Where is it?", "And now?"]
    page.get_by_label("Later wording").locator("visible=true").click()
    assert page.locator(".question:visible").all_inner_texts() == ["Where is my radio?"]
    ask(page, "Still there?")
    asked = [message["content"] for message in upstream.asked[-1].body["messages"]]
    assert asked == ["Where is my radio?", "On its way.", "Still there?"]
    ids = [row[0] for row in one.rows("select id from turn order by created")]
    assert one.rows("select kind, turn from event") == [("edited", ids[0])]
    assert one.rows("select parent from turn order by created") == [(None,), (ids[0],), (None,), (ids[2],)]
    assert one.rows("select count(*) from vote") == [(0,)], "an edit is no thumb"


def test_an_edit_that_says_nothing_new_asks_nothing(
    desk: Callable[..., Any], visit: Callable[..., Any], upstream: FakeUpstream
) -> None:
    page = visit(desk(model="openai-stream").running.url)
    ask(page, "Where is it?")
    before = len(upstream.asked)
    for keys in (["Enter"], ["Control+a", "Delete", "Enter"], ["x", "Escape"]):
        page.get_by_role("button", name="Edit").click()
        for key in keys:
            page.keyboard.press(key)
        assert page.get_by_role("button", name="Edit").evaluate("one => one === document.activeElement")
    assert len(upstream.asked) == before
    assert page.locator(".question:visible").all_inner_texts() == ["Where is it?"]


def test_a_branch_that_fails_gives_the_words_back(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    page = visit(desk(model="openai-stream").running.url)
    ask(page, "Where is it?")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.get_by_role("button", name="Edit").click()
    words = page.get_by_label("Your message in other words")
    words.fill("Where is my radio?")
    words.press("Enter")
    page.locator("#state.fault").wait_for()
    assert page.locator(".rewrite:visible textarea").input_value() == "Where is my radio?"
    page.get_by_role("button", name="Cancel").click()
    assert page.locator(".question:visible").all_inner_texts() == ["Where is it?"]
    assert page.locator("article:visible").count() == 1 and page.locator(".wordings").is_hidden()


def test_a_copy_is_an_event(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="openai-stream")
    page = visit(one.running.url, permissions=["clipboard-read", "clipboard-write"])
    answer = ask(page, "Where is it?")
    with page.expect_response("**/v1/events"):
        answer.get_by_text("Copy").click()
    kept(answer, "Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "On its way."
    assert one.rows("select kind from event") == [("copied",)]
    page.evaluate("delete Navigator.prototype.clipboard")
    answer.get_by_text("Copy").click()
    kept(answer, "does not let this page copy")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_who_is_drawn_is_asked_until_they_vote(
    share: float, desk: Callable[..., Any], visit: Callable[..., Any]
) -> None:
    one = desk(model="openai-stream", ask=share)
    page = visit(one.running.url)
    answer = ask(page, "Where is it?")
    asking = answer.get_by_text("Was this answer helpful?")
    assert asking.is_visible() == (share == 1)
    answer.get_by_label("Good answer").click()
    kept(answer, "your vote is kept")
    assert asking.is_hidden()
    admin = visit(one.running.url + "/admin")
    shown = admin.get_by_role("heading", name="Asked for a vote")
    assert shown.count() == int(share)
    if share:
        assert "100.0% (2.5% to 100.0%)" in admin.get_by_role("region", name="Asked for a vote").inner_text()


def test_the_keyboard_alone_does_all_of_it(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk(model="openai-stream", ask=1.0)
    page = visit(one.running.url, permissions=["clipboard-read", "clipboard-write"])
    page.locator("#consent").focus()
    page.keyboard.press("Space")
    ask(page, "Where is it?")
    page.locator("#anew").focus()  # from the top of the page on
    focus(page, "Another answer")
    page.keyboard.press("Enter")
    page.get_by_role("group", name="Which is better?").wait_for()
    focus(page, "Answer 2")
    page.keyboard.press("Space")
    page.get_by_text("your choice is kept").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Another answer", "the focus goes on from there"
    page.locator("#anew").focus()
    for name, event in (("Copy", "copied"), ("Edit", "edited")):
        focus(page, name)
        page.keyboard.press("Enter")
        if name == "Edit":
            page.keyboard.press("Control+a")
            page.keyboard.type("Where is my radio?")
            page.keyboard.press("Enter")
            complete(page, 2)
        page.locator("#anew").focus()
        assert event in {row[0] for row in one.rows("select kind from event")}
    focus(page, "Earlier wording")
    page.keyboard.press("Enter")
    assert page.locator(".question:visible").all_inner_texts() == ["Where is it?"]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Earlier wording"


def test_nothing_in_both_drafts_or_in_an_edit_runs(
    desk: Callable[..., Any], visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = Recording("attack", events(chunk(said(ATTACK)), chunk({}, "stop")), [ATTACK], ["stop"])
    monkeypatch.setattr(upstreams, "RECORDINGS", [attack, *upstreams.RECORDINGS])
    page = visit(desk(model="attack", ask=1.0).running.url)
    drafts = two_answers(page)
    assert [draft.locator(".text").inner_text() for draft in drafts] == [ATTACK, ATTACK]
    page.get_by_role("button", name="Answer 1").click()
    page.get_by_text("your choice is kept").wait_for()
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Your message in other words").fill(ATTACK)
    page.keyboard.press("Enter")
    complete(page, 2)
    assert page.locator(".question:visible").inner_text() == ATTACK
    assert page.locator("#talk :is(img, script, a)").count() == 0
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_answers_stand_below_one_another_on_a_phone(
    scheme: str, desk: Callable[..., Any], visit: Callable[..., Any]
) -> None:
    page = visit(desk(model="openai-stream", ask=1.0).running.url, viewport=PHONE, color_scheme=scheme)
    first, second = (draft.bounding_box() for draft in two_answers(page))
    assert first["x"] == second["x"] and first["y"] + first["height"] <= second["y"]
    page.get_by_role("button", name="Edit").click()
    assert wide(page) == 0
    small = [box for box in (b.bounding_box() for b in page.locator("button:visible").all()) if box["height"] < 40]
    assert not small, "a thumb is larger than that"
