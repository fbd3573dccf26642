"""`prospect benchmark`: a model on tasks of lm-evaluation-harness, beside another one."""

from __future__ import annotations

import argparse

from prospect.cli.announce import announce_gguf
from prospect.cli.device import add_device
from prospect.cli.result import add_result, check_result, write_result
from prospect.evaluation.answers.subject import find_subject
from prospect.statistics.estimates import Intervals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", help="a run directory, a model or adapter folder, a .gguf file, a hub name"
    )
    parser.add_argument(
        "--tasks",
        required=True,
        metavar="A,B",
        help="of lm-evaluation-harness: gsm8k,mmlu,bbh,humaneval,ifeval, ...",
    )
    parser.add_argument("--against", metavar="MODEL", help="another model; the change gets an interval")
    parser.add_argument("--limit", type=int, help="look at this many documents of a task at most")
    add_result(parser, "benchmarks")
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (default 0.95)")
    parser.add_argument("--num-fewshot", type=int, metavar="N", help="examples before a question (default: the task's)")
    parser.add_argument("--apply-chat-template", action="store_true", help="ask through the chat template")
    parser.add_argument("--include-path", metavar="DIR", help="a folder with tasks of your own")
    parser.add_argument(
        "--allow-code-execution", action="store_true", help="run programs that the model writes, with your rights"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the harness and the intervals' draws (default 0)")
    parser.add_argument("--batch-size", type=int, default=64, help="speed and memory, never the result (default 64)")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Run the tasks, print a table, and write the result."""
    from prospect.cli.train import quiet_libraries
    from prospect.evaluation.benchmarks.harness import Benchmarking, run_benchmarks

    quiet_libraries()
    subject = find_subject(options.model)
    check_result(options, subject)
    announce_gguf(options.model, options.against)
    how = Benchmarking(
        limit=options.limit,
        num_fewshot=options.num_fewshot,
        batch_size=options.batch_size,
        chat_template=options.apply_chat_template,
        allow_code_execution=options.allow_code_execution,
        include=options.include_path,
        seed=options.seed,
        intervals=Intervals(level=options.level),
    )
    tasks = [name for name in options.tasks.split(",") if name]
    write_result(options, subject, run_benchmarks(options.model, tasks, options.against, how))
    return 0
