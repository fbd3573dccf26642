from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; a page needs a browser")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium is installed; a page needs one to be looked at")

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; at the end no script of it has failed, and none was stopped by the policy."""
    contexts, wrong = [], []

    def visit(url: str, **how: Any) -> Any:
        contexts.append(chromium.new_context(**how))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not wrong
