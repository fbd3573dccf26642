"""The committed studies: runs them, and puts their results on docs/studies.md.

    python benchmarks/studies.py [--runs runs/studies] [--jobs N] [NAME ...]

What is finished under `--runs` is not run again. The page keeps a place for each study, between two comments; what
stands there is replaced by what `prospect compare` printed. Run it from the repository root; `stories` needs the folder
`../shared` and vaderSentiment (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from prospect.atomic import write_text
from prospect.cli.main import main as prospect
from prospect.results.study import StudyResult
from prospect.studies.markdown import as_markdown

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies.md"
STUDIES = ("sft_first", "one_y_per_x", "ablations", "imbalance", "sweeps", "noise", "stories")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(STUDIES), help="which; all of them by default")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "studies", help="where the runs lie")
    parser.add_argument("--jobs", type=int, help="processes")
    parser.add_argument("--page-only", action="store_true", help="run nothing; show what there is")
    options = parser.parse_args()
    for name in options.names:
        folder = options.runs / name
        if not options.page_only:
            jobs = ["--jobs", str(options.jobs)] if options.jobs else []
            prospect(["compare", str(ROOT / "studies" / f"{name}.yaml"), "-o", str(folder), *jobs])
        if (folder / "result.json").exists():
            result = StudyResult.read(folder / "result.json")
            write_text(PAGE, placed(PAGE.read_text(encoding="utf-8"), name, as_markdown(result)))
            assert result.claim is not None, "every committed study has a claim"
            print(f"{name}: {result.claim.agrees}", file=sys.stderr)
    found = [path for name in STUDIES if (path := options.runs / name / "result.json").exists()]
    overview = at_a_glance([StudyResult.read(path) for path in found])
    write_text(PAGE, placed(PAGE.read_text(encoding="utf-8"), "overview", overview))


def at_a_glance(results: list[StudyResult]) -> str:
    """One row for each study."""
    lines = [
        "| study | claim | agrees | rules that hold, are broken, of | runs | computing, min |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        assert result.claim is not None, "every committed study has a claim"
        answers = [rule.agrees for rule in result.claim.rules]
        counts = f"{answers.count('yes')}, {answers.count('no')}, {len(answers)}"
        lines.append(
            f"| {result.title} | {result.claim.text} | **{result.claim.agrees}** | {counts} "
            f"| {result.runs.done} | {result.seconds / 60:.0f} |"
        )
    return "\n".join(lines)


def placed(page: str, name: str, text: str) -> str:
    """The page with a study's place filled."""
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not place.search(page):
        raise SystemExit(f"the page has no place for {name}: two comments, <!-- {name} --> and <!-- end of {name} -->.")
    return place.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page)


if __name__ == "__main__":
    main()
