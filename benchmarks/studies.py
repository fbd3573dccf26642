"""The committed studies: runs them, and puts their results on docs/studies.md.

    python benchmarks/studies.py [--runs runs/studies] [--jobs N] [NAME ...]

What is finished under `--runs` is not run again. The page keeps a place for each study, between two comments; what
stands there is replaced by what `prospect compare` printed. Run it from the repository root; `stories` needs the folder
`../shared` and vaderSentiment (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from prospect.atomic import write_text
from prospect.cli.main import main as prospect
from prospect.evaluation.studies.markdown import as_markdown

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
            result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            write_text(PAGE, placed(PAGE.read_text(encoding="utf-8"), name, as_markdown(result)))
            print(f"{name}: {result['claim']['agrees']}", file=sys.stderr)


def placed(page: str, name: str, text: str) -> str:
    """The page with a study's place filled."""
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not place.search(page):
        raise SystemExit(f"{PAGE} has no place for {name}: two comments, <!-- {name} --> and <!-- end of {name} -->.")
    return place.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page)


if __name__ == "__main__":
    main()
