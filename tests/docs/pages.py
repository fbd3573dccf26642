"""The Markdown files of the project, and what stands in them: blocks of code, links, headings.

A block's first line says what becomes of it:

    ```bash run           each command is run, in a folder with some feedback and a model (fixture `desk`)
    ```bash               each command is held against the real parser
    ```python run         executed there;  ```python file=NAME is written there;  ```python is compiled
    ```jsonl  ```csv      read as feedback;  ```jsonl refused must be refused
    ```yaml               checked as a part of a recipe
    ```text               left alone

The run blocks of one page share one folder, those of Python their names, and run in order.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from conftest import REPOSITORY

PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("recipes/*.md"))
)
RECIPES = sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("recipes/**/*.yaml"))


class Block(NamedTuple):
    """A fenced block of code."""

    page: str
    line: int
    language: str
    note: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def blocks_of(page: str) -> Iterator[Block]:
    first: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(read(page).splitlines(), start=1):
        if not line.startswith("```"):
            body.append(line)
        elif first is None:
            first, body = (number, line[3:].strip()), []
        else:
            language, _, note = first[1].partition(" ")
            yield Block(page, first[0], language, note.strip(), "\n".join(body) + "\n")
            first = None
    assert first is None, f"{page}:{first and first[0]}: the block of code is never closed"


def commands(text: str) -> list[list[str]]:
    """The words of each command of a shell block: comments gone, continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", read(page), flags=re.DOTALL | re.MULTILINE)


def links(page: str) -> list[str]:
    """Targets of the links of a page that stay inside the project."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: str) -> set[str]:
    """What `page#...` may be: the headings as they are turned into anchors."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")
