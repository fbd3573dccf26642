"""How conversations are rendered, on the command line: the same arguments wherever a model gets prompts."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from prospect.errors import UsageError
from prospect.yaml_text import parse

NAMES = ("chat_template", "template_argument", "template_date", "system_role", "chat", "unrenderable")


def add_rendering(parser: argparse.ArgumentParser, *, usual: str, drops: bool = True) -> None:
    """Declare how conversations are rendered.

    Args:
        parser: of the command.
        usual: what is done without these.
        drops: whether the command leaves out what cannot be rendered.
    """
    group = parser.add_argument_group(f"how conversations are rendered (default: {usual})")
    group.add_argument(
        "--chat-template",
        metavar="FILE",
        help="the chat template: a file, its text, or a name of the tokenizer's several",
    )
    group.add_argument(
        "--template-argument",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="tell the template something, such as enable_thinking=false; may be repeated",
    )
    group.add_argument(
        "--template-date", metavar="DATE", help="what a template that prints the date is told, such as 2026-11-21"
    )
    group.add_argument(
        "--system-role",
        choices=("keep", "fold", "drop"),
        help="system turns: as they are, before the text of the next user turn, or left out",
    )
    group.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether plain text goes through the chat template, a prompt as one user turn; of a server, its chat",
    )
    if drops:
        group.add_argument(
            "--unrenderable",
            choices=("refuse", "drop"),
            help="prompts and rows that the template cannot render: an error, or left out and counted",
        )


def asked_rendering(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments ask for, by the names of `Rendering`; nothing of what they do not mention."""
    asked = {
        "chat_template": options.chat_template,
        "template_arguments": _arguments(options.template_argument) or None,
        "plain_as_chat": options.chat,
        "system_role": options.system_role,
        "unrenderable": getattr(options, "unrenderable", None),
        "date": _date(options.template_date),
    }
    return {name: value for name, value in asked.items() if value is not None}


def refuse_without_model(options: argparse.Namespace, *, server: bool) -> None:
    """Refuse what only a model from disk can be told: a server has its own template, and knows `--chat` alone."""
    for name in NAMES:
        if getattr(options, name) not in (None, []) and not (server and name == "chat"):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} is for models from disk; a server renders with a template of its own. Leave it out."
            )


def _arguments(given: list[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not (equals and key):
            raise UsageError(f"--template-argument {one}: expected KEY=VALUE, such as enable_thinking=false.")
        arguments[key] = parse(text, f"--template-argument {key}", [key], lines=False)
    return arguments


def _date(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--template-date {text}: expected a date, such as 2026-11-21 or 2026-11-21T09:30:00."
        ) from None
