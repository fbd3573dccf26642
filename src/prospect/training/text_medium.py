"""Texts as a medium: rows are token ids, and the units that are scored are tokens of completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from prospect.data.batch import Batch, Row, collate, mismatched_rows, row_from_ids
from prospect.data.draw import Draw
from prospect.models.modes import draws_dropout
from prospect.models.policy import Policy
from prospect.models.reference import Reference
from prospect.models.sampling import Sampling, generate_ids
from prospect.training.medium import BothLogps, UnitLogps

SAMPLED_TOGETHER = 64  # completions that are drawn side by side: what their keys and values take is bounded


@dataclass(frozen=True)
class TextMedium:
    """Completions made of tokens. Log-probs need no random numbers.

    Attributes:
        max_length: the longest row, in tokens; mismatched rows and samples are cut to it.
        ends: tokens that end a sample; see `end_ids`.
    """

    max_length: int
    ends: tuple[int, ...] = ()

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Pad rows on the right."""
        return collate(rows)

    def cost(self, row: Row) -> int:
        """Return the tokens of prompt and completion."""
        return row.length

    def shape(self, row: Row) -> None:
        """Return None: texts are padded to one length."""

    def scored_units(self, row: Row) -> int:
        """Return the tokens of the completion."""
        return len(row.completion_ids)

    def mismatched(self, rows: Sequence[Row], seed: int) -> list[Row]:
        """Return each prompt with another prompt's completion; see `mismatched_rows`."""
        return mismatched_rows(rows, seed, self.max_length)

    def sample(self, policy: Policy, asked: Sequence[tuple[Row, int]], longest: int, draw: Draw) -> list[Row]:
        """Draw every token from the whole distribution, in the arithmetic in which the policy is scored."""

        def room(one: tuple[Row, int]) -> int:
            return min(longest, self.max_length - len(one[0].prompt_ids))

        drawn: list[Row] = []
        for limit, group in groupby(sorted(asked, key=room), key=room):
            drawn += self._sample(policy, list(group), limit, draw)
        return drawn

    def _sample(self, policy: Policy, asked: Sequence[tuple[Row, int]], limit: int, draw: Draw) -> Iterator[Row]:
        each = generate_ids(
            policy.model,
            [(row.prompt_ids.tolist(), number) for row, number in asked],
            Sampling(temperature=1.0, top_p=1.0),
            list(self.ends),
            max_new_tokens=limit,
            seed=draw.number(b"sample"),
            batch_size=SAMPLED_TOGETHER,
            name_of=lambda number: f"of row {asked[number][0].id}",
        )
        with policy.arithmetic():
            for number, ids, _ in each:
                row = asked[number][0]
                yield row_from_ids(row.prompt_ids.tolist(), ids, prompt_key=row.prompt_key, id=f"a sample for {row.id}")

    def compare(
        self, policy: Policy, reference: Reference, batch: Batch, draw: Draw, *, by_unit: bool = False
    ) -> BothLogps:
        """Score a batch with both models; a reference without token log-probs remembered is asked for sums alone."""
        if not by_unit:
            logps = policy.logps(batch)
            alike = reference.is_policy() and not draws_dropout(policy.model)
            said = reference.logps_beside(batch, logps.detach()) if alike else reference.logps(batch)
            return BothLogps(logps, said.to(logps.device))
        logps, values = policy.score_tokens(batch)
        reference_logps = reference.token_logps(batch).to(logps.device)
        units = UnitLogps(logps, reference_logps, batch.completion, values, batch.sampled_logps, batch.numbers)
        return BothLogps(logps.sum(1), reference_logps.sum(1), units)
