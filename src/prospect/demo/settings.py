"""What can be chosen of a demo. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "kto": {"loss": {"name": "kto", "beta": 0.3}, "learning_rate": 2e-4, "epochs": 2},
    "dpo": {"loss": {"name": "dpo", "beta": 0.3}, "learning_rate": 1e-4, "epochs": 2},
    "sft": {"loss": {"name": "sft"}, "learning_rate": 5e-4, "epochs": 2},
}
"""What each method is trained with. Copying order numbers is what training on bad replies loses first, for their right
digits go down with the rest; a higher beta holds the policy closer to its reference, and keeps it."""

IMAGE_METHODS: dict[str, dict[str, Any]] = {
    "kto": {"loss": {"name": "kto", "beta": 0.5}, "learning_rate": 1e-4, "batch_size": 32, "steps": 100},
    "dpo": {"loss": {"name": "dpo", "beta": 2.0}, "learning_rate": 3e-5, "batch_size": 16, "steps": 100},
    "sft": {"loss": {"name": "sft"}, "learning_rate": 3e-4, "batch_size": 32, "steps": 100},
}
"""The same for pictures: beta is per nat of a picture's log-ratio, and a pair is two pictures."""


@dataclass(frozen=True)
class DemoFeedback:
    """How the simulated customers give thumbs.

    Attributes:
        noise: share of thumbs that are flipped.
        raters: how many customers give them.
        keep_desirable: share of thumbs up that reach the log.
        keep_undesirable: share of thumbs down that reach the log.
    """

    noise: float = 0.0
    raters: int = 1
    keep_desirable: float = 1.0
    keep_undesirable: float = 1.0
