"""Every loss on real feedback at one budget: what it does to the mood of a small story model, and what that costs.

    python benchmarks/losses.py [--json FILE] [--losses kto dpo ...] [--seeds 0 1 2] [--steps 100] [--jobs 2]

Trains `stories260K` with each registered loss at its default hyperparameters: the same number of steps of 32 examples,
the same learning rate, 200 openings held out by seed. Then, as benchmarks/stories_sentiment.py does: sampled
continuations of the held-out openings scored by the VADER lexicon, and the log-loss of real continuations of them.
A reward model writes nothing: for it the share of held-out pairs that it ranks right is given.
Needs the folder `../shared` and vaderSentiment (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from stories_sentiment import ROOT, held_out_openings, load, measure

import prospect
from prospect.config import Config, load_config
from prospect.losses import all_losses

PAIRED = "../shared/data/stories_sentiment_pairs.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--losses", nargs="+", default=list(all_losses()))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before the workers start, who inherit it
    os.chdir(ROOT)
    tasks = [(name, seed, options.steps) for name in ["start", *options.losses] for seed in options.seeds]
    results: dict[str, dict[int, Any]] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for (name, seed, _), result in zip(tasks, pool.map(run_one, tasks), strict=True):
            results.setdefault(name, {})[seed] = result
            print(name, seed, json.dumps(result), file=sys.stderr, flush=True)
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def run_one(task: tuple[str, int, int]) -> dict[str, float]:
    """One loss at one seed; `start` is the model before training."""
    name, seed, steps = task
    with tempfile.TemporaryDirectory() as folder:
        config = recipe(name, seed, steps, Path(folder) / "run")
        if name == "start":
            return mood(config, config.model.name_or_path)
        run = prospect.train(config, quiet=True)
        if prospect.get_loss(name).reward_model:
            return {"accuracy": run.metrics()[-1]["eval_rewards/accuracies"]}
        return mood(config, str(run.model_path))


def recipe(name: str, seed: int, steps: int, output: Path) -> Config:
    changes = [
        *([f"loss={name}"] if name != "start" else []),
        f"output={output}",
        f"train.seed={seed}",
        f"train.max_steps={steps}",
        "train.samples=0",
        "train.eval_every=null",
    ]
    paired = name != "start" and prospect.get_loss(name).feedback == "paired"
    return load_config(ROOT / "recipes/stories_kto.yaml", [*changes, *([f"data.train={PAIRED}"] if paired else [])])


def mood(config: Config, model: str) -> dict[str, float]:
    openings = held_out_openings(config.model_copy(update={"data": thumbs(config)}))
    result = measure(load(config, model), openings, config)
    return {"sentiment": float(np.mean(result["scores"])), "log_loss": result["log_loss"]}


def thumbs(config: Config) -> Any:
    """The held-out openings are those of the thumbs, of which the pairs were made."""
    return config.data.model_copy(update={"train": "../shared/data/stories_sentiment.jsonl"})


def table(results: dict[str, dict[int, Any]]) -> str:
    """Means over seeds, with the lowest and the highest."""
    start = results["start"]
    lines = [
        "| loss | feedback | mean sentiment (lowest to highest seed) | log-loss on real text, change, nats per token |",
        "|---|---|---|---|",
    ]
    ranked = sorted(results.items(), key=lambda item: -np.mean([r.get("sentiment", -9) for r in item[1].values()]))
    for name, by_seed in ranked:
        feedback = "" if name == "start" else prospect.get_loss(name).feedback
        if any("accuracy" in r for r in by_seed.values()):
            text = f"ranks {spread([100 * r['accuracy'] for r in by_seed.values()], '.1f')} % of held-out pairs right"
            lines.append(f"| {name} | {feedback} | {text} | |")
            continue
        changes = [r["log_loss"] - start[seed]["log_loss"] for seed, r in by_seed.items()]
        sentiment = spread([r["sentiment"] for r in by_seed.values()], ".3f")
        lines.append(f"| {name} | {feedback} | {sentiment} | {spread(changes, '+.3f')} |")
    return "\n".join(lines)


def spread(values: list[float], form: str) -> str:
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
