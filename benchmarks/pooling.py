"""Do the intervals of `prospect compare` hold what they promise? Simulated studies whose truth is known.

    python benchmarks/pooling.py [--rounds 4000] [--json FILE]

Prompts differ in log-odds by a standard deviation of 1.2, seeds by the one in the table. `covers`: how often the 95 %
interval of a share holds the truth, and that of prompts alone. The others: how often two equal methods get a p value
below 5 %, and below what Holm's correction asks for first among 9 and 30 cells; as computed, and by Satterthwaite's
degrees of freedom.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr

from prospect.studies.pooling import Pooled, pool

PROMPTS, HARD = 200, 1.2
ALPHAS = (0.05, 0.05 / 9, 0.05 / 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4_000)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    print("| seeds | they differ by | covers | by prompts alone | p < 5 % | p < 0.56 % | p < 0.17 % |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for seeds in (3, 5):
        for spread in (0.0, 0.3, 0.5, 1.0):
            found = simulate(seeds, spread, options.rounds)
            results.append({"seeds": seeds, "spread": spread, **found})
            alarms = [f"{100 * a:.1f} % ({100 * b:.1f} %)" for a, b in zip(found["ours"], found["theirs"], strict=True)]
            shares = [f"{100 * found[name]:.0f} %" for name in ("covers", "by_prompts")]
            print(f"| {seeds} | {spread} | {' | '.join([*shares, *alarms])} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def simulate(seeds: int, spread: float, rounds: int) -> dict[str, Any]:
    """Shares of rounds."""
    draw = np.random.default_rng(0)
    truth = float(passes(draw.normal(0, HARD, 10**6) + draw.normal(0, spread, 10**6)).mean())
    covers = by_prompts = 0
    ours, theirs = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    for _ in range(rounds):
        hard = draw.normal(0, HARD, PROMPTS)
        first, second = (study(hard, seeds, spread, draw) for _ in range(2))
        low, high = pool(first.tolist()).rate_interval()
        covers += low <= truth <= high
        low, high = pool([first.mean(0).tolist()]).interval()
        by_prompts += low <= truth <= high
        apart = pool((first - second).tolist())
        ours += [apart.p_differs(0.0) < alpha for alpha in ALPHAS]
        theirs += [satterthwaite(apart) < alpha for alpha in ALPHAS]
    shares = {"covers": covers / rounds, "by_prompts": by_prompts / rounds}
    return {**shares, "ours": (ours / rounds).tolist(), "theirs": (theirs / rounds).tolist()}


def passes(odds: np.ndarray) -> np.ndarray:
    """The probability that goes with log-odds."""
    return 1 / (1 + np.exp(-odds))


def study(hard: np.ndarray, seeds: int, spread: float, draw: np.random.Generator) -> np.ndarray:
    """What each seed scores on each prompt, 0 or 1: (seeds, prompts)."""
    chances = passes(hard + draw.normal(0, spread, (seeds, 1)))
    return (draw.random(chances.shape) < chances).astype(float)


def satterthwaite(pooled: Pooled) -> float:
    """The usual p value."""
    if not pooled.parts:
        return 1.0
    freedom = pooled.error**4 / sum(part**2 / df for part, df in pooled.parts)
    return float(2 * stdtr(freedom, -abs(pooled.value) / pooled.error))


if __name__ == "__main__":
    main()
