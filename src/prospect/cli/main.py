"""The command line: finds the verb, runs it, and turns errors into one message and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from prospect import __version__
from prospect.allocator import restart_without_small_caches
from prospect.cli.parser import Parser
from prospect.errors import ProspectError

# Verb to its module and its line of help. A module is imported only when its verb is used: help needs no torch.
VERBS = {
    "demo": "the main job on an embedded example, without network: thumbs, KTO, a report (4 minutes on 2 cores)",
    "data": "look at, convert and write feedback files",
    "train": "align a model on feedback",
    "generate": "let a model answer prompts",
    "compare": "methods, data conditions and seeds in one table with intervals",
    "evaluate": "score a model on held-out feedback, in a contest before a judge, and on benchmarks",
    "report": "write a run's report.html again",
    "losses": "list, show, draw and check the losses",
}


# The verbs that train.
_HEAVY = ("demo", "train", "compare")


def start() -> int:
    """The program itself: `main`, in a process whose memory is set up for training where that is what it does."""
    if sys.argv[1:2] and sys.argv[1] in _HEAVY:
        restart_without_small_caches()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 done, 1 failed, 2 wrong usage.
    """
    # Before torch starts: threads that wait by spinning take the core from those that work, and with one other busy
    # program beside it a run on two cores is slowed many times over. Asleep they cost little on an idle machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser, verbs = _parser()
    if arguments and arguments[0] in verbs:
        importlib.import_module(f"prospect.cli.{arguments[0]}").add_arguments(verbs[arguments[0]])
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        return importlib.import_module(f"prospect.cli.{options.verb}").run(options) or 0
    except ProspectError as error:
        print(f"{_kind(error)}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `prospect losses | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _kind(error: ProspectError) -> str:
    """The error's public name: users know those of `prospect.errors`, not the special cases made of them."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == ProspectError.__module__)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = Parser(
        prog="prospect", description="Align language models with human-aware losses, from thumbs up and thumbs down."
    )
    parser.add_argument("--version", action="version", version=f"prospect {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    return parser, {name: subparsers.add_parser(name, help=text, description=text) for name, text in VERBS.items()}


if __name__ == "__main__":
    sys.exit(start())
