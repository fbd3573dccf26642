"""Texts as a medium: rows are token ids, and the units that are scored are tokens of completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prospect.data.batch import Batch, Row, collate, mismatched_rows
from prospect.models.policy import Policy
from prospect.models.reference import Reference
from prospect.training.medium import BothLogps, Draw, UnitLogps


@dataclass(frozen=True)
class TextMedium:
    """Completions made of tokens. Log-probs need no random numbers.

    Attributes:
        max_length: the longest row, in tokens; mismatched rows are cut to it.
    """

    max_length: int

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Pad rows on the right."""
        return collate(rows)

    def cost(self, row: Row) -> int:
        """Return the tokens of prompt and completion."""
        return row.length

    def scored_units(self, row: Row) -> int:
        """Return the tokens of the completion."""
        return len(row.completion_ids)

    def mismatched(self, rows: Sequence[Row], seed: int) -> list[Row]:
        """Return each prompt with another prompt's completion; see `mismatched_rows`."""
        return mismatched_rows(rows, seed, self.max_length)

    def compare(
        self, policy: Policy, reference: Reference, batch: Batch, draw: Draw, *, by_unit: bool = False
    ) -> BothLogps:
        """Score a batch with both models; a reference without token log-probs remembered is asked for sums alone."""
        if not by_unit:
            logps = policy.logps(batch)
            return BothLogps(logps, reference.logps(batch).to(logps.device))
        logps, values = policy.score_tokens(batch)
        reference_logps = reference.token_logps(batch).to(logps.device)
        units = UnitLogps(logps, reference_logps, batch.completion, values, batch.sampled_logps, batch.numbers)
        return BothLogps(logps.sum(1), reference_logps.sum(1), units)
