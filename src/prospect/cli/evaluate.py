"""`prospect evaluate`: a model on held-out feedback, every number with its interval."""

from __future__ import annotations

import argparse

from prospect.cli.announce import announce_gguf
from prospect.cli.device import add_device
from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.rendering import add_rendering, asked_rendering
from prospect.cli.result import add_result, check_result, one_or_more, write_result
from prospect.errors import UsageError
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import find_subject
from prospect.statistics.estimates import Intervals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", help="a run directory, a model or adapter folder, a .gguf file, a hub name"
    )
    parser.add_argument("--data", nargs="+", metavar="FILE", help="held-out feedback (default: what the run held out)")
    parser.add_argument("--reference", metavar="MODEL", help="of log-ratios (default: the run's own); none for none")
    parser.add_argument("--limit", type=int, help="look at this many rows at most")
    add_result(parser, "feedback")
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (default 0.95)")
    add_label_map(parser)
    parser.add_argument("--beta", type=float, help="scale of implied rewards (default: the run's, else 0.1)")
    parser.add_argument(
        "--kl-prompts", type=int, default=64, metavar="N", help="prompts sampled for KL, 0 for none (default 64)"
    )
    parser.add_argument(
        "--kl-tokens", type=int, default=128, metavar="N", help="where such a sample is cut (default 128)"
    )
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens of a row (default: the run's)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and the intervals' draws (default 0)")
    parser.add_argument("--batch-size", type=int, default=64, help="speed and memory, never the result (default 64)")
    add_rendering(parser, usual="as the run was trained; else by the model's own template")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, print a table, and write the result."""
    from prospect.cli.train import quiet_libraries
    from prospect.evaluation.held_out.preference import Settings, evaluate_feedback

    quiet_libraries()
    subject = find_subject(options.model)
    if not options.data and subject.kind not in ("run", "completions", "endpoint"):
        raise UsageError(f"nothing to evaluate {options.model} on: name --data FILE.")
    check_result(options, subject)
    announce_gguf(options.model)
    settings = Settings(
        beta=options.beta,
        kl_prompts=options.kl_prompts,
        kl_tokens=options.kl_tokens,
        max_length=options.max_length,
        batch_size=options.batch_size,
        seed=options.seed,
        intervals=Intervals(level=options.level),
        rendering=RenderingOptions(**asked_rendering(options)),
    )
    result = evaluate_feedback(
        options.model,
        one_or_more(options.data),
        options.reference,
        label_map=read_label_map(options.label_map),
        limit=options.limit,
        settings=settings,
    )
    write_result(options, subject, result)
    return 0
