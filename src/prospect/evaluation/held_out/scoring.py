"""What two models say of completions: log-probs of rows, in the order of the rows, whatever goes through at once.

One model is in memory at a time, unless the reference is the policy with its adapter off. Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prospect import progress
from prospect.config import ModelSettings
from prospect.data.batch import Batch, Row, collate, flatten, mismatched_rows, row_from_ids
from prospect.data.loader import micro_batches
from prospect.data.render import encode_prompt, make_renderer
from prospect.errors import ModelError
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.records import Feedback
from prospect.feedback.split import prompt_key
from prospect.losses.reference_point import estimate_reference_point
from prospect.models.loading import load_tokenizer, resolve_max_length
from prospect.models.opening import require_same_vocabulary
from prospect.models.policy import Policy, load_for_scoring
from prospect.models.reference import AdapterOffReference
from prospect.models.sampling import generate
from prospect.training.prepare import micro_batch_tokens

Score = Callable[[Batch], torch.Tensor]
"""Batch to (N,) numbers: nats, or a reward model's scores."""


def score_rows(
    score: Score, rows: Sequence[Row], device: torch.device, max_tokens: int | None, what: str
) -> np.ndarray:
    """Return a number for each row, float64 (N,).

    Rows are sorted by length and cut under the token budget, as in training; the numbers do not depend on it.

    Args:
        score: of a batch.
        rows: N of them.
        device: where the model is.
        max_tokens: tokens at once, padding included; None takes training's default for the device.
        what: whose numbers they are, for messages.

    Raises:
        ModelError: a number is not finite.
    """
    budget = max_tokens or micro_batch_tokens(device)
    found: dict[int, float] = {}
    groups = micro_batches([(row,) for row in rows], budget)
    with torch.no_grad(), progress.phase(f"scoring with {what}"):
        for group in progress.counted(groups, "micro-batches", len(groups)):
            some = flatten(group)
            values = score(collate(some).to(device)).to("cpu", torch.float64).tolist()
            found.update(zip(map(id, some), values, strict=True))
    numbers = np.array([found[id(row)] for row in rows], dtype=float)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise ModelError(
            f"{what}: the log-prob of row {rows[bad[0]].id} is {numbers[bad[0]]} ({bad.size} of {len(rows)} rows). Its "
            "weights or its precision are broken."
        )
    return numbers


@dataclass(frozen=True)
class OwnSamples:
    """What the policy wrote to the prompts, to estimate KL with.

    Attributes:
        rows: the samples, token by token as they were drawn.
        cut: how many the limit cut; KL is then that of the beginnings.
        left_out: prompts without a sample: too long for one, or with tools.
    """

    rows: list[Row]
    cut: int
    left_out: int


def draw_own_samples(
    policy: Policy,
    records: Sequence[Feedback],
    *,
    max_length: int,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    rendering: Rendering | None = None,
) -> OwnSamples:
    """Let the policy answer each prompt once, from its whole distribution (temperature 1, no top_p).

    Args:
        policy: the model.
        records: one of each prompt.
        max_length: tokens of a prompt and its sample at most.
        max_new_tokens: where a sample is cut.
        seed: of the draws.
        batch_size: samples at once.
        rendering: how prompts become text.
    """
    renderer = make_renderer(policy.tokenizer, rendering)
    prompts = [encode_prompt(policy.tokenizer, one.prompt, None, renderer, where=one.where) for one in records]
    fitting = [
        (record, ids)
        for record, ids in zip(records, prompts, strict=True)
        if len(ids) + max_new_tokens <= max_length and not record.tools
    ]
    with progress.phase(f"writing {len(fitting)} samples"):
        drawn = generate(
            policy.model,
            policy.tokenizer,
            [record.prompt for record, _ in fitting],
            max_new_tokens=max_new_tokens,
            temperature=1.0,
            top_p=1.0,
            seed=seed,
            batch_size=batch_size,
            rendering=rendering,
        )
    found = [
        row_from_ids(prompt, one.ids, prompt_key=prompt_key(record.prompt), id=record.id, sampled_logps=one.logps)
        for (record, prompt), (one,) in zip(fitting, drawn, strict=True)
    ]
    cut = sum(not one.finished for (one,) in drawn)
    return OwnSamples(found, cut, len(records) - len(found))


def reference_point(log_ratios: np.ndarray, *, clamp: bool) -> float:
    """Return z0 of the log-ratios of mismatched rows, nats."""
    return float(estimate_reference_point(torch.from_numpy(log_ratios), clamp=clamp).z0)


def crossed(rows: Sequence[Row], seed: int, max_length: int) -> list[Row]:
    """Return each prompt with another prompt's completion; empty where there is one prompt only."""
    return mismatched_rows(rows, seed, max_length) if len({row.prompt_key for row in rows}) > 1 else []


@dataclass(frozen=True)
class Compared:
    """The model that the policy is compared with, loaded.

    Attributes:
        name: for people.
        kind: frozen, or adapter_off.
        identity: hash of its weights.
        score: its log-probs.
    """

    name: str
    kind: str
    identity: str
    score: Score


def adapter_off(policy: Policy, name: str) -> Compared:
    """Return the policy without its adapter: no second model in memory."""
    off = AdapterOffReference(policy)
    return Compared(name, off.kind, off.identity, off.logps)


def frozen(settings: ModelSettings, policy_tokenizer: Any, precision: str, name: str) -> Compared:
    """Load another model as reference.

    Raises:
        ModelError: its tokenizer gives text other ids than the policy's: log-ratios are of the same tokens.
    """
    require_same_vocabulary(policy_tokenizer, load_tokenizer(settings), name)
    with progress.phase(f"loading {name}"):
        loaded = load_for_scoring(settings, precision, policy_tokenizer)
    return Compared(name, "frozen", loaded.identity, loaded.logps)


def own_log_ratios(
    model: ModelSettings,
    start: ModelSettings,
    records: Sequence[Feedback],
    *,
    precision: str,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    rendering: Rendering | None = None,
    who: str = "the policy",
) -> tuple[list[Row], np.ndarray]:
    """Let a model answer each prompt once and compare it with the start; the mean is KL(model || start), nats.

    One model is in memory at a time.

    Args:
        model: answers.
        start: is compared with.
        records: one of each prompt.
        precision: arithmetic of both.
        max_new_tokens: where a sample is cut.
        seed: of the draws.
        batch_size: samples at once.
        rendering: how prompts become text.
        who: whose samples they are, for messages.

    Returns:
        The samples, without those of prompts that leave no room for one, and their log-ratios.

    Raises:
        ModelError: the two have different vocabularies, or a number is not finite.
    """
    policy = load_for_scoring(model, precision)
    most = resolve_max_length(None, policy.model.config)
    limits = {"max_length": most, "max_new_tokens": max_new_tokens, "seed": seed, "batch_size": batch_size}
    own = draw_own_samples(policy, records, **limits, rendering=rendering)
    if not own.rows:
        return [], np.zeros(0)
    ours = score_rows(policy.logps, own.rows, policy.device, None, who)
    tokenizer, device = policy.tokenizer, policy.device
    del policy
    compared = frozen(start, tokenizer, precision, "the start")
    return own.rows, ours - score_rows(compared.score, own.rows, device, None, "the start")
