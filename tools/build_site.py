"""Builds the site of the documentation: `python tools/build_site.py [--output DIR]`, or `make site`.

The pages in docs/ are written to be read where the repository is shown. A copy of them is changed for the site, and
built strictly by mkdocs.yml. Files outside docs/ that a page links are taken in. A picture with a dark version becomes
two. A pipe in the code of a table loses its backslash. What a block of code says to the tests is left out.
`<!-- api: prospect.NAME -->` becomes that name's docstring.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"

_CODE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
_OPENING = re.compile(r"\A( *```)(\w+)(?: file=(\S+)| .*)?$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PICTURE = re.compile(r"<picture>.*?</picture>", re.DOTALL)
_SOURCE = re.compile(r'<source media="([^"]+)" srcset="([^"]+)">')
_DARK = "(prefers-color-scheme: dark)"
_CELLS = re.compile(r"^\|.*\|$", re.MULTILINE)
_DOCSTRING = re.compile(r"^<!-- api: (\S+) -->$", re.MULTILINE)


def main() -> int:
    """Build the site."""
    parser = argparse.ArgumentParser(description="Build the site of the documentation.")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "site", help="a folder (default site/)")
    output = parser.parse_args().output
    if output.exists() and not (output / "404.html").exists():
        parser.error(f"{output} holds something else than a site, which would be lost. Name another folder.")
    return build(output)


def build(output: Path) -> int:
    """Write the site and return 0, or say what is wrong with a page and return another number.

    Args:
        output: the folder; what it held is replaced.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copy(REPOSITORY / "mkdocs.yml", work)
        write_pages(work / "pages")
        code = subprocess.call([sys.executable, "-m", "zensical", "build", "--strict"], cwd=work)
        if code == 0:
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(work / "site", output)
    return code


def write_pages(folder: Path) -> None:
    """Write the pages of the site, and the files that they link.

    Args:
        folder: where; it must not exist.
    """
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    waiting = [path.relative_to(REPOSITORY).as_posix() for path in DOCS.rglob("*.md")]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        text, linked = site_page(page, (REPOSITORY / page).read_text(encoding="utf-8"))
        (folder / place_of(page)).write_text(text, encoding="utf-8")
        for file in linked - seen:
            if file.endswith(".md"):
                waiting.append(file)
            elif not file.startswith("docs/"):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(REPOSITORY / file, folder / file)
        seen |= linked


def place_of(file: str) -> str:
    """Return where a file of the repository is on the site."""
    return file.removeprefix("docs/")


def site_page(page: str, text: str) -> tuple[str, set[str]]:
    """Return a page as the site has it, and the files of the repository that it links.

    Args:
        page: its path in the repository.
        text: what it says there.
    """
    linked: set[str] = set()

    def link(match: re.Match[str]) -> str:
        file, mark, anchor = match[1].partition("#")
        if not file or re.match(r"[a-z]+:", file):
            return match[0]
        target = os.path.normpath(PurePosixPath(page).parent / file)
        linked.add(target)
        return f"]({os.path.relpath(place_of(target), PurePosixPath(place_of(page)).parent)}{mark}{anchor})"

    parts = _CODE.split(text)
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = _OPENING.sub(partial(_opening, wraps=part.count("\n") == 2), part)
        else:
            part = _PICTURE.sub(_by_scheme, _LINK.sub(link, part))
            part = _CELLS.sub(lambda row: re.sub(r"`[^`]+`", _unescaped, row[0]), part)
            parts[number] = _DOCSTRING.sub(r"::: \1\n    options:\n      heading: \1\n", part)
    return "".join(parts), linked


def _by_scheme(found: re.Match[str]) -> str:
    """Return a picture with dark versions as two, of which the site shows that of the scheme that a reader chose."""
    sources = dict(_SOURCE.findall(found[0]))
    image = re.search(r'<img src="([^"]+)" alt="([^"]+)">', found[0])
    assert image is not None, found[0]
    wide = {"light": image[1], "dark": sources.pop(_DARK, image[1])}
    narrow: dict[str, list[str]] = {"light": [], "dark": []}
    for media, place in sources.items():
        scheme = "dark" if _DARK in media else "light"
        narrow[scheme].append(f'<source media="{media.removeprefix(f"{_DARK} and ")}" srcset="{place}">')
    pictures = [
        f'<picture>{"".join(narrow[scheme])}<img src="{place}#only-{scheme}" alt="{image[2]}"></picture>'
        for scheme, place in wide.items()
    ]
    return "\n".join(pictures)


def _opening(found: re.Match[str], *, wraps: bool) -> str:
    """Return the first line of a block of code; commands, and a single long line, are wrapped and not scrolled."""
    before, language, file = found.groups()
    wrap = " .wrap" if wraps or language == "bash" else ""
    title = f' title="{file}"' if file else ""
    return f"{before} {{.{language}{wrap}{title}}}"


def _unescaped(code: re.Match[str]) -> str:
    return code[0].replace("\\|", "|")


if __name__ == "__main__":
    sys.exit(main())
