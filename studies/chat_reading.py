"""Answers of studies/chat_model.yaml to read: the start and every method side by side, as Markdown.

python studies/chat_reading.py runs/studies/chat_model [-o FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prospect.atomic import write_text
from prospect.results.study import CellOutcome, SeenExample, StartOutcome, StudyResult
from prospect.user_code import import_file

world = import_file(Path(__file__).with_name("chat_model.py"))


def side_by_side(title: str, answers: Mapping[str, Sequence[SeenExample]]) -> Iterator[str]:
    """Yield lines of Markdown: each question, with the answer of the start and of every method.

    Args:
        title: of the study.
        answers: by who gave them, to the same questions.
    """
    asked = [example.prompt for example in next(iter(answers.values()))]
    yield f"# {title}: {len(asked)} answers side by side\n"
    yield "The first held-out questions, one sample each at temperature 1 from runs of one seed. None was chosen.\n"
    for i, question in enumerate(asked):
        yield f"**{i + 1}. {question}**\n"
        for name, rows in answers.items():
            text = rows[i].completion
            kept = f"form {_mark(world.short_start(text))}, content {_mark(world.speaks_of_people(text))}"
            yield f"- *{name}* ({kept}): `{' '.join(text.split()).replace('`', chr(39))}`"
        yield ""


def read_answers(folder: Path, result: StudyResult) -> dict[str, Sequence[SeenExample]]:
    """Return what the start and every method that is done answered, with the first seed."""
    seed = result.seeds[0]
    start = StartOutcome.read(folder / "shared" / f"seed-{seed}" / "start.json")
    found: dict[str, Sequence[SeenExample]] = {"start": start.examples}
    for cell in result.cells:
        for run in cell.runs:
            if run.seed == seed and run.folder is not None:
                found[cell.method] = CellOutcome.read(folder / run.folder / "outcome.json").examples
    return found


def _mark(kept: bool) -> str:
    return "kept" if kept else "broken"


def main() -> None:
    """Write the reading sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the study's, as prospect compare wrote it")
    parser.add_argument("-o", "--output", type=Path, help="where to write; FOLDER/reading.md by default")
    options = parser.parse_args()
    result = StudyResult.read(options.folder / "result.json")
    lines = side_by_side(result.title, read_answers(options.folder, result))
    write_text(options.output or options.folder / "reading.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
