"""P(Hello) over the steps of training, for KTO and DPO of studies/contradiction.yaml under its first votes.

    python studies/contradiction_curve.py [--runs FOLDER] [--seeds 0 1 2] [--figure FILE] [--json FILE]

From the repository root. The runs are the study's, with a checkpoint every ten steps, each of which is scored. What is
finished in the folder is not run again. DPO's closed form is drawn beside its curves; KTO's limit is 1.

It is a file of its own because the bytes of contradiction.py are a part of the study's protocol.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from prospect.atomic import write_json
from prospect.demo.base import load_base
from prospect.demo.world import held_out_prompts
from prospect.report.charts.figure_file import Curve, write_figure
from prospect.results.study import CellOutcome, StartOutcome
from prospect.run_dir import RunDir
from prospect.studies.outcome import make_world
from prospect.studies.plan import Cell, choose, make_cells
from prospect.studies.reading import load_study
from prospect.user_code import import_file
from prospect.verbs.comparing import compare

GREETING = "Hello"
STUDY, SCRIPT = "studies/contradiction.yaml", "studies/contradiction.py"
METHODS, VOTES = ("kto beta 1", "kto beta 0.3", "dpo beta 1", "dpo beta 0.3"), "3 to 2"
EVERY = 10  # steps: ten points of ninety, the start with them
SETTINGS = (f"recipe.train.save_every={EVERY}", "recipe.train.keep_checkpoints=100", "keep_models=true")


def over_steps(cell: Cell, base: tuple[Any, Any], held_out: int) -> list[dict[str, Any]]:
    """Return a row for each scored step of a run; the first and the last are the study's own scores."""
    from safetensors.torch import load_file

    end = cell.read()
    assert isinstance(end, CellOutcome), f"{cell} is not done"
    model, tokenizer = base
    at = {0: StartOutcome.read(cell.start_path).scores["score"], end.steps: end.scores["score"]}
    for checkpoint in RunDir(cell.run_path).checkpoints():
        step = int(checkpoint.name.removeprefix("step-"))
        if step % EVERY:  # of a run that was stopped there
            continue
        found = model.load_state_dict(load_file(checkpoint / "weights.safetensors"), strict=False)
        assert set(found.missing_keys) <= {"lm_head.weight"} and not found.unexpected_keys  # the head is tied
        at[step] = chances(model, tokenizer, held_out)
    return [
        {"method": cell.method, "votes": VOTES, "seed": cell.seed, "step": step, "p": float(np.mean(at[step]))}
        for step in sorted(at)
    ]


def chances(model: Any, tokenizer: Any, held_out: int) -> list[float]:
    """Return the probability of the greeting as the first word, as the study scores it, without the KL."""
    import torch

    (word,) = tokenizer.encode(GREETING, add_special_tokens=False)
    found = []
    for inquiry in held_out_prompts(held_out):
        turns = [{"role": "user", "content": inquiry.message}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            found.append(float(model(ids["input_ids"]).logits[0, -1].softmax(-1)[word]))
    return found


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
            curves.append(Curve(f"{name}, closed form", np.array(steps), np.full(len(steps), closed[method]), True))
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
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write it there: SVG, PDF or PNG by suffix")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a row for each run and step there")
    options = parser.parse_args()
    overrides = [*SETTINGS, f"seeds={options.seeds}"]
    compare(STUDY, options.runs, only=[*METHODS, VOTES], overrides=overrides, jobs=options.jobs, say=_say)
    study = load_study(STUDY, overrides)
    world = make_world(study.world)
    cells = choose(study, make_cells(study, world, options.runs), [*METHODS, VOTES])
    base = load_base()
    rows = [row for cell in cells for row in over_steps(cell, base, world.held_out)]
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
