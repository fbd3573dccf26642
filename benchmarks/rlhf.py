"""RLHF whole, on the demo's support desk: a reward model from pairs, then a policy that learns online against it.

    python benchmarks/rlhf.py [--methods ppo grpo rloo kto dpo] [--seed 0] [--folder runs/rlhf] [--json FILE]

Two numbers of replies to the same 400 held-out customers, before and after, with 95 % intervals: the proxy, the mean
score of the reward model, which training sees; and the truth, the share of replies that keep all five rules of
`prospect.demo.rubric`, which it never sees. The pairs are replies of the base model of which one keeps more rules. What
the folder holds from before, a reward model for one, is used again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import prospect
from prospect.cli.train import quiet_libraries
from prospect.config import read_yaml
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.rubric import check
from prospect.demo.world import Inquiry, held_out_prompts, training_prompts
from prospect.evaluation import overlap
from prospect.evaluation.contest.judges.base import Candidate
from prospect.evaluation.contest.judges.reward_model import RewardModelJudge
from prospect.feedback import write_jsonl
from prospect.feedback.records import Message, Paired
from prospect.models.sampling import Generated
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.means import mean_by_prompt
from prospect.statistics.rates import Rate, proportion

RECIPES = Path(__file__).parent.parent / "recipes"
PROMPTS, REPLIES, HELD_OUT = 600, 4, 400
# What is set beside recipes/rlhf_ppo.yaml: the other methods take no value head, and verdicts need a reference.
METHODS: dict[str, dict[str, Any]] = {
    "ppo": {},
    # Divided by the deviation of a prompt's scores, differences between equally good replies would weigh like others.
    "grpo": {"loss": {"name": "grpo", "beta": 0.05}, "online": {"kl": None, "scale": "none"}},
    "rloo": {"loss": {"name": "rloo"}},
    # Up is what the reward model gives a good reply: a median would call half of the good ones bad.
    "kto": {
        "loss": {"name": "kto", "beta": 0.3},
        "online": {"kl": None, "threshold": 1.0, "epochs": 1},
        "train": {"learning_rate": 1e-4},
    },
    "dpo": {
        "loss": {"name": "dpo", "beta": 0.3},
        "online": {"kl": None, "epochs": 1},
        "train": {"learning_rate": 1e-4},
    },
}


class Measured(NamedTuple):
    """The mean score of the reward model, and the share of replies that keep every rule."""

    proxy: Estimate
    truth: Rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["ppo"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/rlhf"))
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="of the online runs")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    quiet_libraries()
    begun = time.monotonic()
    folder, seed = options.folder, options.seed
    write_data(folder, seed)
    shared = [f"model.name_or_path={BASE}", f"train.seed={seed}"]
    reward = prospect.train(
        RECIPES / "rlhf_reward.yaml",
        overrides=[*shared, f"data.train={folder / 'pairs.jsonl'}", f"output={folder / 'reward'}"],
        resume=True,
        quiet=True,
    )
    accuracy = [row for row in reward.metrics() if "eval_rewards/accuracies" in row][-1]["eval_rewards/accuracies"]
    judge, asked = RewardModelJudge(str(reward.path)), held_out_prompts(HELD_OUT)
    before = measure(judge, asked, answer(load_base(), asked, 1, seed))
    print(f"reward model: right on {accuracy:.1%} of held-out pairs; {time.monotonic() - begun:.0f} seconds\n")
    print("| | proxy before (95 %) | proxy after | true rate before, % (95 %) | true rate after | intervals touch |")
    print("|---|---|---|---|---|---|")
    results = []
    for method in options.methods:
        run = prospect.train(
            recipe(method),
            overrides=[
                *shared,
                f"online.prompts={folder / 'prompts.jsonl'}",
                f"online.judge=reward:{reward.path}",
                f"output={folder / method}",
                *options.set,
            ],
            resume=True,
            quiet=True,
        )
        after = measure(judge, asked, answer(load_base(run.model_path), asked, 1, seed))
        results.append({"method": method, "before": before, "after": after, "seconds": time.monotonic() - begun})
        print(line(method, before, after), flush=True)
    print(f"\n{time.monotonic() - begun:.0f} seconds")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, default=lambda rate: rate._asdict()) + "\n")


def write_data(folder: Path, seed: int) -> None:
    """Write the prompts, and pairs of the base model's replies to them, of which the first keeps more rules."""
    asked = training_prompts(PROMPTS, seed)
    replies = answer(load_base(), asked, REPLIES, seed)
    pairs = []
    for i, (inquiry, row) in enumerate(zip(asked, replies, strict=True)):
        kept = [sum(check(inquiry, reply.text).values()) for reply in row]
        for j in range(0, REPLIES, 2):
            if kept[j] != kept[j + 1]:
                better, worse = (row[j], row[j + 1]) if kept[j] > kept[j + 1] else (row[j + 1], row[j])
                pairs.append(
                    Paired(
                        prompt=inquiry.prompt,
                        chosen=(Message("assistant", better.text),),
                        rejected=(Message("assistant", worse.text),),
                        id=f"{i}-{j}",
                        where=f"demo:{i}:{j}",
                    )
                )
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(pairs, folder / "pairs.jsonl")
    lines = [json.dumps({"prompt": [turn.as_dict() for turn in inquiry.prompt]}) for inquiry in asked]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe(method: str) -> dict[str, Any]:
    """Return recipes/rlhf_ppo.yaml with what a method needs."""
    values, own = read_yaml(RECIPES / "rlhf_ppo.yaml"), METHODS[method]
    changed = {section: {**values[section], **own.get(section, {})} for section in ("online", "train")}
    return {**values, **changed, "loss": own.get("loss", values["loss"])}


def measure(judge: RewardModelJudge, asked: Sequence[Inquiry], replies: Sequence[Sequence[Generated]]) -> Measured:
    """Return the proxy's mean and the share that keeps every rule, of one reply each."""
    texts = [reply.text for (reply,) in replies]
    rows = [Candidate(one.prompt, (Message("assistant", text),)) for one, text in zip(asked, texts, strict=True)]
    passed = sum(all(check(one, text).values()) for one, text in zip(asked, texts, strict=True))
    return Measured(mean_by_prompt(judge.score_many(rows)), proportion(passed, len(texts)))


def line(method: str, before: Measured, after: Measured) -> str:
    proxies = [f"{m.proxy.value:.2f} ({m.proxy.low:.2f} to {m.proxy.high:.2f})" for m in (before, after)]
    rates = [f"{100 * m.truth.rate:.1f} ({100 * m.truth.low:.1f} to {100 * m.truth.high:.1f})" for m in (before, after)]
    touch = "yes" if overlap(before.truth, after.truth) else "no"
    return f"| {method} | {' | '.join([*proxies, *rates, touch])} |"


if __name__ == "__main__":
    main()
