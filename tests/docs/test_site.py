"""The site of the documentation is built without a complaint, and what its pages name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from pages import PAGES, read

import build_site
import prospect


class _Config(yaml.SafeLoader):
    """mkdocs.yml names a function by a tag."""


_Config.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def entries(nav: Any) -> Iterator[str]:
    for entry in nav:
        (value,) = entry.values()
        yield from entries(value) if isinstance(value, list) else [value]


def test_the_navigation_has_every_page_once() -> None:
    listed = sorted(entries(yaml.load(read("mkdocs.yml"), _Config)["nav"]))
    taken_in = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
    assert listed == sorted(taken_in + [page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")])


def test_every_public_name_is_on_the_page_of_python() -> None:
    names = re.findall(r"^<!-- api: prospect\.(\w+) -->$", read("docs/api.md"), flags=re.MULTILINE)
    assert {*names, "__version__"} == set(prospect.__all__)


def test_a_page_is_changed_for_the_site_where_it_must_be_and_nowhere_else() -> None:
    page = (
        "See [a recipe](../../recipes/kto.yaml), [concepts](../concepts.md#one-step) and [there](https://example.org/a).\n"
        "| `--kind a\\|b` | a \\| b |\n\n```python file=own.py\nrun(  )\nx = '[a](../b.md)'\n```\n\n"
        "```bash run\nls\n```\n"
    )
    text, linked = build_site.site_page("docs/losses/kto.md", page)
    assert linked == {"recipes/kto.yaml", "docs/concepts.md"}
    assert text == (
        "See [a recipe](../recipes/kto.yaml), [concepts](../concepts.md#one-step) and [there](https://example.org/a).\n"
        "| `--kind a|b` | a \\| b |\n\n``` {.python title=\"own.py\"}\nrun(  )\nx = '[a](../b.md)'\n```\n\n"
        "``` {.bash .wrap}\nls\n```\n"
    )


def test_a_picture_with_a_dark_and_a_narrow_version_becomes_one_for_each_scheme() -> None:
    page = (
        '<picture>\n  <source media="(prefers-color-scheme: dark) and (max-width: 600px)" srcset="dark-narrow.webp">\n'
        '  <source media="(max-width: 600px)" srcset="narrow.webp">\n'
        '  <source media="(prefers-color-scheme: dark)" srcset="dark.webp">\n'
        '  <img src="light.webp" alt="A.">\n</picture>'
    )
    assert build_site.site_page("docs/index.md", page)[0] == (
        '<picture><source media="(max-width: 600px)" srcset="narrow.webp"><img src="light.webp#only-light" alt="A.">'
        '</picture>\n<picture><source media="(max-width: 600px)" srcset="dark-narrow.webp">'
        '<img src="dark.webp#only-dark" alt="A."></picture>'
    )


class Named(HTMLParser):
    """What a page loads, what it links, and what it can be entered at."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.links: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.ids.add(values.get("id", ""))
        self.loads |= {values[name] for name in ("src", "srcset") if name in values}
        if "href" in values:
            (self.links if tag == "a" else self.loads).add(values["href"])


@pytest.mark.slow
def test_the_site_is_built_strictly_and_asks_no_other_server(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert build_site.build(site) == 0
    pages: dict[Path, Named] = {}
    for file in sorted(site.rglob("*.html")):
        pages[file] = Named()
        pages[file].feed(file.read_text(encoding="utf-8"))
    assert len(pages) > 80
    for file, page in pages.items():
        if file.name == "404.html":
            continue  # its addresses begin at the root of the server
        assert not [address for address in page.loads if re.match(r"(\w+:)?//", address)], file
        for address in page.loads | page.links:
            if re.match(r"\w+:", address):
                continue
            name, _, anchor = address.partition("#")
            target = (file.parent / unquote(name)).resolve() if name else file
            assert target.exists(), f"{file.name}: {address} leads nowhere"
            if anchor and target in pages:
                assert unquote(anchor) in pages[target].ids, f"{file.name}: {address} leads nowhere on that page"
    shown = (site / "api.html").read_text(encoding="utf-8")
    assert "prospect.load_feedback" in shown and "Return the records of a source, in its order." in shown
    assert "&lt;!-- api" not in shown and "<!-- api" not in shown
