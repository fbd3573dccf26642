"""`prospect translate`: a config of another trainer as a recipe, and what became of each of its keys."""

from __future__ import annotations

import argparse

from prospect.errors import UsageError
from prospect.outputs import output_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from prospect.translate.tools import TOOLS

    parser.add_argument(
        "config",
        metavar="FILE|COMMAND",
        help='a YAML or JSON file, or a command in quotes: "trl kto --config kto.yaml", "swift rlhf ..."',
    )
    parser.add_argument(
        "--from", dest="tool", choices=TOOLS, help="whose config it is (default: found out by its keys)"
    )
    parser.add_argument(
        "--method", metavar="NAME", help="what is trained, where the file does not say it: kto, dpo, sft"
    )
    parser.add_argument("--processes", type=int, metavar="N", help="how many processes share its steps (default 1)")
    parser.add_argument(
        "-o", "--output", type=output_file, metavar="RECIPE.yaml", help="the recipe (default: on stdout)"
    )
    parser.add_argument("--force", action="store_true", help="replace a recipe that is there")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if something could not be carried over")


def run(options: argparse.Namespace) -> int:
    """Translate, and say on stderr what each key became.

    Returns:
        1 with --strict if the recipe does not say all that the config says, else 0.
    """
    from prospect.cli.recipe_file import write_recipe
    from prospect.cli.translation_text import print_translation
    from prospect.translate.reading import read
    from prospect.translate.tools import TOOLS, tool_of
    from prospect.translate.translation import translate

    if options.processes is not None and options.processes < 1:
        raise UsageError(f"--processes is {options.processes}; expected 1 or more.")
    found = read(options.config)
    name = options.tool or found.tool
    made = translate(
        TOOLS[name] if name else tool_of(found.given, found.where),
        found.given,
        method=options.method or found.method,
        processes=options.processes or found.processes,
        folder=found.folder,
    )
    write_recipe(made.text(), options.output, force=options.force)
    print_translation(made)
    return int(options.strict and not made.is_whole)
