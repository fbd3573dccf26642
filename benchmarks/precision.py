"""Do outcomes move with the arithmetic? The same runs in float32 and in bfloat16, at three seeds each.

    python benchmarks/precision.py [--only demo stories study] [--runs runs/precision] [--figure FILE] [--json FILE]

`demo` is `prospect demo` with KTO: the share of 400 held-out customers whose reply keeps every rule. `stories` trains
`stories260K` as recipes/stories_kto.yaml does: VADER sentiment of the continuations of 200 held-out openings. `study`
is DPO on pairs of the demo's replies, every fifth turned round. Both precisions are named in the recipes, for `auto`
takes float32 for models as narrow as these; what differs within a seed is the arithmetic alone.

Intervals are those of `prospect compare`: over prompts and seeds, and of the difference on the same prompts and seeds.
The table sets the difference beside the seeds' spread, the standard deviation over seeds in float32, and the largest
difference between two seeds of one precision. The figure has the losses, mean over seeds and over each fortieth of a
run. Runs that are finished under `--runs` are not made again. `--tiny` is to try the script. `stories` needs the folder
`../shared` and vaderSentiment (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import prospect
from prospect.atomic import write_text
from prospect.cli.train import quiet_libraries
from prospect.config import read_yaml
from prospect.demo.run import HELD_OUT, PROMPTS, REPLIES
from prospect.demo.settings import METHODS
from prospect.errors import ProspectError
from prospect.report.charts.figure_file import Curve, write_figure
from prospect.results.study import StudyResult
from prospect.results.study_cells import StudyCell
from prospect.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ("fp32", "bf16")
SEEDS = [0, 1, 2]
PARTS = 40  # of a run, of which the figure has the mean loss
TINY: dict[str, dict[str, Any]] = {
    "demo": {"prompts": 24, "held_out": 20},
    "stories": {"held_out": 20},
    "study": {"prompts": 24, "held_out": 20},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "precision", help="where the runs lie")
    parser.add_argument("--jobs", type=int, help="processes, of one thread each; as many as there are cores")
    parser.add_argument("--figure", type=Path, help="draw the losses here")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--tiny", action="store_true", help="few prompts, two seeds and few steps")
    options = parser.parse_args()
    try:
        results = {name: run(name, options) for name in options.only}
    except ProspectError as error:  # stopped, say
        raise SystemExit(str(error)) from None
    rows = {name: compare(result) for name, result in results.items()}
    print(table(rows))
    if options.figure:
        curves = [curve for name, result in results.items() for curve in losses(name, result, options.runs / name)]
        title, x_label = "Losses in float32 and bfloat16, means over seeds", "part of the run, %"
        write_figure(options.figure, curves, title=title, x_label=x_label, y_label="loss")
    if options.json:
        write_text(options.json, json.dumps(rows, indent=2) + "\n")


def run(name: str, options: argparse.Namespace) -> StudyResult:
    """Make what is missing of a comparison's runs."""
    study = plan(name, tiny=options.tiny)
    folder: Path = options.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "plan.yaml", yaml.safe_dump(study, sort_keys=False))
    told: dict[str, Any] = {"say": lambda text: print(text, file=sys.stderr, flush=True)}
    return prospect.compare(folder / "plan.yaml", folder, jobs=options.jobs, each_process=quiet_libraries, **told)


def plan(name: str, *, tiny: bool = False) -> dict[str, Any]:
    """A study whose two methods differ in `train.precision`."""
    made = PLANS[name]()
    method = made.pop("method")
    methods = {one: {**method, "train": {**method.get("train", {}), "precision": one}} for one in PRECISIONS}
    study = {"name": name, **made, "methods": methods, "seeds": SEEDS, "baseline": {"method": "fp32"}}
    if tiny:
        study |= {"world": {**study["world"], **TINY[name]}, "seeds": SEEDS[:2]}
        study["recipe"] = {**study["recipe"], "train": {**study["recipe"]["train"], "max_steps": 8}}
    return study


def demo() -> dict[str, Any]:
    settings = METHODS["kto"]
    return {
        "world": {"kind": "demo", "prompts": PROMPTS, "replies": REPLIES, "held_out": HELD_OUT},
        "recipe": {"train": {"batch_size": 32, "epochs": settings["epochs"]}},
        "method": {"loss": settings["loss"], "train": {"learning_rate": settings["learning_rate"]}},
    }


def stories() -> dict[str, Any]:
    committed = read_yaml(ROOT / "recipes" / "stories_kto.yaml", "recipe", "model, data, loss")
    files = {"model": committed["model"]["name_or_path"], "data": committed["data"]["train"]}
    train = {key: committed["train"][key] for key in ("batch_size", "epochs", "learning_rate")}
    return {
        "world": {"kind": "stories", **files, "held_out": committed["data"]["eval"]},
        "recipe": {"train": train},
        "method": {"loss": committed["loss"]},
    }


def study() -> dict[str, Any]:
    return {
        "world": {"kind": "demo", "feedback": "pairs", "prompts": 200, "replies": 4, "held_out": 200},
        "recipe": {"train": {"batch_size": 16, "epochs": 1}},
        "method": {"loss": METHODS["dpo"]["loss"], "train": {"learning_rate": METHODS["dpo"]["learning_rate"]}},
        "conditions": {"20 % flipped": {"flip": 0.2}},
    }


PLANS: dict[str, Callable[[], dict[str, Any]]] = {"demo": demo, "stories": stories, "study": study}


def cells(result: StudyResult) -> dict[str, StudyCell]:
    """The two cells by precision."""
    return {cell.method: cell for cell in result.cells}


def compare(result: StudyResult) -> dict[str, Any]:
    """The primary measure in both precisions, their difference with its interval, and the seeds' spread."""
    both, (apart,) = cells(result), [one for one in result.comparisons if one.method == "bf16"]
    by_seed = {name: [run.measures[result.primary] for run in cell.runs] for name, cell in both.items()}
    return {
        "measure": result.about.label,
        **{
            name: {"mean": found.mean, "low": found.low, "high": found.high}
            for name, cell in both.items()
            for found in (cell.estimates[result.primary],)
        },
        "difference": {"mean": apart.value, "low": apart.low, "high": apart.high, "p": apart.p},
        "by_seed": by_seed,
        "seeds_deviation": statistics.stdev(by_seed["fp32"]),
        "seeds_apart": max(max(values) - min(values) for values in by_seed.values()),
        "prompts": apart.prompts,
        "seconds": result.seconds,
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| | fp32 (95 %) | bf16 (95 %) | bf16 less fp32 (95 %) | seeds in fp32, standard deviation | seeds, most apart "
        "| fp32 by seed | bf16 by seed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        each = (" ".join(f"{value:.3f}" for value in row["by_seed"][one]) for one in PRECISIONS)
        numbers = [estimate(row[key]) for key in (*PRECISIONS, "difference")]
        spread = f"{row['seeds_deviation']:.3f} | {row['seeds_apart']:.3f}"
        lines.append(f"| {name}: {row['measure']} | {' | '.join(numbers)} | {spread} | {' | '.join(each)} |")
    minutes = sum(row["seconds"] for row in rows.values()) / 60
    return "\n".join([*lines, f"{minutes:.0f} minutes of computing"])


def estimate(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def losses(name: str, result: StudyResult, folder: Path) -> list[Curve]:
    """Mean losses of each part of a run, over seeds; one curve for each precision."""
    curves = []
    for precision, cell in cells(result).items():
        logged = [RunDir(folder / str(one.folder) / "run").metrics() for one in cell.runs]
        runs = [[row["loss"] for row in rows if "loss" in row] for rows in logged]
        parts = [[np.mean(part) for part in np.array_split(run, min(PARTS, len(run)))] for run in runs]
        y = np.mean(parts, axis=0)
        grid = (np.arange(PARTS) + 0.5) * 100 / PARTS
        curve = np.interp(grid, (np.arange(len(y)) + 0.5) * 100 / len(y), y)
        curves.append(Curve(f"{name}, {precision}", grid, curve, beside=bool(curves)))
    return curves


if __name__ == "__main__":
    main()
