"""What a policy thinks of each completion beside its reference: implied rewards, one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prospect.data.batch import flatten
from prospect.errors import UsageError
from prospect.evaluation.answers.held_out import beta_of, reference_of
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.held_out.preference import Settings, load_and_encode, load_reference
from prospect.evaluation.held_out.scoring import score_rows
from prospect.feedback.records import Feedback


@dataclass(frozen=True)
class ImpliedRewards:
    """Rewards of completions.

    Attributes:
        policy: identities of the policy and its reference.
        values: id of a record -> reward; records that do not fit in the context, or that the template refuses, have
            none.
    """

    policy: str
    values: dict[str, float]


def implied_rewards(model: str, records: list[Feedback], reference: str | None = None) -> ImpliedRewards:
    """Score completions, one to a record.

    reward = beta (log pi(y|x) - log ref(y|x)), per token where the run's loss is length-normalised

    Args:
        model: a run directory, a model's or adapter's folder, or a hub name.
        records: of one kind with one completion each, with ids of their own.
        reference: what the policy is compared with; None takes what the run used, and of an adapter the model without
            it.

    Raises:
        UsageError: a server, a file or a reward model, or there is no reference.
        DataError, ModelError: whatever is wrong with the records or the models.
    """
    subject = find_subject(model)
    if subject.source is None or subject.is_reward_model:
        raise UsageError(f"{model}: implied rewards need a policy that is loaded. Name a run, or a model's folder.")
    name = reference_of(subject, reference)
    if name is None:
        raise UsageError(f"{model}: implied rewards are beside a reference, and none is known. Name one: --reference.")
    settings = Settings(rendering=RenderingOptions(unrenderable="drop"))
    policy, _, dataset = load_and_encode(subject, records, "the records", settings)
    rows, device, identity = flatten(dataset.examples), policy.device, policy.identity
    ours = score_rows(policy.logps, rows, device, settings.max_tokens, f"model {subject.name}")
    compared = load_reference(subject, policy, name)
    log_ratio = ours - score_rows(compared.score, rows, device, settings.max_tokens, f"reference {compared.name}")
    if subject.loss is not None and subject.loss.length_normalised:
        log_ratio = log_ratio / np.array([len(row.completion_ids) for row in rows], dtype=float)
    rewards = beta_of(subject, None) * log_ratio
    return ImpliedRewards(
        policy=f"{identity} beside {compared.identity}",
        values={row.id: float(reward) for row, reward in zip(rows, rewards, strict=True)},
    )
