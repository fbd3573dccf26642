"""The prompt of a pair that has no prompt column: what chosen and rejected begin with."""

from __future__ import annotations

from prospect.errors import DataError
from prospect.feedback.files.text import Turns
from prospect.feedback.records import Text
from prospect.feedback.wording import type_name


def split_shared_prompt(chosen: Text, rejected: Text, where: str) -> tuple[Text, Text, Text]:
    """Return prompt, chosen and rejected of a pair whose prompt is their shared beginning.

    prompt + chosen is the chosen text that came in, and likewise for rejected. Of strings the prompt is the
    longest common prefix, cut back to before the last white space, so that the first differing word is whole
    and begins with its space; it may be empty. Of conversations it is the shared leading turns, up to an
    assistant turn on both sides.

    Refuses conversations without a shared user turn, and a string beside a conversation.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        cut = shared_length(chosen, rejected)
        return chosen[:cut], chosen[cut:], rejected[cut:]
    if isinstance(chosen, tuple) and isinstance(rejected, tuple):
        turns = _shared_turns(chosen, rejected, where)
        return chosen[:turns], chosen[turns:], rejected[turns:]
    raise DataError(
        f"{where}: chosen is {_kind(chosen)} and rejected is {_kind(rejected)}; without a column prompt "
        "expected both of one type. Write both as conversations, or add the column prompt"
    )


def shared_length(chosen: str, rejected: str) -> int:
    """Return how many leading characters are the prompt: the common prefix without its last, broken word."""
    common = _common_prefix_length(chosen, rejected)
    prefix = chosen[:common]
    both_go_on_with_space = chosen[common : common + 1].isspace() and rejected[common : common + 1].isspace()
    if prefix and not prefix[-1].isspace() and not both_go_on_with_space:
        prefix = prefix.removesuffix(prefix.rsplit(None, 1)[-1])
    return len(prefix.rstrip())


def _common_prefix_length(a: str, b: str) -> int:
    """Bisect: slices compare at the speed of memory, a loop over characters does not."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _shared_turns(chosen: Turns, rejected: Turns, where: str) -> int:
    cut = 0
    while cut < min(len(chosen), len(rejected)) - 1 and chosen[cut] == rejected[cut]:
        cut += 1
    while cut > 0 and not (chosen[cut].role == rejected[cut].role == "assistant"):
        cut -= 1
    if not any(turn.role == "user" for turn in chosen[:cut]):
        raise DataError(
            f"{where}: chosen and rejected share no user turn before the assistant's answer; without a "
            "column prompt the shared leading turns are the prompt. Add the column prompt, or repair the pair"
        )
    return cut


def _kind(text: Text) -> str:
    return type_name(text) if isinstance(text, str) else "a conversation"
