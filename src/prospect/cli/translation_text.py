"""What `prospect translate` says of a translation, key by key."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prospect.recipe_text import in_yaml
from prospect.terminal import make_console
from prospect.translate.translation import Entry, Translation, shown

_TITLES = {
    "carried": "carried over",
    "assumed": "its defaults, where ours are others",
    "not here": "not here",
    "needless": "nothing to set",
    "unknown": "unknown, and left out",
}


def print_translation(made: Translation) -> None:
    """Print on stderr what became of each key, and what is to be filled in."""
    console = make_console(stderr=True)
    console.print(Text(f"{made.tool.title} -> {made.settings['loss.name']}", style="bold"))
    for fate, title in _TITLES.items():
        _print_entries(console, title, [entry for entry in made.entries if entry.fate == fate])
    for key in made.missing:
        console.print(f"{key}: the config does not name it; {made.settings[key]} stands there until you do")


def _print_entries(console: Console, title: str, entries: list[Entry]) -> None:
    if not entries:
        return
    console.print(Text(f"\n{title}", style="bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column(ratio=2)
    table.add_column(ratio=3)
    for entry in entries:
        theirs = _lines(f"{key}: {shown(key, value)}" for key, value in entry.keys.items())
        ours = Text(_lines(f"{key}: {in_yaml(value)}" for key, value in entry.settings.items()))
        if entry.note:
            ours.append(("\n" if entry.settings else "") + entry.note, style="dim" if entry.settings else "")
        table.add_row(Text(theirs), ours)
    console.print(table)


def _lines(words: Iterable[str]) -> str:
    return "\n".join(words)
