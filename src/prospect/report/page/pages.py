"""Templates to pages: one visual language, one style sheet, nothing loaded from anywhere."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# What no page can show, or what would turn a line round: control characters but tab and line feed, the characters that
# embed, override or isolate a direction of writing, and halves of characters.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_PAGES = ("run", "data", "comparison", "rounds")  # each keeps its template beside what fills it


def render_page(template: str, **values: Any) -> str:
    """Return the page that a template makes of `values`; all text is escaped, what no page can show replaced."""
    text = _environment().get_template(template).render(**values)
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader([Path(__file__).parent, *(Path(__file__).parent.parent / page for page in _PAGES)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
