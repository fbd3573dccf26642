"""Pages on which people vote: which of two completions, texts or images, is better, or whether one is good."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect.atomic import write_text
from prospect.content_policy import source_hash
from prospect.errors import DataError
from prospect.evaluation.contest.judges.base import Candidate, Item, plain_text, text_key
from prospect.evaluation.contest.judges.prompt import DEFAULT_QUESTION, DEFAULT_RUBRIC
from prospect.feedback.images.looks import page_copy
from prospect.feedback.records import Completion, Image

UP, DOWN, SKIP = "up", "down", "skip"


class _Form(NamedTuple):
    """What a page asks about.

    Attributes:
        what: what one of its items is called.
        rubric: the question, unless another is given.
        sides: field of an item -> the heading above its text.
        votes: what a vote is in the file, "a" and "b" for the completion there -> the words on its button.
    """

    what: str
    rubric: str
    sides: Mapping[str, str]
    votes: Mapping[str, str]


_COMPARING = _Form(
    "Comparison",
    DEFAULT_RUBRIC,
    {"a": "Completion A", "b": "Completion B"},
    {"a": "A is better", "b": "B is better", "tie": "Equally good", SKIP: "Cannot say"},
)
_ONE = _Form(
    "Completion",
    DEFAULT_QUESTION,
    {"a": "Completion"},
    {UP: "Yes, thumbs up", DOWN: "No, thumbs down", SKIP: "Cannot say"},
)
_COMPARING_IMAGES = _COMPARING._replace(
    rubric="Which of the two images is better, and more of what the prompt asks for?",
    sides={"a": "Image A", "b": "Image B"},
)
_ONE_IMAGE = _ONE._replace(
    what="Image", rubric="Is the image good, and what the prompt asks for?", sides={"a": "Image"}
)


def write_page(
    items: Sequence[Item],
    path: str | Path,
    *,
    rubric: str | None = None,
    title: str = "Which is better?",
    seed: int = 0,
) -> int:
    """Write a page on which a person votes: one file that needs no server, no network and no other file.

    Comparisons come in an order drawn by the seed, so that those voted on first are a fair sample; which completion
    stands on the left is drawn for each of them. The page names no side, not even in its source. Votes stay in the
    browser until they are saved to a file, which `HumanJudge` reads.

    Args:
        items: comparisons. Identical completions are left out, for they tie; what comes twice is asked once.
        path: the .html file.
        rubric: the question, at the top of the page; None asks the usual one.
        title: of the browser's tab.
        seed: of the order and the sides.

    Returns:
        How many comparisons are on the page.

    Raises:
        DataError: there is nothing to compare.
    """
    distinct = {pair_key(item): item for item in items if not item.identical}
    if not distinct:
        raise DataError("there is nothing to vote on: no comparison has two different completions.")
    drawn = random.Random(f"prospect page {seed}")
    shown = sorted(distinct)  # so that the order of the items changes nothing
    drawn.shuffle(shown)
    rows = [_row(key, distinct[key], drawn.random() < 0.5) for key in shown]
    form = _COMPARING_IMAGES if isinstance(items[0].first, Image) else _COMPARING
    return _write(rows, path, rubric, title, form)


def write_thumbs_page(
    rows: Sequence[Candidate],
    path: str | Path,
    *,
    rubric: str | None = None,
    title: str = "Is it good?",
    seed: int = 0,
) -> int:
    """Write a page on which a person gives thumbs to single completions, as `write_page` writes one to compare them.

    Args:
        rows: completions; what comes twice is asked once.
        path: the .html file.
        rubric: the question, at the top of the page; None asks the usual one.
        title: of the browser's tab.
        seed: of the order.

    Returns:
        How many completions are on the page.

    Raises:
        DataError: there are none.
    """
    distinct = {text_key(*row.texts): row for row in rows}
    if not distinct:
        raise DataError("there is nothing to vote on: there are no completions.")
    shown = sorted(distinct)
    random.Random(f"prospect page {seed}").shuffle(shown)
    made = [
        {"key": key, "prompt": plain_text(distinct[key].prompt), "a": _shown(distinct[key].completion)} for key in shown
    ]
    return _write(made, path, rubric, title, _ONE_IMAGE if isinstance(rows[0].completion, Image) else _ONE)


def _write(rows: Sequence[Mapping[str, Any]], path: str | Path, rubric: str | None, title: str, form: _Form) -> int:
    rubric = rubric or form.rubric
    page = hashlib.blake2b(json.dumps([rubric, rows]).encode(), digest_size=6).hexdigest()
    write_text(Path(path).expanduser(), _render({"page": page, "items": rows}, rubric, title, form))
    return len(rows)


def pair_key(item: Item) -> str:
    """Return a key that does not depend on which completion comes first."""
    return text_key(item.prompt, *sorted((item.first, item.second), key=text_key))


def _row(key: str, item: Item, swapped: bool) -> dict[str, Any]:
    a, b = (item.second, item.first) if swapped else (item.first, item.second)
    return {
        "key": key,
        "prompt": plain_text(item.prompt),
        "a": _shown(a),
        "b": _shown(b),
        "a_key": text_key(a),
        "b_key": text_key(b),
    }


def _shown(completion: Completion) -> str | dict[str, str]:
    """Return a text, or the address of a copy of an image that holds nothing but its pixels."""
    if not isinstance(completion, Image):
        return plain_text(completion)
    copy = page_copy(completion, str(completion.path))
    return {"picture": f"data:image/webp;base64,{base64.b64encode(copy).decode()}"}


_SIDE = (
    '    <section aria-labelledby="{name}-title"><h2 id="{name}-title">{heading}</h2>'
    '<div class="text" id="{name}"></div></section>'
)
_VOTE = '  <button type="button" data-vote="{vote}" aria-pressed="false">{words} <kbd>{key}</kbd></button>'


def _render(data: Mapping[str, Any], rubric: str, title: str, form: _Form) -> str:
    """Return the page. Texts are in it as JSON without a <, and the page puts them on screen as text, never as HTML."""
    here = Path(__file__).parent
    style, script = ((here / f"human_page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    encoded = (
        json.dumps({**data, "what": form.what}).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )
    parts = {
        "TITLE": html.escape(title),
        "QUESTION": html.escape(rubric),
        "VOTED_ON": f"{form.what.lower()}s voted on",
        "SIDES": "\n".join(_SIDE.format(name=name, heading=heading) for name, heading in form.sides.items()),
        "VOTES": "\n".join(
            _VOTE.format(vote=vote, words=words, key=key) for key, (vote, words) in enumerate(form.votes.items(), 1)
        ),
        "DATA": encoded,
        "STYLE": style,
        "SCRIPT": script,
        "STYLE_HASH": source_hash(style),
        "SCRIPT_HASH": source_hash(script),
    }
    page = (here / "human_page.html").read_text(encoding="utf-8")
    return re.sub(r"@@([A-Z_]+)@@", lambda mark: parts[mark[1]], page)  # one pass: nothing in a text is filled in again
