"""`prospect merge`: an adapter and what it sits on become one plain folder; GGUF becomes safetensors."""

from __future__ import annotations

import argparse

from prospect.outputs import output_folder
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model", metavar="RUN_OR_ADAPTER", help="a run directory, an adapter's folder or hub name, or a .gguf file"
    )
    parser.add_argument("-o", "--output", required=True, type=output_folder, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of the merged weights; half precision takes half the room and rounds what the adapter learnt "
        "(default float32)",
    )


def run(options: argparse.Namespace) -> int:
    """Merge, and say where the model is."""
    from prospect.cli.train import quiet_libraries
    from prospect.errors import UsageError
    from prospect.evaluation.answers.subject import find_subject
    from prospect.models.merging import write_merged

    quiet_libraries()
    subject = find_subject(options.model)
    if subject.source is None:
        raise UsageError(f"{options.model}: expected a run directory, an adapter, or a .gguf file.")
    output = options.output.expanduser()
    write_merged(subject.settings.model_copy(update={"dtype": options.dtype}), output)
    say(f"model   {output} ({subject.source})")
    return 0
