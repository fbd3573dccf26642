"""GET /review: the page on which people review answers. It is the same for everybody, and holds no data."""

from __future__ import annotations

from starlette.responses import Response

from prospect.collect.limits import MOST_COMMENT
from prospect.collect.pages.chat import BYTES, REASON_WORDS
from prospect.collect.pages.page import page
from prospect.collect.review import FEW_VOTES, Strategy

STRATEGY_WORDS: dict[Strategy, str] = {
    "random": "Drawn at random",
    "disagreement": "People disagree",
    "new_raters": f"Votes of new raters (fewer than {FEW_VOTES})",
    "margin": "The policy is unsure",
    "flagged": "Flagged as unsafe or refused",
}


async def review_page() -> Response:
    """Return the page."""
    return page(
        "review.html.j2",
        script="review.js",
        strategies=STRATEGY_WORDS,
        reasons=REASON_WORDS,
        longest_note=MOST_COMMENT // BYTES,
    )
