"""`--label-map`, as several actions take it."""

from __future__ import annotations

import argparse
from typing import Any

from prospect.errors import UsageError
from prospect.yaml_text import parse


def add_label_map(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.add_argument("--label-map", metavar="YAML", help="your label values, such as '{good: true, bad: false}'")


def read_label_map(text: str | None) -> dict[Any, bool] | None:
    """Return the mapping that the user wrote; None where there is none."""
    if text is None:
        return None
    value = parse(text, f"--label-map {text}", ["label_map"], lines=False)
    if not isinstance(value, dict):
        raise UsageError(f"--label-map {text}: expected a mapping such as '{{good: true, bad: false}}'.")
    return value
