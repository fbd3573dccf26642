"""`prospect losses`: what can be trained, with its hyperparameters."""

from __future__ import annotations

import argparse
import inspect
import json

from prospect.losses import Loss, all_losses, get_loss


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("name", nargs="?", help="show this one: its equation, arguments and source")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")


def run(options: argparse.Namespace) -> int:
    """Prints a table of all losses, or one loss whole."""
    chosen = [get_loss(options.name)] if options.name else list(all_losses().values())
    if options.json:
        print(json.dumps([_as_dict(loss) for loss in chosen], indent=2))
    elif options.name:
        print(f"{_table(chosen)}\n\n{inspect.getdoc(chosen[0].function)}")
    else:
        print(_table(chosen))
    return 0


def _as_dict(loss: Loss) -> dict[str, object]:
    return {
        "name": loss.name,
        "feedback": loss.feedback,
        "level": loss.level,
        "needs_reference": loss.needs_reference,
        "needs_reference_point": loss.needs_reference_point,
        "is_halo": loss.is_halo,
        "hyperparameters": loss.hyperparameters,
        "learning_rate": loss.learning_rate,
        "paper": loss.paper,
    }


def _table(losses: list[Loss]) -> str:
    header = ("name", "feedback", "reference", "z0", "HALO", "learning rate", "hyperparameters", "paper")
    rows = [
        (
            loss.name,
            loss.feedback,
            _yes(loss.needs_reference),
            _yes(loss.needs_reference_point),
            _yes(loss.is_halo),
            f"{loss.learning_rate:g}",
            ", ".join(f"{name}={value:g}" for name, value in loss.hyperparameters.items()),
            loss.paper,
        )
        for loss in losses
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def _yes(value: bool) -> str:
    return "yes" if value else "-"
