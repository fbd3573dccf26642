"""How the rounds of benchmarks/rounds.py are made: under seven rules, with a teacher, by a proxy, from a good model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from strict_desk import is_signed, is_sorry

import prospect
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.rounds_world import demo_recipe, write_prompts
from prospect.demo.rubric import check
from prospect.demo.world import Inquiry, training_prompts
from prospect.feedback import Demonstration, Message, Paired, write_jsonl
from prospect.results.rounds import Ledger
from prospect.rounds.folder import RoundsFolder
from prospect.rounds.recipe import load_rounds
from prospect.rounds.run import run_rounds
from prospect.user_code import import_file

ROOT = Path(__file__).resolve().parents[1]
STRICT = f"verifier:python:{Path(__file__).with_name('strict_desk.py')}:keeps_seven_rules"

ROUNDS, CUSTOMERS, STEPS = 3, 30, 15  # of a round; 4 samples of each customer, 16 of which are a step: two epochs
EASY_CUSTOMERS, EASY_STEPS = 75, 16  # under the demo's own rules, in steps of 32
PAIRS_FROM, PROXY_STEPS, PROXY_ROUNDS = 20, 12, 4
POOL = 450  # customers from whom those of all rounds are drawn
NO_STOP = {"no_gain": False, "kl": None, "length": None, "repetition": None, "second_judge": False}


def strict_recipe(folder: Path, seed: int) -> dict[str, Any]:
    """The demo's rounds under seven rules, with fewer customers a round, and no stop rule."""
    recipe = demo_recipe(folder, "online_kto", ROUNDS, seed)
    write_prompts(folder / "customers.jsonl", training_prompts(POOL, seed))
    recipe["rounds"] |= {
        "prompts_per_round": CUSTOMERS,
        "label": {"judge": STRICT},
        "stop": NO_STOP,
        "balance": {"max_desirable_weight": 30, "max_undesirable_weight": 30, "short": "keep"},
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
    return sum(check(inquiry, reply).values()) + is_sorry(reply) + is_signed(reply)


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


def third_round(folder: Path, seed: int, changes: Sequence[str]) -> Ledger:
    """Round 3 under the demo's own five rules, after two rounds that all arms share: few thumbs are down then."""
    stem = folder.parent / f"stem-{seed}"
    recipe = demo_recipe(stem, "online_kto", 3, seed)
    write_prompts(stem / "customers.jsonl", training_prompts(POOL, seed))
    recipe["rounds"] |= {
        "prompts_per_round": EASY_CUSTOMERS,
        "stop": NO_STOP,
        "count": 2,
        "balance": {"max_desirable_weight": 1, "max_undesirable_weight": 1},
    }
    recipe["rounds"]["evaluate"]["kl_prompts"] = 0
    recipe["train"] |= {"max_steps": EASY_STEPS}
    known = RoundsFolder(stem).read()
    if known is None or known.stopped is None:
        go(recipe)
    if not folder.exists():
        shutil.copytree(stem, folder)
    moved = json.loads(json.dumps(recipe).replace(str(stem), str(folder)))
    here = RoundsFolder(folder)
    here.ledger.write_text(here.ledger.read_text().replace(str(stem), str(folder)))
    mine = load_rounds(moved, ("rounds.count=3", *changes))
    here.recipe.write_text(yaml.safe_dump(mine.as_dict()))
    return run_rounds(mine, resume=True, quiet=True)
