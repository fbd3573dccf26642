"""The documentation agrees with the code and with itself."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pages import PAGES, RECIPES, anchors, links, read

import prospect
from conftest import REPOSITORY
from prospect.cli.main import VERBS
from prospect.config import load_config
from prospect.losses import all_losses, get_loss


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", REPOSITORY / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date() -> None:
    pages = generator().pages()
    assert [name for name, text in pages.items() if text != read(f"docs/{name}")] == [], "out of date: run make docs"
    schemas = {path.relative_to(REPOSITORY / "docs").as_posix() for path in REPOSITORY.glob("docs/schemas/*")}
    assert schemas == {name for name in pages if name.startswith("schemas/")}
    named = "".join(
        read(f"docs/{page}.md")
        for page in ("run-directory", "evaluating", "comparing", "report", "promotion", "serve-it")
    )
    assert [name for name in sorted(schemas) if f"({name})" not in named] == [], "on no page"


def test_every_command_is_on_the_page_of_commands() -> None:
    page = read("docs/commands.md")
    assert not [verb for verb in VERBS if f"## `prospect {verb}`" not in page]


@pytest.mark.parametrize("name", sorted(all_losses()))
def test_every_loss_has_a_page_that_names_its_settings(name: str) -> None:
    page = read(f"docs/losses/{name}.md")
    loss = get_loss(name)
    assert page.startswith(f"# {name}\n")
    assert not [setting for setting in loss.hyperparameters if f"`{setting}`" not in page]
    rate = f"{loss.learning_rate:.0e}".replace("e-0", "e-")
    assert re.search(rf"`train.learning_rate` \| {rate} ", page), f"the page should give the default, {rate}"
    assert f"losses/{name}.md" in read("docs/index.md")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_loads(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = load_config(recipe)
    get_loss(config.loss.name).check(config.loss.hyperparameters)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / file if file else REPOSITORY / page
        assert target.exists(), f"{page}: {link} leads nowhere"
        if anchor:
            inside = Path(target).resolve().relative_to(REPOSITORY).as_posix()
            assert anchor in anchors(inside), f"{page}: {inside} has no heading #{anchor}"


def test_every_page_can_be_reached_from_the_index() -> None:
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert not pages - {"index.md", *(link.partition("#")[0] for link in links("docs/index.md"))}


def test_the_file_map_of_the_readme_names_every_folder() -> None:
    package = REPOSITORY / "src" / "prospect"
    folders = [path.parent.name for path in package.glob("*/__init__.py")]
    assert not [folder for folder in folders if f"`{folder}/`" not in read("README.md")]


def test_what_the_page_on_reproducibility_rests_on_is_tested() -> None:
    lines = read("docs/reproducibility.md").splitlines()
    folder, named = "", 0
    for line in lines:
        place = re.search(r"`(tests/[\w/]+\.py)`", line)
        folder = place[1] if place else folder
        for name in re.findall(r"`(test_\w+)`", line):
            assert f"def {name}(" in read(folder), f"{folder} has no {name}"
            named += 1
    assert named >= 9


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == prospect.__version__
    assert f"## [{prospect.__version__}]" in read("CHANGELOG.md")


def test_the_constraints_pin_what_the_project_requires() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    for requirement in map(Requirement, listed):
        if requirement.name == project["name"]:
            continue  # an extra that takes others in
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement}, and constraints.txt has {version}"
    assert "+" not in pins["torch"]
