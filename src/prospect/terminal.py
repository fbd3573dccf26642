"""Text for people on a terminal. What it quotes of a file never commands the terminal."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# All control characters of ASCII and Latin-1 but tab and line feed; line and paragraph separators; the characters that
# turn the direction of writing round; half characters.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return the text with characters that a terminal would obey written as `\x1b` or `\u202e`."""
    return text if text.isascii() and text.isprintable() else _UNSAFE.sub(_escape, text)


def say(text: object, to: TextIO | None = None, *, end: str = "\n") -> None:
    """Print a line for people, escaped; on stderr unless `to` names another stream."""
    print(printable(str(text)), end=end, file=to or sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a value on stdout as one line of JSON; beyond ASCII it is escaped only where stdout cannot encode it."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    print(text)  # noqa: T201


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console of Rich that escapes every text it prints, and styles none by itself."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

    class Escaping(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Any:
            if isinstance(renderable, str):
                renderable = printable(renderable)
            elif isinstance(renderable, Text) and _UNSAFE.search(renderable.plain):
                renderable = _escaped(renderable)
            yield from super().render(renderable, options)

    def _escaped(text: Text) -> Text:
        clean, position = text.blank_copy(), 0
        for match in _UNSAFE.finditer(text.plain):
            clean.append_text(text[position : match.start()])
            clean.append_text(text[match.start() : match.end()].blank_copy(_escape(match)))
            position = match.end()
        return clean.append_text(text[position:])

    return Escaping(stderr=stderr, quiet=quiet, highlight=False)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
