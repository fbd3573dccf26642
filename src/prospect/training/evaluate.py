"""What a run looks at between steps: held-out feedback, and a few samples."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from prospect import progress
from prospect.data.dataset import Dataset
from prospect.feedback.records import Text
from prospect.models.policy import Policy
from prospect.models.sampling import Generated, generate
from prospect.results.run import SampleRow
from prospect.run_dir import RunDir
from prospect.statistics.ranking import auroc
from prospect.training.image_samples import draw_image_samples
from prospect.training.prepare import Prepared
from prospect.training.step import Objective, score

# How people usually sample from a chat model; the KTO paper's evaluation used the same nucleus.
TEMPERATURE, TOP_P = 0.8, 0.95


def evaluate_held_out(objective: Objective, dataset: Dataset) -> dict[str, float]:
    """Metrics of a training step over held-out feedback, under names that begin with `eval_`.

    They are of the model as it is, without dropout. z0 is estimated over the whole of the feedback, and every mean is
    over the whole of it: the numbers do not depend on any batch size. `eval_rewards/auroc` is the probability that a
    desirable completion has a higher implied reward than an undesirable one.
    """
    with progress.phase(f"scoring {len(dataset.examples):,} held-out examples", part="evaluation"):
        result = score(objective, dataset.examples)
    values = dict(result.metrics)
    area = auroc(result.tally.rewards, result.tally.desirable)
    if area is not None:
        values["rewards/auroc"] = area
    return {f"eval_{name}": value for name, value in values.items()}


def write_samples(run: RunDir | None, prepared: Prepared, policy: Policy, step: int) -> list[SampleRow]:
    """Let the policy answer the same few prompts as at every other evaluation, and keep what it wrote or drew.

    Args:
        run: where to; None on a process that only takes part.
        prepared: says which prompts.
        policy: answers them.
        step: how many steps it has made.

    Returns:
        What was kept.
    """
    samples = draw_samples(run, prepared, policy, step)
    if samples and run is not None:
        run.append_samples(samples)
    return samples


def draw_samples(run: RunDir | None, prepared: Prepared, policy: Any, step: int) -> list[SampleRow]:
    """Return one completion of each of `train.samples` prompts; the arguments are those of `write_samples`."""
    settings = prepared.config.train
    if prepared.pipeline is not None:
        with progress.phase(f"drawing {settings.samples} samples"):
            return draw_image_samples(run, prepared, policy, step)
    prompts = [] if prepared.loss.reward_model else sample_prompts(prepared, settings.samples)
    if not prompts:
        return []
    with progress.phase(f"writing {len(prompts)} samples", part="samples"):
        limits = {"max_new_tokens": settings.sample_tokens, "seed": settings.seed}
        # A fresh adapter adds nothing yet, and its many small products are a third of a token's time.
        idle = step == 0 and policy.has_adapter and policy.base_identity is None
        with policy.without_adapter() if idle else nullcontext():
            answers = write(prepared, policy, prompts, **limits, temperature=TEMPERATURE, top_p=TOP_P)
    return [
        SampleRow(step=step, prompt=_plain(prompt), completion=one.text, tokens=one.tokens, finished=one.finished)
        for prompt, (one,) in zip(prompts, answers, strict=True)
    ]


def write(prepared: Prepared, policy: Policy, prompts: Sequence[Text], **settings: Any) -> list[list[Generated]]:
    """Let the policy as it is answer prompts, rendered as those of the feedback; see `generate` for the settings."""
    with policy.copies_in_use():
        return generate(policy.model, policy.tokenizer, prompts, rendering=prepared.rendering, **settings)


def sample_prompts(prepared: Prepared, count: int) -> list[Text]:
    """Return the first distinct prompts of the held-out feedback; of the training feedback where none is held out.

    Prompts that leave no room for a sample within `data.max_length` are passed over.
    """
    dataset = prepared.held_out or prepared.train
    room = prepared.max_length - prepared.config.train.sample_tokens
    distinct: dict[str, Text] = {}
    for example, record in zip(dataset.examples, dataset.records, strict=True):
        if len(distinct) == count:
            break
        if len(example[0].prompt_ids) <= room:
            distinct.setdefault(example[0].prompt_key, record.prompt)
    return list(distinct.values())


def _plain(prompt: Text) -> Any:
    return prompt if isinstance(prompt, str) else [message.as_dict() for message in prompt]
