"""What a study can show, computed before it is run from the spread that a small trial of it found.

    python studies/power.py FOLDER --seeds N --prompts N [--power 0.8] [--level 0.95]

FOLDER is the trial's, as `prospect compare` wrote it, of two seeds or more. For each cell's difference from its
baseline: the smallest that a study of so many seeds and prompts would tell from 0 in `--power` of its repetitions. That
is also the smallest margin by which it would show that equal methods are not worse.

    error^2 = s_P^2 / prompts + s_S^2 / seeds       s_P^2: the trial's variance of the prompts' means, s_S^2: the seeds'

A trial of few seeds knows s_S^2 badly; its s_P^2 is rather too large, for it averages over fewer seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from prospect.results.study import CellOutcome, StudyCell, StudyResult
from prospect.studies.pooling import Pooled, pool


def planned(trial: Pooled, seeds: int, prompts: int) -> Pooled:
    """Return what a trial found as if it had come of another number of seeds and prompts."""
    (by_prompt, _), (by_seed, _) = trial.parts
    parts = (by_prompt * trial.prompts / prompts, prompts - 1), (by_seed * trial.seeds / seeds, seeds - 1)
    return replace(trial, parts=parts, n=seeds * prompts, prompts=prompts, seeds=seeds)


def differences(folder: Path) -> dict[str, Pooled]:
    """Return each cell's difference from the baseline, on the study's measure."""
    result = StudyResult.read(folder / "result.json")
    assert not isinstance(result.baseline, str), "the baseline is a cell"
    method, condition = result.baseline.method, result.baseline.condition
    cells = {(cell.method, cell.condition): cell for cell in result.cells if cell.estimates}
    found = {}
    for place, cell in cells.items():
        other = method or cell.method, condition or cell.condition
        if place != other:
            ours, theirs = (_scores(one, folder, result.primary) for one in (cell, cells[other]))
            rows = [[a - b for a, b in zip(*both, strict=True)] for both in zip(ours, theirs, strict=True)]
            found[", ".join(place)] = pool(rows)
    return found


def _scores(cell: StudyCell, folder: Path, measure: str) -> list[list[float]]:
    return [CellOutcome.read(folder / str(run.folder) / "outcome.json").scores[measure] for run in cell.runs]


def main() -> None:
    """Print a row for each difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the trial's")
    parser.add_argument("--seeds", type=int, required=True, help="of the study")
    parser.add_argument("--prompts", type=int, required=True, help="of the study")
    parser.add_argument("--power", type=float, default=0.8)
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals")
    options = parser.parse_args()
    print(f"| cell | trial | {options.power:.0%} power from |\n|---|---|---|")
    for name, trial in differences(options.folder).items():
        least = planned(trial, options.seeds, options.prompts).detectable(1 - options.level, options.power)
        print(f"| {name} | {trial.value:+.3f} | {least:.3f} |")


if __name__ == "__main__":
    main()
