"""What is in the texts: personal data, broken characters, languages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from prospect.feedback.doctor.checks.case import Case, several, that
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.findings import Finding, Severity
from prospect.feedback.wording import names

_ODD: dict[str, tuple[Severity, str, str]] = {
    "nul": ("warning", "NUL characters", "Remove the characters: some tokenizers end the text there."),
    "control": ("warning", "control characters", "Remove them; terminal colours and printer codes are no language."),
    "replacement": (
        "warning",
        "the replacement character (a question mark in a diamond)",
        "The text was decoded with the wrong encoding once, and what stood there is lost. Export it again.",
    ),
    "mojibake": (
        "warning",
        "UTF-8 that was read as Latin-1 (such as Ã© for é)",
        "Export again as UTF-8, or decode once more: the model would learn to write this.",
    ),
    "bidi": (
        "warning",
        "characters that turn the direction of text",
        "Look at the texts: what is shown is not what is read.",
    ),
    "zero_width": ("note", "invisible characters of no width", "Remove them, unless the language needs them."),
    "private_use": ("note", "private characters that only one font knows", "Replace or remove them."),
}
_OTHER_ODD: tuple[Severity, str] = ("note", "Look at some of the rows.")
_KINDS = {
    "ip": "IP address",
    "iban": "bank account",
    "card": "payment card",
    "key": "secret key",
    "phone": "phone number",
}


def personal_data(case: Case) -> Iterator[Finding]:
    """E-mail addresses, phone numbers, cards, keys."""
    traits = case.data.traits
    found = {trait.removeprefix("personal:"): rows for trait, rows in traits.items() if trait.startswith("personal:")}
    if not found:
        return
    rows = pl.concat(found.values()).unique().sort()
    each = names(
        f"{_KINDS.get(kind, kind)} in {several(len(at), 'row')}"
        for kind, at in sorted(found.items(), key=lambda item: -len(item[1]))
    )
    yield case.finding(
        "personal_data",
        "warning",
        rows,
        f"{that(len(rows), 'row', 'seem')} to hold personal data or secrets: {each}{case.of_sample()}.",
        "A model can repeat what it was trained on. Replace them on import (prospect data import --redact), or remove "
        "the rows.",
    )


def odd_characters(case: Case) -> Iterator[Finding]:
    """Characters that should not be there."""
    for trait, rows in case.data.traits.items():
        if not trait.startswith("odd:"):
            continue
        name = trait.removeprefix("odd:")
        severity, what, advice = _ODD.get(name, (_OTHER_ODD[0], f"odd characters ({name})", _OTHER_ODD[1]))
        yield case.finding(
            f"odd_characters_{name}", severity, rows, f"{that(len(rows), 'row', 'hold')} {what}.", advice
        )


def other_script(case: Case) -> Iterator[Finding]:
    """Completions in another script than their prompt."""
    rows = case.data.marked("other_script")
    if len(rows):
        share = len(rows) / len(case.data)
        yield case.finding(
            "other_script",
            "note",
            rows,
            f"{that(len(rows), 'completion', 'are', share)} written in another script than their prompt.",
            "Fine for translations; else the model answered in the wrong language.",
        )


def script_summary(data: Gathered) -> dict[str, int]:
    """Return the script of the (first) completion -> rows."""
    return data.frequencies("script")


def turn_summary(data: Gathered) -> dict[str, Any]:
    """Return turns of prompt and completion together -> rows; a string is one turn."""
    return {str(turns): rows for turns, rows in sorted(data.frequencies("turns").items())}


CHECKS = (personal_data, odd_characters, other_script)
