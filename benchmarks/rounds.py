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

import numpy as np
import yaml

import prospect
from prospect.atomic import write_text
from prospect.cli.train import quiet_libraries
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.rounds_world import demo_recipe, write_prompts
from prospect.demo.rubric import check
from prospect.demo.world import Inquiry, training_prompts
from prospect.feedback import Demonstration, Message, Paired, write_jsonl
from prospect.results.rounds import Ledger
from prospect.rounds.folder import RoundsFolder
from prospect.rounds.outcomes import Outcomes
from prospect.rounds.recipe import StopSettings, load_rounds
from prospect.rounds.run import run_rounds
from prospect.rounds.stopping import why_stop
from prospect.statistics.comparisons import holm
from prospect.studies.findings import number
from prospect.studies.pooling import Pooled, pool
from prospect.user_code import import_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "rounds-studies.md"
placed = import_file(Path(__file__).with_name("studies.py")).placed
DESK = Path(__file__).with_name("strict_desk.py")
strict_desk = import_file(DESK)
STRICT = f"verifier:python:{DESK}:keeps_seven_rules"

ROUNDS, CUSTOMERS, STEPS = 3, 30, 15  # of a round; 4 samples of each customer, 16 of which are a step: two epochs
EASY_CUSTOMERS, EASY_STEPS = 75, 16  # under the demo's own rules, in steps of 32
PAIRS_FROM, PROXY_STEPS, PROXY_ROUNDS = 20, 12, 4
POOL = 450  # customers from whom those of all rounds are drawn
NO_STOP = {"no_gain": False, "kl": None, "length": None, "repetition": None, "second_judge": False}
TWO = ("rounds.count=2",)  # the first two of three rounds are what two rounds are
OFFLINE = ("rounds.count=1", f"rounds.prompts_per_round={ROUNDS * CUSTOMERS}", f"train.max_steps={ROUNDS * STEPS}")


# --- what is run


@dataclass(frozen=True)
class Arm:
    """One way to do it: changes to the recipe of `strict_recipe`, or a way of its own to make rounds of them."""

    changes: tuple[str, ...] = ()
    make: Callable[[Path, int, Sequence[str]], Ledger] | None = None


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        title: in words.
        arms: of the table; the first is what the others are held against.
        seeds: at most.
        upto: the round after which they are compared; None for each one's last.
    """

    title: str
    arms: dict[str, str]
    seeds: int = 5
    upto: int | None = 2


def strict_recipe(folder: Path, seed: int) -> dict[str, Any]:
    """The demo's rounds under seven rules, with fewer customers a round, and no stop rule."""
    recipe = demo_recipe(folder, "online_kto", ROUNDS, seed)
    write_prompts(folder / "customers.jsonl", training_prompts(POOL, seed))
    recipe["rounds"] |= {
        "prompts_per_round": CUSTOMERS,
        "label": {"judge": STRICT},
        "stop": NO_STOP,
        "balance": {"max_weight": 30, "short": "keep"},
    }
    recipe["rounds"]["evaluate"]["kl_prompts"] = 0
    recipe["train"] |= {"batch_size": 16, "max_steps": STEPS}
    return recipe


def strict(folder: Path, seed: int, changes: Sequence[str]) -> Ledger:
    return go(strict_recipe(folder, seed), changes)


def go(recipe: dict[str, Any], changes: Sequence[str] = ()) -> Ledger:
    """Make rounds, or finish those that were begun."""
    begun = RoundsFolder(Path(recipe["output"])).recipe.exists()
    return run_rounds(recipe, overrides=changes, resume=begun, quiet=True)


def with_teacher(folder: Path, seed: int, changes: Sequence[str]) -> Ledger:
    """A teacher answers each customer once, in the words of the desk's best replies, and no sft comes first."""
    log = import_file(ROOT / "tools" / "support_log.py")
    rows = []
    for inquiry in training_prompts(POOL, seed):
        draw = log.random.Random(f"teacher {seed} {inquiry.message}")
        text = ""
        while not keeps_all(inquiry, text):
            text = log.write_reply(inquiry, (), draw)
        turn = (Message("assistant", text),)
        rows.append(Demonstration(prompt=inquiry.prompt, completion=turn, id=inquiry.order, where="teacher"))
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(rows, folder / "teacher.jsonl")
    teacher = (f"rounds.teacher={folder / 'teacher.jsonl'}", "rounds.protocol=orca_math", "rounds.sft_first=false")
    return strict(folder, seed, (*teacher, *changes))


def rules_kept(inquiry: Inquiry, reply: str) -> int:
    """How many of the seven."""
    return sum(check(inquiry, reply).values()) + strict_desk.is_sorry(reply) + strict_desk.is_signed(reply)


def keeps_all(inquiry: Inquiry, reply: str) -> bool:
    return rules_kept(inquiry, reply) == 7


def by_proxy(folder: Path, seed: int, changes: Sequence[str]) -> Ledger:
    """A reward model of few pairs judges; the seven rules are a second judge, which training never hears."""
    judge = folder / "judge"
    if not (judge / "model").exists():
        asked = training_prompts(PAIRS_FROM, seed + 1000)
        replies = answer(load_base(), asked, 4, seed)
        pairs = []
        for i, (inquiry, row) in enumerate(zip(asked, replies, strict=True)):
            texts = sorted({one.text for one in row}, key=lambda text: (rules_kept(inquiry, text), text))
            if rules_kept(inquiry, texts[0]) < rules_kept(inquiry, texts[-1]):
                worst, best = ((Message("assistant", text),) for text in (texts[0], texts[-1]))
                pairs.append(Paired(prompt=inquiry.prompt, chosen=best, rejected=worst, id=str(i), where=f"pair {i}"))
        folder.mkdir(parents=True, exist_ok=True)
        write_jsonl(pairs, folder / "pairs.jsonl")
        recipe = {
            "model": {"name_or_path": str(BASE)},
            "data": {"train": str(folder / "pairs.jsonl")},
            "loss": {"name": "bradley_terry"},
            "train": {"batch_size": 8, "max_steps": PROXY_STEPS, "learning_rate": 2e-4, "seed": seed},
            "output": str(judge),
        }
        prospect.train(recipe, quiet=True)
    judges = (f"rounds.label.judge=reward:{judge}", f"rounds.evaluate.second_judge={STRICT}")
    return strict(folder, seed, (*judges, f"rounds.count={PROXY_ROUNDS}", *changes))


def second_round(folder: Path, seed: int, changes: Sequence[str]) -> Ledger:
    """Round 2 under the demo's own five rules, after a round 1 that all arms share: few thumbs are down then."""
    stem = folder.parent / f"stem-{seed}"
    recipe = demo_recipe(stem, "online_kto", 2, seed)
    write_prompts(stem / "customers.jsonl", training_prompts(POOL, seed))
    recipe["rounds"] |= {"prompts_per_round": EASY_CUSTOMERS, "stop": NO_STOP, "count": 1}
    recipe["rounds"]["evaluate"]["kl_prompts"] = 0
    recipe["train"] |= {"max_steps": EASY_STEPS}
    if not RoundsFolder(stem).recipe.exists() or RoundsFolder(stem).read() is None or not finished(stem):
        go(recipe)
    if not folder.exists():
        shutil.copytree(stem, folder)
    moved = json.loads(json.dumps(recipe).replace(str(stem), str(folder)))
    here = RoundsFolder(folder)
    here.ledger.write_text(here.ledger.read_text().replace(str(stem), str(folder)))
    mine = load_rounds(moved, ("rounds.count=2", *changes))
    here.recipe.write_text(yaml.safe_dump(mine.as_dict()))
    return run_rounds(mine, resume=True, quiet=True)


def finished(folder: Path) -> bool:
    ledger = RoundsFolder(folder).read()
    return ledger is not None and ledger.stopped is not None


ARMS = {
    "rounds": Arm(),
    "offline": Arm(OFFLINE),
    "offline, humanline": Arm((*OFFLINE, "loss.humanline=true")),
    "reference previous": Arm(
        (
            *TWO,
            "rounds.reference=previous",
        )
    ),
    "teacher's": Arm(
        (
            *TWO,
            "rounds.positives=teacher",
        ),
        with_teacher,
    ),
    "both": Arm(
        (
            *TWO,
            "rounds.positives=both",
        ),
        with_teacher,
    ),
    "z0 sampled": Arm(
        (
            *TWO,
            "reference_point=sampled",
        )
    ),
    "weight 1": Arm(
        (
            *TWO,
            "rounds.balance.max_weight=1",
        )
    ),
    "weight 3": Arm(
        (
            *TWO,
            "rounds.balance.max_weight=3",
        )
    ),
    "rate times .5": Arm(
        (
            *TWO,
            "rounds.learning_rate_factor=0.5",
        )
    ),
    "rate times .3": Arm(
        (
            *TWO,
            "rounds.learning_rate_factor=0.3",
        )
    ),
    "proxy": Arm((), by_proxy),
    **{
        f"easy, weight {weight}, {short}": Arm(
            (f"rounds.balance.max_weight={weight}", f"rounds.balance.short={short}"), second_round
        )
        for weight in (1, 3, 30)
        for short in ("keep", "top_up")
    },
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
            f"{weight}, {'topped up' if short == 'top_up' else 'as it is'}": f"easy, weight {weight}, {short}"
            for weight, short in ((3, "keep"), (1, "keep"), (30, "keep"), (3, "top_up"), (1, "top_up"), (30, "top_up"))
        },
        seeds=3,
    ),
    "reference": Question("Reference", {"start": "rounds", "previous": "reference previous"}),
    "positives": Question("Whose thumbs up", {"own": "rounds", "teacher's": "teacher's", "both": "both"}),
    "rate": Question(
        "Learning rate from round to round", {"1": "rounds", ".5": "rate times .5", ".3": "rate times .3"}, seeds=3
    ),
    "proxy": Question("A proxy judge", {"proxy": "proxy"}, upto=None),
    "z0": Question("z0", {"step": "rounds", "sampled": "z0 sampled"}),
}


# --- cells


def cell(name: str, seed: int, keep: Path) -> dict[str, Any]:
    """Run an arm with a seed, and return its line."""
    folder = keep / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
    arm = ARMS[name]
    ledger = (arm.make or strict)(folder, seed, arm.changes)
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


Cells = dict[tuple[str, int], dict[str, Any]]


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
                print(
                    arm,
                    seed,
                    [f"{rate:.3f}" for rate in rates],
                    f"{line['seconds']:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )


# --- tables


def show(question: Question, cells: Cells) -> list[str]:
    """Return a question's table; arms that no seed has are left out, and seeds that not every arm has."""
    arms = {label: arm for label, arm in question.arms.items() if any(key[0] == arm for key in cells)}
    seeds = [seed for seed in range(question.seeds) if all((arm, seed) in cells for arm in arms.values())]
    if not seeds:
        return ["Not run."]
    made = {
        label: [cells[arm, seed]["rounds"][: question.upto and question.upto + 1] for seed in seeds]
        for label, arm in arms.items()
    }
    first = next(iter(arms))
    count = max(len(runs[0]) for runs in made.values())
    after = [f"round {i}" for i in range(1, count)]
    lines = [
        "| " + " | ".join(["", "start", *after, f"last less {first}", "up / down", "tokens", "steps"]) + " |",
        "|---" * (count + 5) + "|",
    ]
    last = {label: np.array([rounds[-1]["passed"] for rounds in runs]) for label, runs in made.items()}
    differences = {label: pool((last[label] - last[first]).tolist()) for label in arms if label != first}
    p_values = dict(zip(differences, holm([one.p_differs(0.0, (-1, 1)) for one in differences.values()]), strict=True))
    for label, runs in made.items():
        cell_texts = [rate_text(pool([rounds[i]["passed"] for rounds in runs])) for i in range(len(runs[0]))]
        cell_texts += [""] * (count - len(runs[0]))
        cell_texts.append(difference_text(differences[label], p_values[label]) if label in differences else "")
        judged = np.mean([[one["judged"] for one in rounds[1:]] for rounds in runs], axis=0)
        cell_texts.append(", ".join(f"{up:.0f} / {down:.0f}" for up, down in judged))
        for key in ("tokens", "steps"):
            cell_texts.append(f"{np.mean([sum(one[key] for one in rounds) for rounds in runs]):.0f}")
        lines.append(f"| {label} | " + " | ".join(cell_texts) + " |")
    return [*lines, "", foot(seeds)]


def rate_text(pooled: Pooled) -> str:
    low, high = pooled.rate_interval()
    return f"{number(pooled.value, 'share')} ({number(low, 'share')} to {number(high, 'share')})"


def difference_text(pooled: Pooled, p: float) -> str:
    low, high = pooled.interval(bounds=(-1, 1))
    word = "no difference shown" if p >= 0.05 else "better" if pooled.value > 0 else "worse"
    value, low_text, high_text = (number(end, "share", sign=True) for end in (pooled.value, low, high))
    return f"{value} ({low_text} to {high_text}), {word}"


def foot(seeds: Sequence[int]) -> str:
    return (
        f"Percent of 200 held-out customers whose reply keeps every rule, 95 % intervals over customers and seeds "
        f"{', '.join(map(str, seeds))}; verdicts after Holm's correction; thumbs, tokens and steps are means."
    )


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
        text = "\n".join(["", *show(QUESTIONS[name], cells), ""])
        print(f"## {QUESTIONS[name].title}\n{text}")
        if options.page:
            write_text(PAGE, placed(PAGE.read_text(encoding="utf-8"), name, text))


if __name__ == "__main__":
    main()
