"""`--device`, as every command takes it that has no recipe and lets models compute; `prospect.cli.main` heeds it."""

from __future__ import annotations

import argparse

from prospect.models.device import DEVICES


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="where models compute (default auto: an accelerator that PyTorch finds, else the CPU)",
    )
