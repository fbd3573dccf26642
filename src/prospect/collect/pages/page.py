"""Templates to responses: style and script are in the page, and its policy lets nothing else run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from prospect.content_policy import source_hash

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent


def page(template: str, *, script: str = "", **values: Any) -> Response:
    """Return a page; all text in `values` is escaped.

    Args:
        template: its file.
        script: the files of its script, with spaces between them; a page without one runs none.
        values: what the template shows.
    """
    style, code = _read("page.css"), "".join(map(_read, script.split()))
    text = _environment().get_template(template).render(style=style, script=code, **values)
    policy = ["default-src 'none'", f"style-src '{source_hash(style)}'", "img-src data:", "base-uri 'none'"]
    policy += ["form-action 'none'", "frame-ancestors 'none'"]
    if script:
        policy += [f"script-src '{source_hash(code)}'", "connect-src 'self'"]
    return Response(text, headers={"content-security-policy": "; ".join(policy)}, media_type="text/html")


@cache
def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
