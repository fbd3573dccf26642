"""`prospect collect migrate`: the newest schema, as `prospect serve` brings it at its start."""

from __future__ import annotations

import argparse

from prospect.cli.serving import add_store
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser, tenant=False)


def run(options: argparse.Namespace) -> int:
    """Migrate, and say whether there was anything to do."""
    from prospect.collect.database import Database
    from prospect.collect.migrating import migrate

    database = Database(options.db)
    try:
        done = migrate(database)
    finally:
        database.close()
    say(f"{database.name}: {'has the newest schema now' if done else 'had the newest schema already'}")
    return 0
