"""How long a run will take and how much memory, from a few of its steps on state that is thrown away.

The model is loaded, the step with the longest example warms it up, a few steps are timed, and one evaluation in part.
Time is taken per token, since steps differ in tokens, and apart for policy and reference, since a cached reference is
asked about a row of the feedback once and about a mismatched one (for z0) nearly every time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from prospect import progress
from prospect.data.batch import Batch, Example, flatten
from prospect.data.loader import Cost
from prospect.models.device import synchronize
from prospect.models.reference import NoReference, Reference
from prospect.progress import span
from prospect.run_dir import RunDir
from prospect.training.evaluate import draw_samples
from prospect.training.memory.allocator import keep_freed_memory
from prospect.training.prepare import Prepared
from prospect.training.processes.world import World
from prospect.training.step import accumulate_gradient, score

if TYPE_CHECKING:
    from prospect.training.session import Session

PROBE_STEPS = 3
# Held-out examples scored for its speed: some seconds' worth, of however many there are.
_EVALUATED = 64


def probe(prepared: Prepared, steps: int = PROBE_STEPS) -> dict[str, Any]:
    """Run a few steps for real and say what the whole run will take; nothing is written.

    Args:
        prepared: the run.
        steps: how many are timed, after one that is not.

    Returns:
        `steps` (timed), `peak_bytes` (of the process on a CPU, libraries included; of PyTorch on a GPU),
        `seconds_per_step` and seconds by part: `encoding` (of images and prompts; 0 of texts), `loading`, `training`,
        `evaluation`, `samples` and their `total`.
        Starting Python, checkpoints and the report are not counted.
    """
    keep_freed_memory()
    torch.manual_seed(prepared.config.train.seed)
    with tempfile.TemporaryDirectory() as folder:
        prepared = replace(prepared, config=prepared.config.model_copy(update={"output": folder}))
        encoding = encoding_seconds(prepared, steps)
        begun = time.perf_counter()
        bench = _Bench.open(prepared, RunDir(folder))
        loading = time.perf_counter() - begun
        samples = bench.seconds_of(lambda: draw_samples(bench.session.run, prepared, bench.session.policy, 1))
        longest = "longest row" if prepared.pipeline is None else "largest image"
        bench.step(1, _hardest(prepared), f"probe: the step with the {longest}")
        rates = bench.rates(prepared, steps)
        evaluation = bench.evaluation_seconds(prepared, rates)
    evaluations = count_evaluations(prepared)
    training = training_seconds(prepared, rates, bench.cached) + bench.point_seconds * count_points(prepared)
    parts = {
        "encoding": encoding,
        "loading": loading,
        "training": training,
        "evaluation": evaluation * evaluations,
        "samples": samples * evaluations,
    }
    return {
        "steps": steps,
        "peak_bytes": peak_bytes(bench.session.policy.device),
        "seconds_per_step": training / prepared.total_steps,
        **{name: round(seconds, 3) for name, seconds in parts.items()},
        "total": round(sum(parts.values()), 3),
    }


@dataclass(frozen=True)
class Rates:
    """Seconds: of the policy per token of the feedback, of the reference per token asked, of the rest per step."""

    policy: float
    reference: float
    update: float


def training_seconds(prepared: Prepared, rates: Rates, cached: bool) -> float:
    """Seconds of all steps.

    Of the reference, a row of the feedback counts once where answers are kept and once an epoch where not; the
    mismatched rows of z0, which are paired anew in every step, and as long as the rows, count always.
    """
    epochs = prepared.total_steps / prepared.plan.steps_per_epoch
    tokens = sum(map(prepared.cost, flatten(prepared.train.examples)))
    asked = tokens * (min(epochs, 1.0) if cached else epochs) if prepared.loss.needs_reference else 0.0
    mismatched = prepared.loss.needs_reference_point and prepared.config.reference_point.kind != "sampled"
    if prepared.loss.needs_reference and mismatched:
        asked += tokens * epochs
    return rates.policy * tokens * epochs + rates.reference * asked + rates.update * prepared.total_steps


def count_evaluations(prepared: Prepared) -> int:
    """How often a run looks at held-out feedback: before the first step, every `eval_every`, after the last."""
    total, every = prepared.total_steps, prepared.config.train.eval_every
    return 2 + ((total - 1) // every if every else 0)


def count_points(prepared: Prepared) -> int:
    """How often a run samples completions for z0."""
    settings = prepared.config.reference_point
    return -(-prepared.total_steps // settings.every) if settings.kind == "sampled" else 0


def peak_bytes(device: torch.device) -> int:
    """Return the most memory there was so far: of the whole process on a CPU, of PyTorch where it measures that."""
    measured = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    if measured is not None:
        return int(measured(device))
    try:
        import resource
    except ImportError:  # no Unix
        return 0
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Timed(Reference):
    """A reference that keeps the time of its answers.

    Attributes:
        seconds: spent so far.
        tokens: asked about so far.
    """

    kind = "timed"

    def __init__(self, inner: Reference, cost: Cost) -> None:
        self.inner, self.identity, self._cost = inner, inner.identity, cost
        self.seconds, self.tokens = 0.0, 0

    def logps(self, batch: Any) -> torch.Tensor:
        """Return the inner one's."""
        return self._time(batch, self.inner.logps)

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Return the inner one's."""
        return self._time(batch, self.inner.token_logps)

    def _time(self, batch: Any, ask: Any) -> torch.Tensor:
        synchronize()  # what the policy has begun is not the reference's time
        begun = time.perf_counter()
        answer = ask(batch)
        synchronize()
        self.seconds += time.perf_counter() - begun
        self.tokens += sum(map(self._cost, batch.rows))
        return answer


@dataclass
class _Bench:
    """A session to be thrown away: it holds what the run will hold.

    Attributes:
        session: the run's own, but for what is timed.
        reference: the run's, timed.
        cached: whether the run's reference keeps its answers.
        unit: what is counted: tok or img.
        point_seconds: what the sampled z0 of the first step took; the others keep it.
    """

    session: Session
    reference: _Timed
    cached: bool
    unit: str
    point_seconds: float = 0.0

    @classmethod
    def open(cls, prepared: Prepared, run: RunDir) -> _Bench:
        from prospect.training.objective import build_policy
        from prospect.training.session import Session

        config = prepared.config
        # Nothing of the user's cache is read or written; a cache that helps is reckoned with in the sum.
        settings = {
            "reference": config.reference.model_copy(update={"cache": False}),
            "train": config.train.model_copy(update={"trackers": []}),
        }
        alone = replace(prepared, config=config.model_copy(update=settings))
        session = Session.start(alone, build_policy(alone), run, False, World())
        timed = _Timed(session.reference, prepared.cost)
        sampled = session.objective.sampled
        once = replace(sampled, every=prepared.total_steps + 2) if sampled is not None else None
        session.reference, session.objective = timed, replace(session.objective, reference=timed, sampled=once)
        needed = not isinstance(timed.inner, NoReference)
        unit = "tok" if prepared.pipeline is None else "img"
        return cls(session, timed, needed and config.reference.cache is not False, unit)

    def step(self, number: int, examples: Sequence[Example], name: str) -> float:
        """One optimizer step, which is told; seconds of its update alone."""
        begun = time.perf_counter()
        result = accumulate_gradient(self.session.objective, examples, number)
        self.point_seconds += result.point_seconds
        update = self.seconds_of(self.update)
        seconds = time.perf_counter() - begun
        rate = result.tokens / seconds
        progress.note(f"{name}: {span(seconds)}, {rate:,.{0 if rate >= 10 else 2}f} {self.unit}/s")
        return update

    def update(self) -> None:
        """Update at a learning rate of 0: the arithmetic is the same, and the model stays what it was."""
        self.session.clip_gradient(0)
        self.session.update(0.0)

    def rates(self, prepared: Prepared, steps: int) -> Rates:
        """Time a few of the run's first steps."""
        self.reference.seconds, self.reference.tokens = 0.0, 0
        tokens, update, begun = 0, 0.0, time.perf_counter()
        for index, examples in prepared.plan.steps(0, steps):
            update += self.step(index + 2, examples, f"probe: step {index + 1} of {steps}")
            tokens += sum(map(prepared.cost, flatten(examples)))
        whole = time.perf_counter() - begun
        asked = self.reference
        return Rates((whole - asked.seconds - update) / tokens, asked.seconds / max(asked.tokens, 1), update / steps)

    def evaluation_seconds(self, prepared: Prepared, rates: Rates) -> float:
        """Seconds of one evaluation, from a part of the held-out feedback; the first asks all of the reference."""
        if prepared.held_out is None:
            return 0.0
        examples = _some(prepared.held_out.examples)
        self.reference.seconds = 0.0
        whole = self.seconds_of(lambda: score(self.session.objective, examples))
        asked = self.reference.seconds
        share = _cost_of(prepared, prepared.held_out.examples) / _cost_of(prepared, examples)
        if self.cached:  # the same rows and the same mismatched rows every time
            asked /= count_evaluations(prepared)
        return (whole - self.reference.seconds + asked) * share

    def seconds_of(self, act: Any) -> float:
        """How long something takes."""
        synchronize()
        begun = time.perf_counter()
        act()
        synchronize()
        return time.perf_counter() - begun


def encoding_seconds(prepared: Prepared, steps: int) -> float:
    """Encode the images and prompts that a probe looks at; seconds of all of them at this speed, loading included."""
    from prospect.training.objective import encode_images

    if prepared.pipeline is None:
        return 0.0
    held_out = prepared.held_out.examples if prepared.held_out is not None else []
    seen = [example for _, examples in prepared.plan.steps(0, steps) for example in examples]
    seen += [*_hardest(prepared), *(_some(held_out) if held_out else [])]
    begun = time.perf_counter()
    encode_images(replace(prepared, train=replace(prepared.train, examples=seen), held_out=None))
    images = [{row.id for row in flatten(rows)} for rows in ([*prepared.train.examples, *held_out], seen)]
    return (time.perf_counter() - begun) * len(images[0]) / len(images[1])


def _hardest(prepared: Prepared) -> Sequence[Example]:
    """Return the step with the longest row, or the largest image."""
    if prepared.pipeline is None:
        return prepared.plan.hardest_step()
    return prepared.plan.hardest_step(lambda row: row.size[0] * row.size[1])


def _cost_of(prepared: Prepared, examples: Sequence[Example]) -> int:
    return sum(map(prepared.cost, flatten(examples)))


def _some(examples: Sequence[Example]) -> Sequence[Example]:
    """Return some examples from all over; all of them where the some are of one prompt, of which no z0 can be made."""
    some = examples[:: -(-len(examples) // _EVALUATED)]
    return some if len({example[0].prompt_key for example in some}) > 1 else examples
