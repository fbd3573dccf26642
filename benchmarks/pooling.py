"""Do the intervals of `prospect compare` hold what they promise? Simulated studies whose truth is known.

    python benchmarks/pooling.py [--rounds 4000] [--json FILE]

Prompts differ in log-odds by a standard deviation of 1.2, seeds by the one in the table.

First table. `covers`: how often the 95 % interval of a share holds the truth, and that of prompts alone. The others:
how often two equal methods get a p value below 5 %, and below what Holm's correction asks for first among 9 and 30
cells; as computed, and by Satterthwaite's degrees of freedom.

Second table, the tuned protocol: of several settings, equally good or on a curve, the one with the best mean is chosen
and then reported with ten seeds. On prompts and seeds of its own, as `prospect compare` does; and, for comparison, on
the very prompts and seeds that are reported. `too high` is the mean less the truth, in points.

Third table: how often a method that is 2, 4 or 8 points better than another is shown to be at the level that Holm's
correction asks of the first among seven comparisons; in brackets the power that follows from the smallest difference
that `prospect compare` prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr

from prospect.atomic import write_json
from prospect.studies.pooling import Pooled, pool

PROMPTS, HARD = 200, 1.2
ALPHAS = (0.05, 0.05 / 9, 0.05 / 30)
TUNING_PROMPTS, TUNING_SEEDS, FINAL_SEEDS = 100, 2, 10
TRIES = {"5 equal": (0.0,) * 5, "9 equal": (0.0,) * 9, "5 on a curve": (-0.8, -0.2, 0.0, -0.2, -0.8)}
"""What each setting that is tried adds to the log-odds."""
EFFECTS, COMPARISONS = (0.02, 0.04, 0.08), 7
MANY = 10**6  # draws for a truth: its error is a twentieth of a point


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4_000)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    results = {
        "intervals": list(intervals(options.rounds)),
        "tuned": list(tuned(options.rounds // 4)),
        "power": list(power(options.rounds // 4)),
    }
    if options.json:
        write_json(options.json, results)


def intervals(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield and print the rows of the first table."""
    print("| seeds | they differ by | covers | by prompts alone | p < 5 % | p < 0.56 % | p < 0.17 % |")
    print("|---|---|---|---|---|---|---|")
    for seeds in (3, 5):
        for spread in (0.0, 0.3, 0.5, 1.0):
            found = simulate(seeds, spread, rounds)
            alarms = [f"{100 * a:.1f} % ({100 * b:.1f} %)" for a, b in zip(found["ours"], found["theirs"], strict=True)]
            shares = [f"{100 * found[name]:.0f} %" for name in ("covers", "by_prompts")]
            print(f"| {seeds} | {spread} | {' | '.join([*shares, *alarms])} |", flush=True)
            yield {"seeds": seeds, "spread": spread, **found}


def tuned(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield and print the rows of the second table."""
    print("\n| tries | seeds differ by | covers | too high | tuned on what is reported: covers | too high |")
    print("|---|---|---|---|---|---|")
    for name, offsets in TRIES.items():
        for spread in (0.3, 0.5, 1.0):
            found = simulate_tuned(offsets, spread, rounds)
            texts = [
                f"{100 * found[f'covers_{kind}']:.0f} % | {100 * found[f'too_high_{kind}']:+.1f}"
                for kind in ("apart", "same")
            ]
            print(f"| {name} | {spread} | {' | '.join(texts)} |", flush=True)
            yield {"tries": name, "spread": spread, **found}


def power(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield and print the rows of the third table."""
    heads = " | ".join(f"{100 * effect:.0f} points" for effect in EFFECTS)
    print(f"\n| seeds | they differ by | 80 % power from, points | {heads} |\n|---|---|---|{'---|' * len(EFFECTS)}")
    for seeds in (5, 10):
        for spread in (0.0, 0.3, 0.5):
            found = [simulate_power(effect, seeds, spread, rounds) for effect in EFFECTS]
            texts = [f"{100 * one['shown']:.0f} % ({100 * one['said']:.0f} %)" for one in found]
            print(f"| {seeds} | {spread} | {100 * found[0]['detectable']:.1f} | {' | '.join(texts)} |", flush=True)
            yield from ({"seeds": seeds, "spread": spread, **one} for one in found)


def simulate(seeds: int, spread: float, rounds: int) -> dict[str, Any]:
    """Shares of rounds."""
    draw = np.random.default_rng(0)
    truth = rate(spread, draw)
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


def simulate_tuned(offsets: Sequence[float], spread: float, rounds: int, seed: int = 0) -> dict[str, float]:
    """Shares of rounds whose interval holds the truth of the chosen try, and by how much its mean is too high."""
    draw = np.random.default_rng(seed)
    truths = [rate(spread, draw, offset) for offset in offsets]
    found = dict.fromkeys(("covers_apart", "covers_same", "too_high_apart", "too_high_same"), 0.0)
    for _ in range(rounds):
        hard = draw.normal(0, HARD, PROMPTS)
        final = [study(hard + offset, FINAL_SEEDS, spread, draw) for offset in offsets]
        own = draw.normal(0, HARD, TUNING_PROMPTS)
        tries = [study(own + offset, TUNING_SEEDS, spread, draw) for offset in offsets]
        for kind, chosen_by in (("apart", tries), ("same", final)):
            best = int(np.argmax([table.mean() for table in chosen_by]))
            pooled = pool(final[best].tolist())
            low, high = pooled.rate_interval()
            found[f"covers_{kind}"] += (low <= truths[best] <= high) / rounds
            found[f"too_high_{kind}"] += (pooled.value - truths[best]) / rounds
    return found


def simulate_power(effect: float, seeds: int, spread: float, rounds: int) -> dict[str, float]:
    """How often an effect is shown, how often it should be, and the smallest one of 80 % power in the mean."""
    draw, alpha = np.random.default_rng(0), 0.05 / COMPARISONS
    shift = shift_of(effect, spread)
    shown, said, detectable = 0.0, 0.0, 0.0
    for _ in range(rounds):
        hard = draw.normal(0, HARD, PROMPTS)
        apart = pool((study(hard + shift, seeds, spread, draw) - study(hard, seeds, spread, draw)).tolist())
        shown += (apart.p_differs(0.0) < alpha and apart.value > 0) / rounds
        said += power_of(apart, effect, alpha) / rounds
        detectable += (apart.detectable(alpha) or 0.0) / rounds
    return {"effect": effect, "shown": shown, "said": said, "detectable": detectable}


def power_of(pooled: Pooled, effect: float, alpha: float) -> float:
    """The power at which `effect` is the smallest detectable difference."""
    return float(brentq(lambda power: (pooled.detectable(alpha, power) or 0.0) - effect, 1e-9, 1 - 1e-9))


def shift_of(effect: float, spread: float) -> float:
    """What must be added to the log-odds for so much more to pass."""
    base = rate(spread, np.random.default_rng(1))
    return float(
        brentq(lambda shift: rate(spread, np.random.default_rng(1), shift) - base - effect, 0.0, 2.0, xtol=1e-3)
    )


def rate(spread: float, draw: np.random.Generator, offset: float = 0.0) -> float:
    """The share that passes of all prompts and seeds."""
    return float(passes(offset + draw.normal(0, HARD, MANY) + draw.normal(0, spread, MANY)).mean())


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
