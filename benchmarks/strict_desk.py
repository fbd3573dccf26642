"""The demo's support desk with a stricter judge: seven rules, of which the base model keeps all in one reply of seven.

    prospect label replies.jsonl --judge verifier:python:benchmarks/strict_desk.py:keeps_seven_rules -o thumbs.jsonl

| rule     | a reply keeps it when                                              |
|----------|--------------------------------------------------------------------|
| the five | it keeps the demo's own rules (`prospect.demo.rubric`)             |
| `sorry`  | it says that the desk is sorry                                     |
| `signed` | it ends with "the support desk", as two of the three closings do   |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prospect.demo.rounds_world import kept_rules


def keeps_seven_rules(prompt: Any, completion: str, target: Mapping[str, str]) -> bool:
    """Return whether a reply keeps the demo's five rules, says sorry, and is signed by the support desk."""
    return is_sorry(completion) and is_signed(completion) and all(kept_rules(completion, target).values())


def is_sorry(reply: str) -> bool:
    """Return whether a reply says sorry."""
    return re.search(r"\bsorry\b", reply, re.IGNORECASE) is not None


def is_signed(reply: str) -> bool:
    """Return whether a reply ends with the desk's name."""
    return reply.rstrip().endswith("the support desk")
