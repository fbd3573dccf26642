"""The committed studies: runs them, and puts their results on docs/studies.md.

    python benchmarks/studies.py [--only NAME ...] [--runs runs/studies] [--jobs N] [--json FILE] [--page-only]

A study is studies/NAME.yaml, and one of several worlds also studies/NAME_*.yaml. What is finished under `--runs` is not
run again. The page has a place for each file, between two comments, and one for what all of them show; what stands
there is replaced. Where a file has no runs there, what the page says of it stays, as long as it names the file's
protocol. `--json` writes the cells: of `contradiction` with their closed forms, of the others as
`prospect compare --csv` does; a list for one study, else a list for each.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prospect.atomic import write_json, write_text
from prospect.cli.main import main as prospect
from prospect.results.study import StartOutcome, StudyResult
from prospect.results.study_entries import Agrees
from prospect.results.study_rows import rows_of
from prospect.studies.markdown import as_markdown
from prospect.studies.reading import load_study
from prospect.studies.rules import in_full
from prospect.studies.trained import REFERENCE_POINT, VALUE_FUNCTION
from prospect.user_code import import_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies.md"


class About(NamedTuple):
    """Where a study stands on the page, and what its claim is about.

    Attributes:
        anchor: of the heading above its place.
        parts: of a method; where a cell cannot tell about one of them, the claim was not tested.
    """

    anchor: str
    parts: tuple[str, ...] = ()


STUDIES = {
    "contradiction": About("raters-who-contradict-each-other"),  # DPO may end near its reference: that is the claim
    "tuned": About("every-method-tuned"),
    "imbalance": About("imbalance-and-one-y-per-x"),
    "z0": About("the-reference-point", (REFERENCE_POINT, VALUE_FUNCTION)),
    "sft_first": About("sft-first-and-rambling"),
    "circles": About("noise-and-circles", (VALUE_FUNCTION,)),
    "chat_model": About("a-chat-model"),
    "real_feedback": About("real-feedback"),
}
Answer = Literal[Agrees, "not tested", "not run yet"]
HEADS: dict[Answer, str] = {
    "yes": "What shows",
    "no": "What does not show",
    "cannot tell": "What these studies cannot tell",
    "not tested": "What was not tested",
    "not run yet": "Not run yet",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(STUDIES), help="which; else all")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "studies", help="where the runs lie")
    parser.add_argument("--jobs", type=int, help="processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the cells there")
    parser.add_argument("--page-only", action="store_true", help="run nothing; show what there is")
    options = parser.parse_args()
    runs, names = options.runs.resolve(), options.only or list(STUDIES)
    file = options.json.resolve() if options.json else None
    os.chdir(ROOT)  # the studies name files from here, and their hashes hold the names
    files = {name: files_of(name) for name in STUDIES}
    for path in [path for name in names for path in files[name] if not options.page_only]:
        run(path, runs, options.jobs)
    every = [path for paths in files.values() for path in paths]
    there = {path: runs / path.stem / "result.json" for path in every}
    found = {path: StudyResult.read(result) for path, result in there.items() if result.exists()}
    page = PAGE.read_text(encoding="utf-8")
    kept = {path: line for path in every if path not in found and (line := standing(page, path))}
    for path in [path for path in every if path not in kept]:
        page = placed(page, path.stem, one_section(found[path], runs) if path in found else "Not run yet.\n")
    write_text(PAGE, placed(page, "overview", overview(files, found, kept)))
    if file is not None:
        results = {name: [found[path] for path in files[name] if path in found] for name in names}
        cells = {name: [row for one in results[name] for row in cells_of(one, runs)] for name in names}
        write_json(file, cells[names[0]] if len(names) == 1 else cells)


def files_of(name: str) -> list[Path]:
    """The study's files, from the root of the repository."""
    found = [path for path in (Path("studies", f"{name}.yaml"),) if path.exists()]
    found += sorted(Path("studies").glob(f"{name}_*.yaml"))
    if not found:
        print(f"SKIPPED: there is no studies/{name}.yaml", file=sys.stderr)
    return found


def run(path: Path, runs: Path, jobs: int | None) -> None:
    """Run a study; where it cannot be run, say so and let the others go on."""
    code = prospect(["compare", str(path), "-o", str(runs / path.stem), *(["--jobs", str(jobs)] if jobs else [])])
    if code:
        print(f"NOT COMPLETE: {path} ended with {code}", file=sys.stderr)


def cells_of(result: StudyResult, runs: Path) -> list[dict[str, Any]]:
    """The cells of a result as plain rows."""
    if result.name != "contradiction":
        return [{"study": result.name, **row} for row in rows_of(result)]
    start = StartOutcome.read(runs / result.name / "shared" / f"seed-{result.seeds[0]}" / "start.json")
    script = import_file(Path("studies", "contradiction.py"))
    return list(script.rows_of(result, start.scores["score"]))


def one_section(result: StudyResult, runs: Path) -> str:
    """The result, said to be that of a trial where it is; with closed forms where there are any."""
    trial = trial_of(result)
    parts = [f"**A trial run**, which decides nothing: {trial}.\n"] if trial else []
    parts.append(as_markdown(result))
    if result.name == "contradiction":
        parts.append("\n".join(closed_forms(cells_of(result, runs))) + "\n")
    return "\n".join(parts)


def closed_forms(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The table of what was found, the optimum beside it, and what was paid for it."""
    yield "| method | votes | P(Hello), % | closed form, % | KL, nats |\n|---|---|---|---|---|"
    for row in rows:
        form = "" if row["closed_form"] is None else f"{100 * row['closed_form']:.1f}"
        yield f"| {row['method']} | {row['votes']:g} | {100 * row['p']:.1f} | {form} | {row['kl']:.2f} |"


def trial_of(result: StudyResult) -> str:
    """Why a result is that of a trial run; empty for a final one."""
    if result.runs.done + result.runs.failed < result.runs.wanted:
        return f"{result.runs.done} of {result.runs.wanted} runs are done"
    committed = load_study(Path("studies", f"{result.name}.yaml")).protocol()
    return "" if result.protocol == committed else f"its protocol {result.protocol} is not {committed}, the file's"


def overview(files: dict[str, list[Path]], found: dict[Path, StudyResult], kept: dict[Path, tuple[Answer, str]]) -> str:
    """What shows, what does not, and what was not tested: one line for each file, under its claim's answer."""
    lines: dict[Answer, list[str]] = {answer: [] for answer in HEADS}
    for name, paths in files.items():
        for path in paths:
            about, result = STUDIES[name], found.get(path)
            if result is None:
                answer, text = kept.get(path, ("not run yet", f"[{path.stem}](#{about.anchor})"))
            elif trial := trial_of(result):
                answer, text = "not run yet", f"[{result.name}](#{about.anchor}), a trial run: {trial}"
            else:
                answer, text = answer_of(result, about)
            lines[answer].append(text)
    return "\n\n".join(_group(answer, texts) for answer, texts in lines.items()) + "\n"


def standing(page: str, path: Path) -> tuple[Answer, str] | None:
    """The answer and the line that the page has of a file; None where they are of another protocol than the file's."""
    study = load_study(path)
    if f"Protocol {study.protocol()}." not in place_of(path.stem, page)[1]:
        return None
    answer: Answer | None = None
    for line in place_of("overview", page)[1].splitlines():
        answer = next((head for head, words in HEADS.items() if line == f"**{words}**"), answer)
        if answer and line.startswith(f"- [{study.title}]("):
            return answer, line.removeprefix("- ")
    return None


def _group(answer: Answer, texts: Sequence[str]) -> str:
    if answer == "not run yet" or not texts:
        return f"**{HEADS[answer]}**: {'; '.join(texts) or 'nothing'}."
    return "\n".join([f"**{HEADS[answer]}**", "", *(f"- {text}" for text in texts)])


def answer_of(result: StudyResult, about: About) -> tuple[Answer, str]:
    """A claim's answer, and a line that says why."""
    claim = result.claim
    assert claim is not None, "every committed study has a claim"
    untested = [rule for rule in claim.rules if set(about.parts) & set(rule.not_tested)]
    tested = [rule for rule in claim.rules if rule not in untested]
    answer: Answer = claim.agrees
    if untested:
        answer = "no" if any(rule.agrees == "no" for rule in tested) else "not tested"
    deciding = untested if answer == "not tested" else [rule for rule in tested if rule.agrees == answer]
    answers = [rule.agrees for rule in tested]
    counts = f"{answers.count('yes')} of {len(claim.rules)} rules hold, {answers.count('no')} broken"
    why = sorted({part for rule in untested for part in rule.not_tested if part in about.parts})
    counts += f", {len(untested)} not tested ({', '.join(why)})" if untested else ""
    return answer, f"[{result.title}](#{about.anchor}): {claim.text}. {counts}; {in_full(deciding)}."


def placed(page: str, name: str, text: str) -> str:
    """The page with a place filled."""
    place = place_of(name, page)
    return f"{page[: place.start(1)]}\n{text}\n{page[place.end(1) :]}"


def place_of(name: str, page: str) -> re.Match[str]:
    """A file's place: what stands there is group 1."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", page, re.DOTALL)
    if found is None:
        raise SystemExit(f"the page has no place for {name}: two comments, <!-- {name} --> and <!-- end of {name} -->.")
    return found


if __name__ == "__main__":
    main()
