"""P(Hello) over the steps of training, for KTO and DPO of studies/contradiction.yaml under its first votes.

    python studies/contradiction_curve.py [--runs FOLDER] [--seeds 0 1 2] [--figure FILE] [--json FILE]

From the repository root. The runs are the study's, with a checkpoint every ten steps; each checkpoint is scored as the
study scores a model. What is finished in the folder is not run again. DPO's closed form is drawn beside its curves;
KTO's limit is 1.

Letters: S seeds, T scored steps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from prospect.atomic import write_json
from prospect.demo.base import load_base
from prospect.report.charts.figure_file import Curve, write_figure
from prospect.results.study import CellOutcome, StartOutcome
from prospect.run_dir import RunDir
from prospect.studies.outcome import World, make_world
from prospect.studies.plan import Cell, choose, make_cells
from prospect.studies.reading import load_study
from prospect.user_code import import_file
from prospect.verbs import compare

STUDY, SCRIPT = "studies/contradiction.yaml", "studies/contradiction.py"
METHODS, VOTES = ("kto beta 1", "kto beta 0.3", "dpo beta 1", "dpo beta 0.3"), "3 to 2"
EVERY = 10  # steps: nine points of ninety, of which most of the rise takes three
SETTINGS = (f"recipe.train.save_every={EVERY}", "recipe.train.keep_checkpoints=100", "keep_models=true")


def at_checkpoint(world: World, checkpoint: Path, cell: Cell) -> dict[str, float]:
    """Return the means of what the model of a checkpoint scores."""
    from safetensors.torch import load_file

    model, tokenizer = load_base()
    found = model.load_state_dict(load_file(checkpoint / "weights.safetensors"), strict=False)
    assert found.missing_keys in ([], ["lm_head.weight"]) and not found.unexpected_keys  # the head is tied
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        outcome = world.score(Path(folder), cell.shared, cell.seed)
    assert outcome is not None, "only the start may have no score"
    return means(outcome.scores)


def means(scores: dict[str, list[float]]) -> dict[str, float]:
    """Return the mean of each measure over the prompts."""
    return {name: sum(values) / len(values) for name, values in scores.items()}


def over_steps(world: World, cell: Cell) -> list[dict[str, Any]]:
    """Return a row for each scored step of a run, the start first."""
    end = cell.read()
    assert isinstance(end, CellOutcome), f"{cell} is not done"
    start = means(StartOutcome.read(cell.start_path).scores)
    at = {0: {**start, "kl": 0.0}}
    for checkpoint in RunDir(cell.run_path).checkpoints():
        at[int(checkpoint.name.removeprefix("step-"))] = at_checkpoint(world, checkpoint, cell)
    at[end.steps] = means(end.scores)
    return [
        {"method": cell.method, "votes": VOTES, "seed": cell.seed, "step": step, "p": one["score"], "kl": one["kl"]}
        for step, one in sorted(at.items())
    ]


def draw(path: Path, rows: list[dict[str, Any]], closed: dict[str, float]) -> None:
    """Write the figure: each method's mean over seeds, and the closed forms as lines."""
    curves = []
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        steps = sorted({row["step"] for row in own})
        p = [float(np.mean([row["p"] for row in own if row["step"] == step])) for step in steps]
        name = method.replace("beta", "β").replace("kto", "KTO").replace("dpo", "DPO")
        curves.append(Curve(name, np.array(steps), np.array(p)))
        if method in closed:
            curves.append(Curve(f"{name}, closed form", np.array(steps), np.full(len(steps), closed[method])))
    write_figure(
        path,
        curves,
        title="Three of five raters prefer “Hello”, the reference does not",
        x_label="step",
        y_label="P(Hello) to other customers",
    )


def main() -> None:
    """Run what is not there, score the checkpoints, print the mean over seeds, write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/studies/contradiction_curve"), help="where they lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write it there: SVG, PDF or PNG by suffix")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a row for each run and step there")
    options = parser.parse_args()
    overrides = [*SETTINGS, f"seeds={options.seeds}"]
    compare(STUDY, options.runs, only=[*METHODS, VOTES], overrides=overrides, jobs=1, say=_say)
    study = load_study(STUDY, overrides)
    world = make_world(study.world)
    cells = choose(study, make_cells(study, world, options.runs), [*METHODS, VOTES])
    rows = [row for cell in cells for row in over_steps(world, cell)]
    reference = StartOutcome.read(cells[0].start_path).scores["score"]
    minority = study.conditions[VOTES].minority
    closed = {
        name: form
        for name in METHODS
        if (form := import_file(Path(SCRIPT)).closed_form(study.methods[name].loss, minority, reference)) != 1.0
    }
    print("| step | " + " | ".join(METHODS) + " |\n|---|" + "---|" * len(METHODS))
    for step in sorted({row["step"] for row in rows}):
        at = [[row["p"] for row in rows if (row["method"], row["step"]) == (name, step)] for name in METHODS]
        print(f"| {step} | " + " | ".join(f"{100 * float(np.mean(values)):.1f}" for values in at) + " |")
    print("| closed form | " + " | ".join(f"{100 * closed.get(name, 1.0):.1f}" for name in METHODS) + " |")
    if options.figure:
        draw(options.figure, rows, closed)
    if options.json:
        write_json(options.json, rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
