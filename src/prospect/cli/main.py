"""The command line: finds the verb, runs it, and turns errors into one message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence

from prospect import __version__, progress
from prospect.cli.completion import SHELLS, PrintCompletion
from prospect.cli.moved import commands_of_today, run_as
from prospect.cli.parser import Parser, module_of
from prospect.errors import ProspectError, RunStopped
from prospect.models.device import on_device
from prospect.progress import timing
from prospect.terminal import say
from prospect.training.memory.allocator import restart_without_small_caches
from prospect.training.processes.place import speaks

# Verb to its module and its line of help. A module is imported only when its verb is used: help needs no torch.
VERBS = {
    "demo": "the main job on an embedded example, without network: thumbs, KTO, a report (eighty seconds on 2 cores)",
    "data": "look at, convert and write feedback files",
    "init": "look at feedback, and write a commented recipe that trains on it",
    "train": "align a model on feedback",
    "translate": "make a recipe of a config of TRL, LLaMA-Factory, Axolotl or ms-swift",
    "collect": "votes on a model that is in use: export, count, erase, back up",
    "rounds": "sample, label, align again: rounds on what the model itself writes",
    "merge": "fold an adapter into its base, or dequantise GGUF: a plain model folder",
    "check-model": "try a model's folder as a server would load it, and compare with what training saw",
    "push": "upload a run's model or adapter, with its card, to the Hugging Face hub",
    "generate": "let a model answer prompts",
    "label": "let a judge give thumbs to completions",
    "compare": "methods, data conditions and seeds in one table with intervals",
    "evaluate": "score a model on held-out feedback",
    "contest": "let two sides answer the same prompts before a judge, or check the judge itself",
    "benchmark": "run a model on tasks of lm-evaluation-harness, beside another one",
    "serve": "stand in front of a model that is in use: record its answers, take thumbs",
    "watch": "show a run in the terminal while it goes on: curves, speed, time left, samples, alarms",
    "report": "write the report.html of a run, or of rounds, again",
    "promote": "make a run the model that answers, by steps that can be taken back",
    "losses": "list, show, draw and check the losses",
}


WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
"""How threads of OpenMP wait for the others: they spin for a moment and then sleep. By spinning alone they take the
core from those that work, and with one other busy program beside it a run on two cores is slowed many times over. Put
to sleep at once they cost a seventh of a step on an idle machine."""

# The verbs that train.
_HEAVY = ("demo", "train", "rounds", "compare")


def start() -> int:
    """Run the program: `main`, in a process whose memory is set up for training where the command trains."""
    if sys.argv[1:2] and sys.argv[1] in _HEAVY:
        restart_without_small_caches()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Whatever goes wrong ends in a message: only an error that nobody foresaw, which is a bug, shows its traceback.

    Returns:
        0 done, 1 failed, 2 wrong usage.
    """
    # Before torch, which reads them once.
    for name, value in {**WAITING, "PYTORCH_ENABLE_MPS_FALLBACK": "1"}.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():  # the bars of libraries are for terminals
        os.environ.setdefault("TQDM_DISABLE", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal's encoding lacks is shown as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, where a full disk is still an error with a message
        return code
    except ProspectError as error:
        say(f"{_kind(error)}: {error}")
        return error.exit_code
    except RunStopped as stop:
        if str(stop):
            say(stop)
        return stop.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # `prospect losses | head`
        _drop_stdout()
        return 1
    except OSError as error:
        say(f"OSError: {_reason(error)}")
        if error.errno == errno.ENOSPC:
            _drop_stdout()
        return 1
    except (MemoryError, RecursionError) as error:
        say(f"{type(error).__name__}: {_LIMITS[type(error)]}")
        return 1
    except Exception:
        say(traceback.format_exc(), end="")
        say("If no code of your own is to blame, this is a bug in Prospect: please report it with these lines.")
        return 1


def _run(arguments: list[str]) -> int:
    parser, verbs = _parser()
    arguments = run_as(arguments)
    if arguments and arguments[0] in verbs:
        module_of(arguments[0]).add_arguments(verbs[arguments[0]])
    options = parser.parse_args(arguments)
    if options.verb == "evaluate" and commands_of_today(arguments[1:]):
        parser.error("no one command does all of that")
    if options.verb is None:
        parser.print_help(sys.stderr)
        return 2
    silent = getattr(options, "quiet", False) or getattr(options, "live", False)
    quiet = silent or (options.verb == "train" and not speaks())
    with (
        timing.taken() as stopwatch,
        on_device(getattr(options, "device", "auto")),
        progress.shown(f"prospect {options.verb}", quiet=quiet),
    ):
        code = module_of(options.verb).run(options) or 0
    if getattr(options, "timing", False):
        say(timing.table(stopwatch.parts()))
    return code


_LIMITS: dict[type[BaseException], str] = {
    MemoryError: "there is not enough memory. Give the program more, or let it read less at once.",
    RecursionError: "something that was read is nested too deeply. Flatten it; if nothing is, please report a bug.",
}
_ADVICE = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOENT: "Check the name",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
}


def _reason(error: OSError) -> str:
    """Return what the system says, the file it says it of, and what to do."""
    if error.errno is None:  # raised by a library, in its own words
        return " ".join(str(error).split()) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    advice = _ADVICE.get(error.errno, "Check that it is there, and that you may read and write it")
    return f"{': '.join([*names[:1], str(error.strerror)])}. {advice}."


def _drop_stdout() -> None:
    """Let what is left in the buffer of stdout go nowhere, or Python tries to write it once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _kind(error: ProspectError) -> str:
    """Return the error's public name: users know those of `prospect.errors`, not the special cases made of them."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == ProspectError.__module__)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = Parser(
        prog="prospect", description="Align language models with human-aware losses, from thumbs up and thumbs down."
    )
    parser.add_argument("--version", action="version", version=f"prospect {__version__}")
    parser.add_argument(
        "--print-completion", action=PrintCompletion, choices=SHELLS, help="print a script that completes commands"
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    return parser, {name: subparsers.add_parser(name, help=text, description=text) for name, text in VERBS.items()}


if __name__ == "__main__":
    sys.exit(start())
