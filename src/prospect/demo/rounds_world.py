"""The demo's support desk for rounds: customers to sample replies for, and the rules as a judge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prospect.atomic import write_text
from prospect.demo.base import BASE, TEMPERATURE, TOP_P
from prospect.demo.rubric import check
from prospect.demo.settings import METHODS
from prospect.demo.world import PROBLEMS, REPLY_TOKENS, Inquiry, held_out_prompts, training_prompts

NAME = "demo"
PROMPTS = 40  # customers a round: with 150 one round is enough, and there is nothing left to see
HELD_OUT = 200
USUAL_ROUNDS = 10


def keeps_every_rule(prompt: Any, completion: str, target: Mapping[str, str]) -> bool:
    """Return whether a reply keeps all five rules: what `verifier:python:` judges by."""
    return all(kept_rules(completion, target).values())


def kept_rules(completion: str, target: Mapping[str, str]) -> dict[str, bool]:
    """Return for each rule whether a reply keeps it.

    Args:
        completion: the reply.
        target: the facts of the customer, as `write_prompts` writes them.
    """
    problem = next(one for one in PROBLEMS if one.name == target["problem"])
    inquiry = Inquiry("", target["name"], target["order"], target["product"], problem)
    return check(inquiry, completion)


def write_prompts(path: Path, inquiries: Iterable[Inquiry]) -> None:
    """Write rows of `prompt` and `target`, the facts by which a reply is checked."""
    lines = []
    for one in inquiries:
        facts = {"name": one.name, "order": one.order, "product": one.product, "problem": one.problem.name}
        row = {"prompt": [turn.as_dict() for turn in one.prompt], "target": facts}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def demo_recipe(folder: Path, protocol: str, rounds: int, seed: int = 0) -> dict[str, Any]:
    """Return a recipe of rounds on the embedded world, and write its prompts into the folder.

    Args:
        folder: of the rounds.
        protocol: what becomes of samples.
        rounds: how many there are at most; each has fresh customers.
        seed: of customers, training and sampling.
    """
    # The same customers for any usual number of rounds, so that more rounds can be asked for later.
    write_prompts(folder / "customers.jsonl", training_prompts(PROMPTS * max(rounds, USUAL_ROUNDS), seed))
    write_prompts(folder / "held_out_customers.jsonl", held_out_prompts(HELD_OUT))
    kto = METHODS["kto"]
    return {
        "rounds": {
            "protocol": protocol,
            "count": rounds,
            "prompts": str(folder / "customers.jsonl"),
            "prompts_per_round": PROMPTS,
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "max_new_tokens": REPLY_TOKENS,
            "sample_batch": 256,
            "label": {"judge": f"verifier:python:{Path(__file__)}:keeps_every_rule"},
            "evaluate": {"prompts": str(folder / "held_out_customers.jsonl")},
        },
        "model": {"name_or_path": str(BASE)},
        "train": {"batch_size": 32, "epochs": 2, "learning_rate": kto["learning_rate"], "seed": seed},
        "output": str(folder),
        **({"loss": kto["loss"]} if protocol == "online_kto" else {}),
    }
