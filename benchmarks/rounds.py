"""Rounds on a support desk made harder: what is worth what, in tables with intervals, as on docs/rounds-studies.md.

    python benchmarks/rounds.py [--keep runs/rounds-studies] [--seeds N] [--tables-only] [--page] [QUESTION ...]

A cell is an arm with a seed: one run of rounds. Its scores become a line of `cells.jsonl` under `--keep`, what has a
line is not run again, and rounds that were killed go on. Rates are those of 200 held-out customers, one sampled reply
each; their intervals are about other customers and other seeds (`prospect.studies.pooling`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds_arms import CUSTOMERS, ROOT, ROUNDS, STEPS, by_proxy, strict, third_round, with_teacher
from rounds_tables import Cells, Question, show, show_proxy
from studies import placed

from prospect.atomic import write_text
from prospect.cli.train import quiet_libraries
from prospect.results.rounds import Ledger
from prospect.rounds.folder import RoundsFolder
from prospect.rounds.outcomes import Outcomes
from prospect.rounds.recipe import StopSettings
from prospect.rounds.stopping import why_stop

PAGE = ROOT / "docs" / "rounds-studies.md"
TWO = "rounds.count=2"  # the first two of three rounds are what two rounds are
OFFLINE = ("rounds.count=1", f"rounds.prompts_per_round={ROUNDS * CUSTOMERS}", f"train.max_steps={ROUNDS * STEPS}")


@dataclass(frozen=True)
class Arm:
    """One way to do it: changes to a recipe, and who makes rounds of it."""

    changes: tuple[str, ...] = ()
    make: Callable[[Path, int, Sequence[str]], Ledger] = strict


def capped(most: int) -> tuple[str, str]:
    """Both classes' weights are held to this."""
    return f"rounds.balance.max_desirable_weight={most}", f"rounds.balance.max_undesirable_weight={most}"


ARMS = {
    "rounds": Arm(),
    "offline": Arm(OFFLINE),
    "offline, humanline": Arm((*OFFLINE, "loss.humanline=true")),
    "reference previous": Arm((TWO, "rounds.reference=previous")),
    "teacher's": Arm((TWO, "rounds.positives=teacher"), with_teacher),
    "both": Arm((TWO, "rounds.positives=both"), with_teacher),
    "z0 sampled": Arm((TWO, "reference_point=sampled")),
    "weight 1": Arm((TWO, *capped(1))),
    "weight 3": Arm((TWO, *capped(3))),
    "rate times .5": Arm((TWO, "rounds.learning_rate_factor=0.5")),
    "rate times .3": Arm((TWO, "rounds.learning_rate_factor=0.3")),
    "proxy": Arm((), by_proxy),
    "easy, weight 1": Arm((*capped(1), "rounds.balance.short=keep"), third_round),
    "easy, weight 3": Arm((*capped(3), "rounds.balance.short=keep"), third_round),
    "easy, weight 30": Arm((*capped(30), "rounds.balance.short=keep"), third_round),
    "easy, weight 3, topped up": Arm((*capped(3), "rounds.balance.short=top_up"), third_round),
}

QUESTIONS = {
    "rounds": Question(
        "Rounds or one run on samples of the start",
        {"rounds": "rounds", "offline": "offline", "offline, humanline": "offline, humanline"},
        upto=None,
    ),
    "weights": Question(
        "Class weights where thumbs up are few",
        {"30": "rounds", "3": "weight 3", "1": "weight 1"},
    ),
    "weights_down": Question(
        "Class weights where thumbs down are few",
        {
            "1": "easy, weight 1",
            "3": "easy, weight 3",
            "30": "easy, weight 30",
            "3, topped up": "easy, weight 3, topped up",
        },
        upto=3,
    ),
    "reference": Question("Reference", {"start": "rounds", "previous": "reference previous"}),
    "positives": Question("Whose thumbs up", {"own": "rounds", "teacher's": "teacher's", "both": "both"}),
    "rate": Question(
        "Learning rate from round to round", {"1": "rounds", ".5": "rate times .5", ".3": "rate times .3"}
    ),
    "proxy": Question("A proxy judge", {"proxy": "proxy"}, upto=None),
    "z0": Question("z0", {"step": "rounds", "sampled": "z0 sampled"}),
}


# --- cells


def cell(name: str, seed: int, keep: Path) -> dict[str, Any]:
    """Run an arm with a seed, and return its line."""
    folder = keep / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
    arm = ARMS[name]
    ledger = arm.make(folder, seed, arm.changes)
    rounds = []
    for i, one in enumerate(ledger.rounds):
        found = Outcomes.read(RoundsFolder(folder).round(one.round).evaluation / "outcomes.json")
        stopped = why_stop(ledger.rounds[: i + 1], StopSettings(no_gain=False, kl=None, length=None, repetition=None))
        rounds.append(
            {
                "passed": [float(passed or 0) for passed in found.judge.passed],
                "second": [float(passed or 0) for passed in found.second.passed] if found.second else None,
                "second_judge_stops": stopped is not None and stopped.kind == "second_judge",
                "tokens": one.drawn.tokens if one.drawn else 0,
                "words": one.held_out.words if one.held_out else None,
                "steps": one.trained.steps if one.trained else 0,
                "kl_raw": one.trained.kl_raw if one.trained else None,
                "clamped": one.trained.clamped if one.trained else None,
                "judged": [one.judged.desirable, one.judged.undesirable] if one.judged else None,
                "rows": one.rows.model_dump(mode="json") if one.rows else None,
            }
        )
    line = {"arm": name, "seed": seed, "rounds": rounds, "seconds": ledger.seconds}
    line["stopped"] = ledger.stopped.kind if ledger.stopped else None
    shutil.rmtree(folder)
    return line


def read_cells(keep: Path) -> Cells:
    path = keep / "cells.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(line["arm"], line["seed"]): line for line in lines}


def run_missing(names: Sequence[str], keep: Path, seeds: int) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    for name in names:
        question = QUESTIONS[name]
        for seed in range(min(seeds, question.seeds)):
            for arm in question.arms.values():
                if (arm, seed) in read_cells(keep):
                    continue
                line = cell(arm, seed, keep)
                with (keep / "cells.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")
                rates = [sum(one["passed"]) / len(one["passed"]) for one in line["rounds"]]
                text = ", ".join(f"{rate:.3f}" for rate in rates)
                print(f"{arm}, seed {seed}: {text}; {line['seconds']:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)}; all by default")
    parser.add_argument("--keep", type=Path, default=ROOT / "runs" / "rounds-studies", help="where the cells lie")
    parser.add_argument("--seeds", type=int, default=5, help="at most; tables show those that all arms have")
    parser.add_argument("--page", action="store_true", help="put the tables into docs/rounds-studies.md")
    parser.add_argument("--tables-only", action="store_true", help="run nothing; show what there is")
    options = parser.parse_args()
    quiet_libraries()
    names = options.names or list(QUESTIONS)
    if not options.tables_only:
        run_missing(names, options.keep.resolve(), options.seeds)
    cells = read_cells(options.keep)
    for name in names:
        text = "\n".join([*(show_proxy if name == "proxy" else show)(QUESTIONS[name], cells), ""])
        print(f"## {QUESTIONS[name].title}\n\n{text}")
        if options.page:
            write_text(PAGE, placed(PAGE.read_text(encoding="utf-8"), name, text))


if __name__ == "__main__":
    main()
