"""`prospect generate`: prompts in, sampled completions out."""

from __future__ import annotations

import argparse
import sys

from prospect.cli.train import quiet_libraries
from prospect.evaluation.generate import generate_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="a model folder (a run's model/), adapter folder or hub name")
    parser.add_argument(
        "--prompts", required=True, metavar="FILE", help="rows with a column prompt; other columns are ignored"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="JSONL: prompt, completion, finished")
    parser.add_argument("--samples", type=int, default=1, help="completions of each prompt (default 1)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="where a completion is cut (default 256)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default 0.8)")
    parser.add_argument(
        "--top-p", type=float, default=0.95, help="sample among the tokens that hold this share (default 0.95)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other completions (default 0)")
    parser.add_argument("--batch-size", type=int, default=64, help="speed and memory, never the result (default 64)")


def run(options: argparse.Namespace) -> int:
    """Generates and says how many."""
    quiet_libraries()
    count = generate_file(
        options.model,
        options.prompts,
        options.output,
        samples_per_prompt=options.samples,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    print(f"{count} completions: {options.output}", file=sys.stderr)
    return 0
