"""KTO, DPO and SFT on real feedback: does a small real model write happier stories, and still write stories?

    python benchmarks/stories_sentiment.py [--json FILE] [--methods kto kto-shuffled dpo sft] [--runs DIR]

Trains `stories260K` by the committed recipes `recipes/stories_*.yaml`, 200 openings held out; then samples a
continuation of each held-out opening (temperature 0.8, top_p 0.95, 48 tokens), scores it by the VADER lexicon (compound
score, -1 to 1), and measures the log-loss of the real continuations of `stories_real.jsonl` (held-out openings only).
Needs the folder `../shared` and vaderSentiment (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

import prospect
from prospect.config import Config, load_config
from prospect.data.batch import collate
from prospect.data.dataset import Dataset, load_datasets
from prospect.data.loader import micro_batches
from prospect.data.render import Encoder
from prospect.evaluation import Rate, win_rate
from prospect.feedback import load_feedback, split_by_prompt, write_jsonl
from prospect.models.loading import load_tokenizer
from prospect.models.policy import Policy, load_policy
from prospect.models.sampling import generate
from prospect.training.memory.allocator import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
HELD_OUT = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--methods", nargs="+", default=["kto", "kto-shuffled", "dpo", "sft"])
    parser.add_argument("--runs", type=Path, help="keep the run directories here")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to every recipe")
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        results = run_all(options.methods, options.runs or Path(folder), options.set)
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def run_all(methods: list[str], runs: Path, changes: list[str]) -> dict[str, Any]:
    recipe = load_config(ROOT / "recipes/stories_kto.yaml")
    openings = held_out_openings(recipe)
    before = measure(load(recipe, recipe.model.name_or_path), openings, recipe)
    results: dict[str, Any] = {"start": summary(before, before, 0.0)}
    for method in methods:
        begun = time.monotonic()
        run = train(method, runs, changes)
        seconds = time.monotonic() - begun
        after = measure(load(recipe, str(run.model_path)), openings, recipe)
        results[method] = summary(before, after, seconds)
        print(method, json.dumps(results[method]), file=sys.stderr)
    return results


def train(method: str, runs: Path, changes: list[str]) -> Any:
    """One run by the committed recipe; `-shuffled` deals the verdicts out at random, as a control."""
    name, _, variant = method.partition("-")
    config = load_config(ROOT / f"recipes/stories_{name}.yaml", [f"output={runs / method}", *changes])
    if variant == "shuffled":
        config.data.train = str(shuffled(config.data.train, runs / "shuffled.jsonl"))
    return prospect.train(config, quiet=True)


def shuffled(source: Any, target: Path) -> Path:
    from dataclasses import replace

    rows = load_feedback(source)
    labels = [row.desirable for row in rows]
    random.Random(0).shuffle(labels)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl([replace(row, desirable=label) for row, label in zip(rows, labels, strict=True)], target)
    return target


def held_out_openings(recipe: Config) -> list[str]:
    """The prompts that the recipes hold out: the same for thumbs and pairs, and never trained on by any method."""
    _, held_out = split_by_prompt(load_feedback(recipe.data.train), HELD_OUT, seed=recipe.train.seed)
    return list(dict.fromkeys(row.prompt for row in held_out))


def load(recipe: Config, path: str) -> Policy:
    changed = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name_or_path": path})})
    return load_policy(changed, load_tokenizer(changed.model))


def measure(policy: Policy, openings: list[str], recipe: Config) -> dict[str, Any]:
    """Sentiment of each opening's sampled continuation, and log-loss on real text."""
    samples = generate(policy.model, policy.tokenizer, openings, max_new_tokens=48, temperature=0.8, top_p=0.95, seed=0)
    vader = SentimentIntensityAnalyzer()
    texts = [sample[0].text for sample in samples]
    scores = [vader.polarity_scores(text)["compound"] for text in texts]
    return {"scores": scores, "texts": texts, "log_loss": log_loss(policy, real_stories(policy, openings, recipe))}


def real_stories(policy: Policy, openings: list[str], recipe: Config) -> Dataset:
    rows = [r for r in load_feedback(SHARED / "data/stories_real.jsonl") if r.desirable and r.prompt in set(openings)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "real.jsonl"
        write_jsonl(rows, path)
        settings = recipe.data.model_copy(update={"train": str(path), "eval": None})
        encoder = Encoder(policy.tokenizer, 512, end_token=False)
        return load_datasets(settings, "unpaired", encoder, 0, "the log-loss")[0]


@torch.no_grad()
def log_loss(policy: Policy, dataset: Dataset) -> float:
    """Nats per token of the completions."""
    total = tokens = 0.0
    for group in micro_batches(dataset.examples, 4096):
        batch = collate([row for example in group for row in example])
        total -= float(policy.logps(batch).double().sum())
        tokens += float(batch.completion.sum())
    return total / tokens


def summary(before: dict[str, Any], after: dict[str, Any], seconds: float) -> dict[str, Any]:
    scores, start = np.array(after["scores"]), np.array(before["scores"])
    wins: Rate = win_rate(int((scores > start).sum()), int((scores < start).sum()), int((scores == start).sum()))
    half = 1.96 * scores.std(ddof=1) / len(scores) ** 0.5
    return {
        "sentiment": round(float(scores.mean()), 4),
        "sentiment_half_width": round(float(half), 4),
        "log_loss": round(after["log_loss"], 4),
        "log_loss_change": round(after["log_loss"] - before["log_loss"], 4),
        "win_rate": [round(value, 4) for value in wins[:3]],
        "n": len(scores),
        "seconds": round(seconds, 1),
        "example": after["texts"][0],
    }


def table(results: dict[str, Any]) -> str:
    lines = [
        "| | mean sentiment (95 %) | beats its start (95 %) | log-loss on real text, nats/token | change | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        rate, low, high = row["win_rate"]
        wins = "" if name == "start" else f"{rate:.3f} ({low:.3f}-{high:.3f})"
        lines.append(
            f"| {name} | {row['sentiment']:.3f} ± {row['sentiment_half_width']:.3f} | {wins} | {row['log_loss']:.3f} | "
            f"{row['log_loss_change']:+.3f} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
