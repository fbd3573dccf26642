"""GET /: the page on which people chat and vote. It is the same for everybody, and holds no data."""

from __future__ import annotations

from starlette.responses import Response

from prospect.collect.limits import MOST_COMMENT, MOST_CORRECTION
from prospect.collect.pages.page import page

REASON_WORDS = {
    "not_followed": "Did not do what I asked",
    "wrong": "Wrong",
    "style": "Style",
    "refused": "Refused without cause",
    "unsafe": "Unsafe",
    "too_long": "Too long",
    "other": "Something else",
}
BYTES = 3  # of a UTF-16 unit in UTF-8, at most: browsers count units


async def chat_page() -> Response:
    """Return the page."""
    return page(
        "chat.html.j2",
        script="network.js answers.js branches.js chat.js",
        reasons=REASON_WORDS,
        longest_comment=MOST_COMMENT // BYTES,
        longest_correction=MOST_CORRECTION // BYTES,
    )
