"""What people do on the chat page, and what is looked at."""

from __future__ import annotations

from typing import Any


def ask(page: Any, text: str) -> Any:
    """Ask with the keyboard, and return the answer once it is complete."""
    count = page.locator("article").count()
    page.fill("#question", text)
    page.press("#question", "Enter")
    return complete(page, count)


def complete(page: Any, place: int) -> Any:
    from playwright.sync_api import expect

    answer = page.locator("article").nth(place)
    expect(answer).to_have_attribute("aria-busy", "false", timeout=20_000)
    return answer


def kept(answer: Any, words: str) -> None:
    from playwright.sync_api import expect

    expect(answer.locator(".kept")).to_contain_text(words, timeout=20_000)
