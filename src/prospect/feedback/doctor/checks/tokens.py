"""Lengths in tokens of a sample of rows, as training would count them, and what the chat template makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prospect.feedback.convert.verdicts import to_unpaired
from prospect.feedback.records import Demonstration, Feedback, Scored, Text, Unpaired, text_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNJUDGED = -1  # the verdict on a completion that is neither desirable nor undesirable
LONGEST_DEFAULT = 2048
"""`data.max_length` where a recipe does not set it: the model's context, at most this."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of sampled completions.

    Attributes:
        model: whose tokenizer counted.
        row: (S,) the row of each completion; likewise its tokens:
        prompt: (S,)
        completion: (S,)
        desirable: (S,) verdict, -1 where there is none.
        plain: rows that go to the model without its chat template, if it has one.
        mismatched: rows whose prompt is rendered otherwise alone than before its completion.
        failed: rows that cannot be rendered.
        reason: why the first of these cannot.
    """

    model: str
    row: NDArray[Any]
    prompt: NDArray[Any]
    completion: NDArray[Any]
    desirable: NDArray[Any]
    plain: list[int]
    mismatched: list[int]
    failed: list[int]
    reason: str


class RowCounter(Protocol):
    """Counts the tokens of rows as training would see them; `prospect.data.token_counter` does."""

    has_chat_template: bool

    def is_plain(self, prompt: Text, completion: Text) -> bool:
        """Return whether a row goes to the model without a chat template."""

    def count(self, row: Unpaired | Demonstration) -> tuple[int, int, str | None]:
        """Return the tokens of prompt and completion, and why training would refuse the row, if it would."""


def count_tokens(model: str | Path, samples: Sequence[tuple[int, Feedback]], counter: RowCounter) -> Tokens:
    """Return the lengths of the sampled records.

    Args:
        model: its name.
        samples: row number and record.
        counter: of the model.
    """
    import numpy as np

    from prospect.feedback.chat.renderer import MISMATCH

    single = [(row, one) for row, record in samples for one in _of_one_completion(record)]
    lengths = [counter.count(one) for _, one in single]
    plain = {
        row
        for row, one in single
        if counter.has_chat_template and counter.is_plain(one.prompt, text_of(one.completion, one.where))
    }
    mismatched, failed, reason = set(), set(), ""
    for (row, _), (_, _, refusal) in zip(single, lengths, strict=True):
        if refusal == MISMATCH:
            mismatched.add(row)
        elif refusal:
            failed.add(row)
            reason = reason or refusal
    return Tokens(
        model=str(model),
        row=np.array([row for row, _ in single], dtype=np.int64),
        prompt=np.array([prompt for prompt, _, _ in lengths], dtype=np.int64),
        completion=np.array([completion for _, completion, _ in lengths], dtype=np.int64),
        desirable=np.array([_verdict(one) for _, one in single], dtype=np.int8),
        plain=sorted(plain),
        mismatched=sorted(mismatched),
        failed=sorted(failed),
        reason=reason,
    )


def _of_one_completion(record: Feedback) -> list[Unpaired | Demonstration]:
    if isinstance(record, Unpaired | Demonstration):
        return [record]
    if isinstance(record, Scored):
        fields = {**record.shared_fields(), "id": record.id}
        return [Demonstration(completion=completion, **fields) for completion in record.completions]
    return list(to_unpaired([record]))


def _verdict(row: Unpaired | Demonstration) -> int:
    return int(row.desirable) if isinstance(row, Unpaired) else UNJUDGED
