"""Does the demo keep its word? Every method, with clean and with flipped thumbs, over several seeds.

    python benchmarks/demo.py [--images] [--methods kto dpo sft] [--noise 0 0.2] [--seeds 1 2] [--json FILE]

Each row is one `prospect demo`: the share of held-out customers whose sampled reply keeps every rule, before and after,
with exact 95 % intervals, and how often the aligned model's reply keeps more rules (as many counts half). With --noise
0.5 thumbs say nothing, which is the control. With --images the methods are compared on the pictures of `prospect demo
--images`, each tuned over as many settings, beside a control with shuffled thumbs (`image_arms.py`); --seeds is not for
these.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from image_arms import compare_arms

from prospect.cli.train import quiet_libraries
from prospect.demo.run import DemoOutcome, run_demo
from prospect.demo.settings import DemoFeedback
from prospect.evaluation import Rate, overlap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", action="store_true", help="pictures in place of texts")
    parser.add_argument("--methods", nargs="+", default=["kto", "dpo", "sft"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    quiet_libraries()
    results = compare_arms(options.methods, options.noise) if options.images else compare_demos(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def compare_demos(options: argparse.Namespace) -> list[dict[str, Any]]:
    print("| method | flipped | seed | before (95 %) | after (95 %) | intervals touch | wins (95 %) | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    results = []
    for method in options.methods:
        for noise in options.noise:
            for seed in options.seeds:
                with tempfile.TemporaryDirectory() as folder:
                    thumbs = DemoFeedback(noise)
                    outcome = run_demo(Path(folder), method=method, seed=seed, feedback=thumbs, quiet=True)
                results.append({"noise": noise, "seed": seed, **outcome.as_dict()})
                print(line(outcome, noise, seed), flush=True)
    return results


def line(outcome: DemoOutcome, noise: float, seed: int) -> str:
    touch = "yes" if overlap(outcome.before, outcome.after) else "no"
    cells = (
        percent(outcome.before),
        percent(outcome.after),
        touch,
        percent(outcome.win_rate),
        f"{outcome.seconds:.0f}",
    )
    return f"| {outcome.method} | {noise:.0%} | {seed} | {' | '.join(cells)} |"


def percent(rate: Rate) -> str:
    return f"{100 * rate.rate:.1f} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


if __name__ == "__main__":
    main()
