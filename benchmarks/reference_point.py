"""What the two estimates of z0 say along a run of KTO on the demo's base model, beside the true KL.

    python benchmarks/reference_point.py [--json FILE] [--steps 20 40 60]
    python benchmarks/reference_point.py --show benchmarks/reference_point.json

The feedback are replies of the base model to 200 customers, four each, with clean thumbs, and the run is the demo's,
with the usual z0 (`reference_point: step`). Before each of the steps named, with the policy as it is then:

    true KL     KL(policy || reference) at the training prompts, over 512 completions of the policy. For each token
                drawn, the KL of the two distributions over the next token is summed over the whole vocabulary; that has
                the expectation of the plain log-ratio and less noise.
    backwards   -KL(reference || policy), the mean log-ratio of 512 completions of the reference
    mismatched  the mean log-ratio of the step's prompts with other prompts' completions, over the step's 32 rows
    sampled     the mean log-ratio of 16 completions that the policy writes to prompts of the step

each in nats with its standard error; before the first step all are exactly 0. The last lines say how single completions
spread, by the plain log-ratio and by the sum over the vocabulary, and what a sampled estimate costs beside a step. It
takes some two minutes on a core of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from prospect.data.batch import collate, flatten
from prospect.demo.base import answer, load_base
from prospect.demo.run import REPLIES, recipe, write_thumbs
from prospect.demo.settings import DemoFeedback
from prospect.demo.world import training_prompts
from prospect.training.medium import Draw
from prospect.training.memory.allocator import keep_freed_memory
from prospect.training.sampled_point import SampledPoint, choose_prompts
from prospect.training.session import Session
from prospect.training.step import accumulate_gradient, score
from prospect.training.train import hold, run_steps

CUSTOMERS, COMPLETIONS, TOGETHER = 200, 512, 128
STEPS = [20, 40, 60]
SEED_OF_TRUTH = 1000  # another than the run's, whose draws are the estimate's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--show", type=Path, help="print the table of numbers that were written")
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    options = parser.parse_args()
    found = json.loads(options.show.read_text()) if options.show else measure(options.steps)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def measure(steps: Sequence[int]) -> dict[str, Any]:
    """Train, and stop before each of the steps to look."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        output, inquiries = Path(folder) / "run", training_prompts(CUSTOMERS, 0)
        write_thumbs(output, inquiries, answer(load_base(), inquiries, REPLIES, 0), DemoFeedback(), 0)
        # The demo has three times as many customers and an evaluation every 50 steps; its schedule is kept.
        changes = ["data.eval=null", "train.samples=0", "reference_point=sampled"]
        values = recipe("kto", output, 0)
        with hold(values, overrides=[*changes, "train.max_steps=150"], quiet=True) as session:
            drawing = session.objective  # knows how long samples are
            session.objective = replace(drawing, reference_point="step", sampled=None)
            rows = []
            for step in steps:
                run_steps(session, step)
                rows.append(look(session, drawing.sampled, step))
    return {"completions": COMPLETIONS, "rows": rows}


def look(session: Session, sampled: SampledPoint | None, step: int) -> dict[str, Any]:
    """Return all estimates for the policy as it is after `step` steps."""
    assert sampled is not None
    examples = next(session.plan.steps(step, step + 1))[1]
    begun = time.perf_counter()
    accumulate_gradient(session.objective, examples, step + 1)
    seconds = time.perf_counter() - begun
    once = replace(session.objective, reference_point="sampled", sampled=replace(sampled, every=1, point=None))
    result = accumulate_gradient(once, examples, step + 1)
    session.optimizer.zero_grad(set_to_none=True)
    mismatched, drawn = score(session.objective, examples).metrics, result.metrics
    plain, whole = compare(session, sampled, of_policy=True)
    return {
        "step": step,
        "true": mean(whole),
        "backwards": mean(compare(session, sampled, of_policy=False)[0]),
        "mismatched": [mismatched["kl_raw"], mismatched["kl_stderr"]],
        "sampled": [drawn["kl_raw"], drawn["kl_stderr"]],
        "spread": [statistics.stdev(plain), statistics.stdev(whole)],
        "hundredths": [statistics.quantiles(plain, n=100)[place - 1] for place in (50, 99)],
        "tokens": int(drawn["kl_tokens"]),
        "seconds": [result.point_seconds, seconds],
    }


@torch.no_grad()
def compare(session: Session, sampled: SampledPoint, *, of_policy: bool) -> tuple[list[float], list[float]]:
    """Draw completions from one of the models; of each, log policy - log reference, and its sum over vocabularies."""
    policy, reference = session.policy, replace(session.policy, model=load_base()[0])
    writer = policy if of_policy else reference
    draw = Draw(SEED_OF_TRUTH, session.progress.step)
    asked = choose_prompts(flatten(session.prepared.train.examples), COMPLETIONS, draw)
    rows = session.objective.medium.sample(writer, asked, sampled.max_new_tokens, draw)
    plain, whole = [], []
    for start in range(0, len(rows), TOGETHER):
        batch = collate(rows[start : start + TOGETHER])
        own, other = (model.model(batch.ids).logits[:, :-1].log_softmax(-1) for model in (policy, reference))
        scored = batch.completion[:, 1:]
        at = batch.ids[:, 1:, None]
        plain += (((own - other).gather(2, at)[..., 0]) * scored).sum(1).tolist()
        whole += ((own.exp() * (own - other)).sum(-1) * scored).sum(1).tolist()
    return plain, whole


def mean(values: Sequence[float]) -> list[float]:
    return [statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5]


COLUMNS = ("true", "backwards", "mismatched", "sampled")


def table(found: dict[str, Any]) -> str:
    """Return what is printed."""
    rows = found["rows"]
    head = "step" + "".join(f"{name:>18}" for name in ("true KL", *COLUMNS[1:]))
    last, (plain, whole), (median, high) = rows[-1]["step"], rows[-1]["spread"], rows[-1]["hundredths"]
    seconds, step = (statistics.fmean(row["seconds"][i] for row in rows) for i in (0, 1))
    tokens = statistics.fmean(row["tokens"] for row in rows)
    return "\n".join(
        [
            head,
            *map(line, rows),
            f"single completions at step {last}: half are below {median:.2f} nats, one in a hundred above {high:.2f}",
            f"their standard deviation: {plain:.2f} by the plain log-ratio, {whole:.2f} by the sum over the vocabulary",
            f"a sampled estimate: {tokens:.0f} tokens, in {seconds / step:.2f} times the time of a usual step",
        ]
    )


def line(row: dict[str, Any]) -> str:
    cells = (f"{row[name][0]:+.2f} ± {row[name][1]:.2f}" for name in COLUMNS)
    return f"{row['step']:4}" + "".join(f"{cell:>18}" for cell in cells)


if __name__ == "__main__":
    main()
