"""What the step asks of a medium: the kind of completion that is scored, such as a text or an image.

The step knows rows, examples and log-probs. What a completion is made of, how rows become a batch and how models score
it is the medium's. Letters: N rows, U units: the parts of a completion that are scored one by one (tokens of a text).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import torch

from prospect.data.batch import AnyRow
from prospect.data.draw import Draw


class AnyBatch(Protocol):
    """Rows side by side; those of one example are neighbours."""

    @property
    def rows(self) -> Sequence[AnyRow]:
        """The N rows."""

    @property
    def desirable(self) -> torch.Tensor:
        """Their verdicts, bool (N,)."""

    @property
    def weight(self) -> torch.Tensor:
        """Their weights, float32 (N,)."""

    @property
    def score(self) -> torch.Tensor:
        """Their scores, float32 (N,)."""

    def to(self, device: torch.device) -> Any:
        """Return the same batch on a device."""


class UnitLogps(NamedTuple):
    """What both models say of the single units of a batch.

    Attributes:
        logps: (N, U) nats of the policy, 0 where nothing is scored.
        reference_logps: (N, U) nats of the reference, likewise.
        scored: bool (N, U), true on units that are scored.
        values: (N, U) of the value head; None without one.
        sampled_logps: (N, U) nats when the units were sampled; None unless all rows have them.
        numbers: (N, U) by name, what else all rows have of each unit.
    """

    logps: torch.Tensor
    reference_logps: torch.Tensor
    scored: torch.Tensor
    values: torch.Tensor | None = None
    sampled_logps: torch.Tensor | None = None
    numbers: Mapping[str, torch.Tensor] = {}


class BothLogps(NamedTuple):
    """What both models say of a batch.

    Attributes:
        logps: (N,) nats of the policy; a reward model's scores.
        reference_logps: (N,) nats of the reference, without gradient; 0 without one.
        units: the same by unit, where that was asked for.
    """

    logps: torch.Tensor
    reference_logps: torch.Tensor
    units: UnitLogps | None = None


class Learner(Protocol):
    """What the step itself asks of a policy; `prospect.models.policy.Policy` is that of texts."""

    @property
    def model(self) -> Any:
        """The module that may have dropout."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Return what the optimizer moves, by name."""

    def copies_in_use(self) -> AbstractContextManager[None]:
        """Give backward passes, which may compute activations again, the weights of the forward pass."""


class Medium(Protocol):
    """One kind of completion."""

    def collate(self, rows: Sequence[Any]) -> AnyBatch:
        """Lay rows side by side, on the CPU."""

    def cost(self, row: Any) -> int:
        """Return what a row takes of the budget of a micro-batch; see `prospect.data.loader.Cost`."""

    def shape(self, row: Any) -> Any:
        """Return what rows of a micro-batch must have in common; see `prospect.data.loader.Shape`."""

    def scored_units(self, row: Any) -> int:
        """Return how many units of a row are scored: what a mean over units divides by."""

    def mismatched(self, rows: Sequence[Any], seed: int) -> list[Any]:
        """Return each row's prompt with the completion of another prompt, to estimate z0 with.

        Raises:
            DataError: there is one single prompt.
        """

    def sample(self, policy: Any, asked: Sequence[tuple[Any, int]], longest: int, draw: Draw) -> list[Any]:
        """Return completions drawn from the policy's own distribution, one for each row and number that is asked for.

        Args:
            policy: as it is, without dropout.
            asked: rows, whose prompts are answered, each with the number of the completion among those of its prompt.
            longest: where a completion is cut, in units that are scored.
            draw: names the random numbers; a completion depends on them, the prompt and the number alone.
        """

    def compare(self, policy: Any, reference: Any, batch: Any, draw: Draw, *, by_unit: bool) -> BothLogps:
        """Score a batch with both models.

        Args:
            policy: with gradient, where that is on.
            reference: without.
            batch: N rows, on the policy's device.
            draw: names the random numbers.
            by_unit: whether single units are asked for, or only their sums.
        """
