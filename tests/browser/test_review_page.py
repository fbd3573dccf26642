"""The review page in a real browser: answers are judged with the keyboard, blind, and nothing foreign runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from browsers import ATTACK, PHONE, wide
from collecting import a_turn, a_vote, after, fill


def answer(page: Any) -> str:
    return str(page.locator("#answer .text").inner_text())


def signed_in(page: Any, name: str = "ada") -> Any:
    page.fill("#name", name)
    page.press("#name", "Enter")
    page.locator("#item").wait_for()
    return page


def said(page: Any, words: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#state")).to_contain_text(words, timeout=20_000)


def written(one: Any, *things: Any) -> None:
    with ThreadPoolExecutor(1) as thread:  # this one has the browser's event loop
        thread.submit(asyncio.run, fill(one.store, *things)).result()


def turns(one: Any, *texts: str) -> list[Any]:
    """Write turns with these answers, in the order in which they come."""
    made = [a_turn(id=f"{i:032x}", completion={"role": "assistant", "content": text}) for i, text in enumerate(texts)]
    written(one, *made)
    return made


def test_answers_are_judged_with_the_keyboard_and_blind(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk()
    first, _, _ = turns(one, "First.", "Second.", "Third.")
    written(one, a_vote(first, -1, reason="wrong", comment="It <b>is</b> not.", correction="Soon."))
    page = signed_in(visit(one.running.url + "/review"))
    assert answer(page) == "First." and page.locator("body").inner_text() != "m"
    assert page.locator("#votes").is_hidden() and "It <b>is</b> not." not in page.content()
    page.keyboard.press("1")
    said(page, "Your verdict is kept: good.")
    assert page.locator("#votes li").inner_text() == "Bad. Wrong: It <b>is</b> not.\nIt should have been: Soon."
    assert page.get_by_text("Good 1").get_attribute("aria-pressed") == "true"
    page.keyboard.press("2")
    said(page, "Your verdict is kept: bad.")
    page.keyboard.press("n")
    page.get_by_text("Second.").wait_for()
    page.keyboard.press("s")
    said(page, "Passed over")
    assert answer(page) == "Third."
    page.locator("#note").press_sequentially("1 2 s n")  # no keys of the page while somebody writes
    page.get_by_text("Bad 2").click()
    said(page, "Your verdict is kept: bad.")
    page.keyboard.press("Enter")  # the focus is on the next answer
    said(page, "Nothing waits here")
    assert one.rows("select turn, verdict, blind, note from review order by turn") == [
        (f"{0:032x}", -1, 1, None), (f"{1:032x}", 0, None, None), (f"{2:032x}", -1, -1, "1 2 s n"),
    ]  # fmt: skip
    assert one.rows("select count(*) from vote") == [(1,)]


def test_other_answers_are_chosen_and_agreement_is_shown(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk()
    _, second = turns(one, "First.", "Second.")
    written(one, a_vote(second, -1, reason="unsafe"))
    for name in ("ada", "bob"):
        page = signed_in(visit(one.running.url + "/review"), name)
        page.select_option("#strategy", "flagged")
        page.get_by_text("Second.").wait_for()
        page.keyboard.press("2")
        said(page, "Your verdict is kept")
    page.reload()
    signed_in(page, "carl")
    assert "Reviewers agree on 100 % (3 % to 100 %) of 1 answer; all verdicts" in page.locator("#progress").inner_text()
    assert "Flagged as unsafe or refused (0)" in page.locator("#strategy").inner_text()


def test_marked_words_and_personal_data_are_taken_out(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk()
    turns(one, "Zoe has written to me@example.org.")
    page = signed_in(visit(one.running.url + "/review"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.evaluate(
        "() => { const text = document.querySelector('#answer .text').firstChild;"
        "document.getSelection().setBaseAndExtent(text, 0, text, 3); }"
    )
    page.locator("#redacting summary").click()
    assert page.input_value("#words") == "Zoe"
    page.get_by_text("Replace", exact=True).click()
    said(page, "Replaced in 2 places.")
    assert answer(page) == "[REDACTED] has written to [EMAIL]."
    page.locator("#redacting summary").focus()  # with the keyboard alone
    for key in ("Enter", "Tab"):
        page.keyboard.press(key)
    page.keyboard.type("written")
    for key in ("Tab", "Enter"):
        page.keyboard.press(key)
    said(page, "Replaced in 1 place.")
    assert one.rows("select answer from turn") == [
        (b'{"role":"assistant","content":"[REDACTED] has [REDACTED] to [EMAIL]."}',)
    ]


def test_with_keys_the_page_asks_for_one_and_keeps_it_nowhere(
    desk: Callable[..., Any], visit: Callable[..., Any]
) -> None:
    one = desk(keys={"ada": ("main", ["review"])})
    turns(one, "First.")
    page = visit(one.running.url + "/review")
    assert page.locator("#name-label").is_hidden()
    page.fill("#key", one.secrets["ada"])
    page.press("#key", "Enter")
    page.get_by_text("First.").wait_for()
    page.keyboard.press("1")
    said(page, "Your verdict is kept")
    assert one.rows("select reviewer from review") == [("ada",)]
    assert one.secrets["ada"] not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")


def test_nothing_that_models_or_people_wrote_runs(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk()
    first = a_turn([{"role": ATTACK, "content": ATTACK}], {"role": "assistant", "content": ATTACK}, model=ATTACK)
    next_one = after(first, ATTACK, ATTACK)
    vote = a_vote(next_one, -1, "bob", reason="unsafe", comment=ATTACK, correction=ATTACK)
    written(one, first, next_one, vote)
    page = signed_in(visit(one.running.url + "/review"), ATTACK)
    with page.expect_response("**/v1/review/next"):
        page.select_option("#strategy", "flagged")
    page.locator(".said").nth(2).wait_for()
    page.fill("#note", ATTACK)
    page.get_by_text("Good 1").click()
    said(page, "Your verdict is kept")
    assert answer(page) == ATTACK and page.locator("#talk .words").first.inner_text() == ATTACK
    assert ATTACK in page.locator("#votes").inner_text()
    assert page.locator("main :is(img, script, a)").count() == 0 and page.evaluate("window.ran") is None
    assert one.rows("select reviewer, note from review") == [(ATTACK, ATTACK)]


def test_a_verdict_that_was_not_kept_is_not_shown(desk: Callable[..., Any], visit: Callable[..., Any]) -> None:
    one = desk()
    turns(one, "First.")
    page = signed_in(visit(one.running.url + "/review"))
    page.route("**/v1/review", lambda route: route.fulfill(status=503, body='{"error": {"message": "no disk"}}'))
    page.keyboard.press("1")
    said(page, "no disk")
    assert page.get_by_text("Good 1").get_attribute("aria-pressed") == "false"
    assert page.locator("#votes").is_hidden() and page.locator("#next").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    scheme: str, desk: Callable[..., Any], visit: Callable[..., Any]
) -> None:
    one = desk()
    turns(one, "no-spaces" * 60)
    page = signed_in(visit(one.running.url + "/review", viewport=PHONE, color_scheme=scheme))
    page.locator("#redacting summary").click()
    page.keyboard.press("2")
    said(page, "Your verdict is kept")
    assert wide(page) == 0
    small = [box for box in (b.bounding_box() for b in page.locator("button:visible").all()) if box["height"] < 40]
    assert not small, "a thumb is larger than that"
