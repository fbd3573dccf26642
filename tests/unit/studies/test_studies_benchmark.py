"""The page of the committed studies: what stands above it, and what is a trial."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_study import PaperWorld, study, write

from conftest import REPOSITORY
from prospect.results.study import StudyResult
from prospect.studies.plan import make_cells
from prospect.studies.table import make_result
from prospect.studies.trained import VALUE_FUNCTION
from prospect.user_code import import_file

script = import_file(REPOSITORY / "benchmarks" / "studies.py")
HIGHER = {"left": "kto", "right": "dpo", "must_be": "higher", "under": "clean"}


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commits a study and gives the result of its runs."""
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()

    def run(kto: float, magnitude: float = 0.8, done: bool = True, **other: Any) -> StudyResult:
        one = study(title="Small", claim={"text": "KTO wins", "source": "s", "rules": [HIGHER]})
        Path("studies", "small.yaml").write_text(
            yaml.safe_dump(one.model_dump(mode="json", exclude_unset=True) | other)
        )
        cells = make_cells(one, PaperWorld({}), tmp_path / f"runs-{kto}-{magnitude}")
        places = [*one.cells()] if done else one.cells()[:2]
        write(cells, {place: kto if place[0] == "kto" else 0.5 for place in places})
        for path in tmp_path.rglob("outcome.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"reward_magnitude": magnitude}))
        return make_result(one, PaperWorld({}), cells, "studies/small.yaml")

    return run


EMPTY = "<!-- small -->\n<!-- end of small -->\n<!-- overview -->\n<!-- end of overview -->\n"


def page_of(result: StudyResult | None, monkeypatch: pytest.MonkeyPatch, before: str = EMPTY) -> str:
    """A page of one study, as the script writes it from a result, or from none."""
    monkeypatch.setattr(script, "STUDIES", {"small": script.About("small-models", (VALUE_FUNCTION,))})
    Path("page.md").write_text(before)
    monkeypatch.setattr(script, "ROOT", Path())
    monkeypatch.setattr(script, "PAGE", Path("page.md"))
    if result is not None:
        Path("runs", "small").mkdir(parents=True)
        result.write(Path("runs", "small", "result.json"))
    monkeypatch.setattr(sys, "argv", ["studies.py", "--page-only", "--runs", "runs"])
    script.main()
    shutil.rmtree("runs", ignore_errors=True)
    return Path("page.md").read_text()


def lines(page: str) -> dict[str, str]:
    """Head to what stands under it."""
    text = "\n".join(script.place_of("overview", page)[1].strip().split("\n\n"))
    heads = list(script.HEADS.values())
    at = [text.index(f"**{head}**") for head in heads] + [len(text)]
    return {head: text[at[i] + len(head) + 4 : at[i + 1]].strip() for i, head in enumerate(heads)}


@pytest.mark.parametrize(
    ("run", "head", "says"),
    [
        (
            {"kto": 0.9},
            "What shows",
            "- [Small](#small-models): KTO wins. 1 of 1 rules hold, 0 broken; passes",
        ),
        ({"kto": 0.1}, "What does not show", "0 of 1 rules hold, 1 broken"),
        ({"kto": 0.5}, "What these studies cannot tell", "0 of 1 rules hold, 0 broken"),
        ({"kto": 0.9, "magnitude": 0.2}, "What was not tested", "1 not tested (value function not exercised)"),
        ({"kto": 0.9, "done": False}, "Not run yet", "a trial run: 6 of 12 runs are done"),
        ({"kto": 0.9, "seeds": [0, 1]}, "Not run yet", "a trial run: its protocol "),
    ],
)
def test_a_claim_stands_under_its_answer_and_under_no_other(
    run: dict[str, Any], head: str, says: str, committed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = lines(page_of(committed(**run), monkeypatch))
    assert says in found.pop(head)
    assert set(found.values()) == {": nothing."}


def test_a_file_without_runs_is_named_and_one_of_a_known_protocol_stays(
    committed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = committed(0.9)
    empty = page_of(None, monkeypatch)
    assert lines(empty)["Not run yet"] == ": [small](#small-models)." and "Not run yet.\n\n<!-- end" in empty
    page = page_of(result, monkeypatch)
    assert page_of(None, monkeypatch, page) == page
    committed(0.8, seeds=[0, 1])
    assert page_of(None, monkeypatch, page) == empty


def test_a_trial_is_called_one_above_its_table(committed: Any) -> None:
    assert script.one_section(committed(0.9), Path()).startswith("**Small**")
    trial = script.one_section(committed(0.8, done=False), Path())
    assert trial.startswith("**A trial run**, which decides nothing: 6 of 12 runs are done.\n\n**Small**")


def test_every_file_has_its_place_under_its_heading(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "studies.md").read_text(encoding="utf-8")
    monkeypatch.chdir(REPOSITORY)
    for name, about in script.STUDIES.items():
        for path in script.files_of(name):
            before = page[: script.place_of(path.stem, page).start()]
            heading = before[before.rindex("\n## ") + 4 :].splitlines()[0]
            assert heading.lower().replace(" ", "-") == about.anchor
    assert script.placed("<!-- a -->\nold\n<!-- end of a -->", "a", "new") == "<!-- a -->\n\nnew\n<!-- end of a -->"
    with pytest.raises(SystemExit, match="no place for b"):
        script.placed("", "b", "new")
