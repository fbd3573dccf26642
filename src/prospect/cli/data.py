"""`prospect data ACTION`: feedback files without torch. Every action has a file of its own."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

# Action to its line of help; its module is prospect.cli.data_ACTION, with add_arguments(parser) and run(options).
ACTIONS = {
    "import": "turn the export of a chat tool into clean feedback rows",
    "inspect": "say what is in feedback files, what is wrong with them, and which method suits them",
    "label": "let a judge give thumbs to completions (the same as prospect label)",
    "convert": "write feedback in another kind: thumbs from pairs, pairs from thumbs, scored from both",
    "split": "hold out rows for evaluation, by prompt or by time",
    "export": "write feedback in the layout of another trainer",
    "freeze": "write a dataset with a manifest of what is in it",
    "diff": "say what changed between two feedback files",
    "purge": "remove somebody's rows",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in ACTIONS.items():
        _module(name).add_arguments(actions.add_parser(name, help=text, description=text))


def run(options: argparse.Namespace) -> int:
    """Run the action."""
    return int(_module(options.action).run(options) or 0)


def _module(action: str) -> ModuleType:
    return importlib.import_module(f"prospect.cli.data_{action}")
