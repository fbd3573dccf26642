"""`prospect collect ACTION`: what was collected, on its way to training, and out of the store again."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

# Action to its line of help; its module is prospect.cli.collect_ACTION, with add_arguments(parser) and run(options).
ACTIONS = {
    "export": "write feedback rows of the votes",
    "review": "count what waits for review, and how far people agree",
    "stats": "count turns and votes by model",
    "purge": "erase what somebody wrote, or what is too old",
    "retention": "say for how long texts are kept",
    "keys": "make, list and revoke API keys",
    "migrate": "bring a store to the newest schema",
    "backup": "copy a store that is in use",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in ACTIONS.items():
        _module(name).add_arguments(actions.add_parser(name, help=text, description=text))


def run(options: argparse.Namespace) -> int:
    """Run the action."""
    from prospect.cli.serving import needs_serve

    with needs_serve(f"prospect collect {options.action}"):
        return int(_module(options.action).run(options) or 0)


def _module(action: str) -> ModuleType:
    return importlib.import_module(f"prospect.cli.collect_{action}")
