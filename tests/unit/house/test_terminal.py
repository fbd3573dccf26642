"""Text for people: nothing that was read from a file commands the terminal, and JSON stays JSON."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import prospect
from prospect.terminal import make_console, print_json, printable, say

EVIL = "a\x1b[31mred\x1b[0m \x9b2J \u202eright\u202c \x07 \x08 \r \x00 \x7f \ud800 end"
FORBIDDEN = {chr(code) for code in [*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F)]}


@given(st.text())
def test_printable_text_holds_no_control_character_and_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert not FORBIDDEN & set(shown)
    shown.encode()


def test_ordinary_text_of_any_script_is_left_as_it_is() -> None:
    for text in ("plain", "tab\tand\nline", "Größe 東京 مرحبا שלום 👩‍👩‍👧 naïve"):
        assert printable(text) == text


def test_an_escape_is_written_so_that_it_can_be_searched_for() -> None:
    assert printable("\x1b[31m\u202e") == "\\x1b[31m\\u202e"


def test_say_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    assert not FORBIDDEN & set(capsys.readouterr().err)


@pytest.mark.parametrize("where", ["text", "string", "cell", "heading", "title"])
def test_the_console_escapes_whatever_it_prints(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    table = Table(title=EVIL if where == "title" else None)
    table.add_column(EVIL if where == "heading" else "h")
    table.add_row(Text(EVIL) if where == "cell" else "x")
    printed: Any = {"text": Text(EVIL), "string": EVIL}.get(where, table)
    make_console().print(printed, markup=False)
    shown = out.getvalue()
    assert not FORBIDDEN & set(shown)
    assert "\\x1b[31mred" in shown.replace("\n", "")


def test_the_console_keeps_its_own_styles_where_it_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    text = Text("a\x1bb", style="bold")
    text.append("c", style="red")
    console = make_console()
    with console.capture() as capture:
        console.print(text)
    shown = capture.get()
    assert "\x1b[1mb\x1b[0m\x1b[1;31mc\x1b[0m" in shown
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "a\\x1bbc\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_is_the_same_value_in_any_encoding_of_stdout(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, raw = {"text": EVIL + " é"}, io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    print_json(value)
    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == value


def test_json_is_readable_where_stdout_can_hold_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "é"})
    assert capsys.readouterr().out == '{"text": "é"}\n'


def test_nothing_but_json_is_printed_without_being_escaped() -> None:
    """A bare print() of other things would bring back what this module is there against."""
    source = Path(prospect.__file__).parent
    bare = []
    for path in source.rglob("*.py"):
        if path.name in ("terminal.py", "progress.py"):  # progress: numbers and its own control characters
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                argument = ast.unparse(node.args[0]) if node.args else ""
                if not argument.startswith("json.dumps("):
                    bare.append(f"{path.relative_to(source)}:{node.lineno}")
    assert not bare, f"use prospect.terminal.say: {bare}"
