"""What to worry about in a run: its training here; held-out scores, evaluations and data in files of their own.

Each check is one function of the facts that returns a `PageFinding` or None; a new check is one more in `CHECKS`, which
are in the order of their severity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import count, number, percent
from prospect.report.run.data_findings import DATA_CHECKS, many_epochs
from prospect.report.run.evaluation_findings import EVALUATION_CHECKS
from prospect.report.run.facts import MetricCurve, RunFacts
from prospect.report.run.held_out_findings import HELD_OUT_CHECKS
from prospect.run_dir import RunDir
from prospect.training.alarms import REWARD_STEPS

# Losses that are a sigmoid, or its logarithm, of a reward: their gradient vanishes where rewards are large.
SIGMOIDS = ("kto", "kto_no_z0", "kto_no_reference", "apo_zero_unpaired", "bco", "dpo", "robust_dpo", "cpo")
SATURATED = 5.0  # beta nats: sigma(5) sigma(-5) = 0.0066, a fortieth of the 0.25 at 0
DRIFTED = 0.5  # nats per token: every token has become 1.6 times likelier, or a few of them out of the question


def findings(facts: RunFacts) -> list[PageFinding]:
    """Return all that the checks found: worries first, of these the worst first."""
    found = [finding for check in CHECKS if (finding := check(facts))]
    return sorted(found, key=lambda finding: not finding.worry)


def worst_worries(run: RunDir, most: int = 2) -> list[PageFinding]:
    """Return the few worries that a command prints, for users who do not open the page."""
    return [finding for finding in findings(RunFacts.read(run)) if finding.worry][:most]


def reference_point_out_of_reach(facts: RunFacts) -> PageFinding | None:
    """z0 is so large that a completion which is as likely as under the reference teaches nothing.

    There r = 0, and the slope of sigma(beta (r - z0)) is sigma(beta z0) sigma(-beta z0): where beta z0 is SATURATED, a
    fortieth of what it is at z0 = 0. Both classes are then where the loss is flat, and nothing brings them back.
    """
    z0, beta = facts.curve("kl"), facts.beta
    if not z0 or beta is None or not _is_sigmoid(facts):
        return None
    late = float(z0.values[-max(1, len(z0.steps) // 4) :].mean())
    if beta * late <= SATURATED:
        return None
    return PageFinding(
        True,
        f"The reference point z0 is {number(late)} nats, out of the loss's reach",
        f"Over the last quarter beta z0 is {number(beta * late)}: {facts.noun}s as likely as under the reference lie"
        f" where the loss's sigmoid is flat, as it is beyond {SATURATED:g}, and teach nothing. The policy has run away"
        " from its reference. The usual cause is a learning rate that is too high; try a third of it.",
    )


def both_rewards_fall(facts: RunFacts) -> PageFinding | None:
    """Both classes become less likely than under the reference, and still fall: the step is too large."""
    ends = [_ends(facts.curve(f"rewards/{name}")) for name in ("chosen", "rejected")]
    if not all(end and end.last < end.first and end.last < -max(0.02, 2 * end.error) for end in ends):
        return None
    means = " and ".join(number(end.last, 2) for end in ends if end)
    if facts.feedback == "paired":
        longer = "" if facts.provenance.images is not None else " or long"
        return PageFinding(
            False,
            "Chosen and rejected both became less likely",
            f"Mean rewards over the last quarter are {means}. A paired loss sees only their difference,"
            f" so this is common; check in the samples that {facts.noun}s have not grown strange{longer}.",
        )
    return PageFinding(
        True,
        "The rewards of both classes fall together",
        f"Over the last quarter of the run they are {means}: the policy moves away from good {facts.noun}s too."
        " The usual cause is a learning rate that is too high. Try a third of it.",
    )


def rewards_fell_for_a_while(facts: RunFacts) -> PageFinding | None:
    """Training saw both rewards fall, and the whole run does not show it."""
    raised = facts.alarms("rewards")
    if not raised or both_rewards_fall(facts):
        return None
    return PageFinding(
        True,
        f"The rewards of both classes fell together at step {count(raised[0][0])}",
        f"In the {count(REWARD_STEPS)} steps before, {raised[0][1]}",
    )


def samples_repeat_themselves(facts: RunFacts) -> PageFinding | None:
    """Warn that samples repeat themselves."""
    return _sample_alarm(facts, "repetition", "Samples repeat themselves", "Samples repeated themselves for a while")


def samples_changed_length(facts: RunFacts) -> PageFinding | None:
    """Warn that samples have become much longer or shorter than desirable completions."""
    return _sample_alarm(facts, "length", "Samples changed in length", "Samples changed in length for a while")


def sampled_images_collapsed(facts: RunFacts) -> PageFinding | None:
    """Warn that sampled images have one colour, are burnt out, or look alike."""
    return _sample_alarm(facts, "pictures", "Sampled images have collapsed", "Sampled images had collapsed for a while")


def _sample_alarm(facts: RunFacts, kind: str, lasting: str, passing: str) -> PageFinding | None:
    raised = facts.alarms(kind)
    if not raised:
        return None
    (first, _), (last, text) = raised[0], raised[-1]
    over = bool(facts.steps_sampled) and last < facts.steps_sampled[-1]
    when = f"At step {count(last)}" + (f", and first at step {count(first)}" if first < last else "")
    after = " Later samples do not show it." if over else ""
    return PageFinding(not over, passing if over else lasting, f"{when}: {text}{after}")


def rewards_not_separated(facts: RunFacts) -> PageFinding | None:
    """Warn that the mean margin at the end is not above zero."""
    end = _ends(facts.curve("rewards/margins"))
    if not end or end.last > 2 * end.error:
        return None
    return PageFinding(
        True,
        "The two classes were not told apart",
        f"The reward margin over the last quarter is {number(end.last, 2)}, no more than its noise."
        " The labels may say nothing that can be learnt, or the run is too short, or its steps too small.",
    )


def clamped(facts: RunFacts) -> PageFinding | None:
    """z0 sat at zero for much of the run."""
    share = clamped_share(facts)
    if share is None or share < 0.25:
        return None
    images = facts.provenance.images is not None
    return PageFinding(
        False,
        f"The reference point z0 was clamped to 0 on {percent(share)} of the steps",
        "That is normal when most of them lie at the start, where policy and reference are still the same."
        " When it lasts, KTO measures gains from the reference itself, as if z0 were fixed at 0. So it is with the"
        " usual estimate on feedback that the reference made"
        + ("." if images else "; reference_point: sampled asks the policy itself."),
    )


def saturated(facts: RunFacts) -> PageFinding | None:
    """Note that most examples of a loss with a sigmoid are where it is flat: their gradient has vanished.

    The slope of sigma at z is sigma(z) sigma(-z); at SATURATED it is a fortieth of the slope at 0.
    """
    if not _is_sigmoid(facts):
        return None
    if facts.feedback == "paired":
        places = {"pairs": _ends(facts.curve("rewards/margins"))}
    else:
        z0, beta = _ends(facts.curve("kl")), facts.beta
        shift = beta * z0.last if z0 and beta is not None else 0.0
        sides = zip(facts.class_names, ("chosen", "rejected"), strict=True)
        ends = {name: _ends(facts.curve(f"rewards/{side}")) for name, side in sides}
        places = {name: end and end._replace(last=end.last - shift) for name, end in ends.items()}
    flat = {name: end.last for name, end in places.items() if end and abs(end.last) > SATURATED}
    if not flat:
        return None
    where = " and ".join(f"{number(value, 2)} for {name}" for name, value in flat.items())
    return PageFinding(
        False,
        f"Most {' and '.join(flat)}{'' if facts.feedback == 'paired' else f' {facts.noun}s'} are saturated",
        f"Over the last quarter their mean place on the loss's curve is {where}: beyond ±{SATURATED:g} it is nearly"
        " flat, so further steps teach little. Stop earlier, or lower beta or the learning rate.",
    )


def drifted(facts: RunFacts) -> PageFinding | None:
    """Warn that the reference point says that the policy is far from its reference."""
    z0, tokens = _ends(facts.curve("kl")), facts.train_data.completion_tokens
    means = [lengths.mean for lengths in tokens.values() if lengths.mean > 0]
    if not z0 or not means or z0.last / (sum(means) / len(means)) < DRIFTED or reference_point_out_of_reach(facts):
        return None
    per_token = z0.last / (sum(means) / len(means))
    return PageFinding(
        True,
        "The policy has drifted far from its reference",
        f"Over the last quarter z0 is {number(z0.last, 2)} nats, {number(per_token, 2)} for each token of a completion:"
        " it may have lost what the reference could do. Read the samples; a higher beta or a lower learning rate holds"
        " it closer.",
    )


def clamped_share(facts: RunFacts) -> float | None:
    """Return the share of steps whose z0 estimate was 0 or less before the clamp."""
    raw = facts.curve("kl_raw") or facts.curve("kl")
    return float(np.mean(raw.values <= 0)) if raw else None


# The worst first: a policy that has run away or collapsed, one that learnt nothing, one that could have been better,
# then what was measured and what it learnt from.
CHECKS: tuple[Callable[[RunFacts], PageFinding | None], ...] = (
    reference_point_out_of_reach,
    samples_repeat_themselves,
    sampled_images_collapsed,
    both_rewards_fall,
    drifted,
    rewards_fell_for_a_while,
    samples_changed_length,
    rewards_not_separated,
    *HELD_OUT_CHECKS,
    *EVALUATION_CHECKS,
    *DATA_CHECKS,
    clamped,
    saturated,
    many_epochs,
)


def _is_sigmoid(facts: RunFacts) -> bool:
    return facts.loss in SIGMOIDS


class _Ends(NamedTuple):
    """Means of the first and last quarter of a curve, and the standard error of the last."""

    first: float
    last: float
    error: float


def _ends(curve: MetricCurve) -> _Ends | None:
    quarter = len(curve.steps) // 4
    if quarter < 5:  # a spread from fewer values is too uncertain for a warning
        return None
    first, last = curve.values[:quarter], curve.values[-quarter:]
    return _Ends(float(first.mean()), float(last.mean()), float(last.std(ddof=1) / np.sqrt(quarter)))
