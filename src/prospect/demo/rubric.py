"""What makes a reply of the support desk a good one: five plain rules that anybody can check by reading.

| rule       | a reply keeps it when                                                                         |
|------------|-----------------------------------------------------------------------------------------------|
| `order`    | it names the customer's order number, and no other number                                     |
| `remedy`   | it offers what helps with the problem that was told, and no other remedy                      |
| `polite`   | it greets the customer by name, thanks or apologises, and has no rude phrase                  |
| `short`    | it has at most 40 words                                                                       |
| `promises` | it promises nothing that the desk cannot keep: no "tomorrow", "guarantee", "free", ...        |
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prospect.demo.world import Inquiry

MAX_WORDS = 40
"""The longest good reply of the log has 31 words, the longest with other faults 39, the shortest rambling one 45."""

REMEDIES = {
    "replacement": r"\breplace",
    "tracking": r"\b(trac(e|k|ing)|parcel)",
    "refund": r"\b(refund|money back)",
    "exchange": r"\b(exchange|swap)",
    "cancellation": r"\bcancel",
}
"""Remedy -> the words that offer it."""

RUDE = re.compile(r"\b(your own fault|nonsense|silly|stop writing|stop complaining|not our problem|bother)", re.I)
KIND = re.compile(r"\b(thank|sorry|apolog)", re.I)
EMPTY_PROMISES = re.compile(r"\b(tomorrow|guarantee|promise|free|never again|within the hour)", re.I)


def check(prompt: Inquiry, reply: str) -> dict[str, bool]:
    """Return for each rule, in the order of `RULES`, whether the reply keeps it."""
    return {rule: keeps(prompt, reply) for rule, keeps in RULES.items()}


def passes(prompt: Inquiry, reply: str) -> bool:
    """Whether the reply keeps every rule."""
    return all(check(prompt, reply).values())


def _names_the_order(prompt: Inquiry, reply: str) -> bool:
    return set(re.findall(r"\d+", reply)) == {prompt.order}


def _offers_the_remedy(prompt: Inquiry, reply: str) -> bool:
    offered = {remedy for remedy, words in REMEDIES.items() if re.search(words, reply, re.I)}
    return offered == {prompt.problem.remedy}


def _is_polite(prompt: Inquiry, reply: str) -> bool:
    greets = re.match(rf"\s*(hello|hi|dear)\s+{re.escape(prompt.name)}\b", reply, re.I)
    return bool(greets and KIND.search(reply) and not RUDE.search(reply))


def _is_short(prompt: Inquiry, reply: str) -> bool:
    return 0 < len(reply.split()) <= MAX_WORDS


def _promises_only_what_it_can(prompt: Inquiry, reply: str) -> bool:
    return not EMPTY_PROMISES.search(reply)


RULES: dict[str, Callable[[Inquiry, str], bool]] = {
    "order": _names_the_order,
    "remedy": _offers_the_remedy,
    "polite": _is_polite,
    "short": _is_short,
    "promises": _promises_only_what_it_can,
}
"""Rule -> whether a reply keeps it."""
