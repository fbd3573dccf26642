"""How far a trained model has gone from the one it started from, by what it writes itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prospect.errors import ConfigError
from prospect.feedback.records import Demonstration, Text
from prospect.studies.outcome import Measure

BATCH = 256
"""Samples at once: the models of studies are small."""

KL = Measure("KL from the start", "nats", None, "value")


def sampled_kl(
    model: str | Path, start: str | Path, prompts: Sequence[Text], *, max_new_tokens: int, seed: int
) -> list[float]:
    """Return the log-ratio of one sample of each prompt, at temperature 1; their mean is KL(model || start), nats.

    Where the limit cuts samples, it is the KL of the beginnings.

    Raises:
        ConfigError: a prompt leaves no room for a sample.
    """
    from prospect.config import ModelSettings
    from prospect.evaluation.held_out.scoring import own_log_ratios

    rows, ratios = own_log_ratios(
        ModelSettings(name_or_path=str(model)),
        ModelSettings(name_or_path=str(start)),
        [
            Demonstration(prompt=prompt, completion="", id=str(i), where=f"held-out prompt {i}")
            for i, prompt in enumerate(prompts)
        ],
        precision="auto",
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=BATCH,
    )
    if len(rows) < len(prompts):
        raise ConfigError(
            f"study: {len(prompts) - len(rows)} held-out prompts leave no room for {max_new_tokens} tokens."
        )
    return [float(ratio) for ratio in ratios]
