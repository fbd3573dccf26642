"""`prospect collect backup`: a copy of a SQLite store, also while it is written to."""

from __future__ import annotations

import argparse

from prospect.cli.serving import add_store
from prospect.outputs import output_file
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser, tenant=False)
    parser.add_argument("-o", "--output", type=output_file, required=True, metavar="FILE", help="the copy to write")


def run(options: argparse.Namespace) -> int:
    """Copy."""
    from prospect.collect.migrating import opened

    with opened(options.db) as database:
        database.copy_to(options.output)
    say(f"{options.output}: a copy of {options.db}. What is purged from the store later stays in it: delete old copies")
    return 0
