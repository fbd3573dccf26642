"""`prospect --print-completion SHELL`: a script that lets a shell complete verbs, flags, choices and names of files."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from prospect.cli.parser import module_of, verbs_of
from prospect.terminal import say

SHELLS = ("bash", "zsh", "tcsh")
_NAMES_OF_FILES = ("FILE", "FOLDER", "DIR", "RUN", "MODEL", "OUT", "BEFORE", "AFTER", ".yaml", ".jsonl")


class PrintCompletion(argparse.Action):
    """Print the script and exit, as `--version` does."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Declare the arguments of every verb, for only the verb that is run has them, and print the script."""
        import shtab

        verbs = verbs_of(parser)
        for name, verb in verbs.items():
            module_of(name).add_arguments(verb)
        for part in [*verbs.values(), *verbs_of(verbs["data"]).values()]:
            for action in part._actions:
                if any(name in str(action.metavar) for name in _NAMES_OF_FILES):
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
        say(shtab.complete(parser, values).rstrip(), sys.stdout)
        parser.exit()
