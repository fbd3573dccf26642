"""Stop rules: what a finished round shows, and whether another one is made. Pure functions of the ledger's rounds."""

from __future__ import annotations

from collections.abc import Sequence

from prospect.results.rounds import HeldOut, Round, Stopped
from prospect.rounds.recipe import StopSettings


def why_stop(rounds: Sequence[Round], settings: StopSettings) -> Stopped | None:
    """Return why no further round should be made after the last of these; None where one may.

    Args:
        rounds: finished ones, the start first.
        settings: which rules hold.
    """
    start, entry = rounds[0].held_out, rounds[-1]
    found = entry.held_out
    if start is None or found is None or not entry.round:
        return None
    name = f"round {entry.round}"
    return (
        _second_judge(found, name, settings)
        or _divergence(found, name, settings)
        or _length(found, start, name, settings)
        or _repetition(found, start, name, settings)
        or _no_gain(found, name, settings)
    )


def _no_gain(found: HeldOut, name: str, settings: StopSettings) -> Stopped | None:
    gain = found.against_last
    if not settings.no_gain or gain is None or gain.low > 0:
        return None
    return Stopped(
        kind="no_gain",
        text=f"{name} shows no gain over the model before it: {gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}) "
        f"on {gain.n} held-out {'prompts' if gain.n == gain.prompts else 'samples'}. More held-out prompts would show "
        "a smaller gain (rounds.evaluate.prompts).",
    )


def _divergence(found: HeldOut, name: str, settings: StopSettings) -> Stopped | None:
    if settings.kl is None or found.kl is None or found.kl.value <= settings.kl:
        return None
    return Stopped(
        kind="kl",
        text=f"{name} is {found.kl.value:.1f} nats a sample from the start (KL), and rounds.stop.kl is {settings.kl:g}."
        " A higher loss.beta or a lower learning rate stays nearer.",
    )


def _length(found: HeldOut, start: HeldOut, name: str, settings: StopSettings) -> Stopped | None:
    if settings.length is None or not start.words or found.words is None:
        return None
    ratio = found.words / start.words
    if 1 / settings.length <= ratio <= settings.length:
        return None
    return Stopped(
        kind="length",
        text=f"samples of {name} have {found.words:.1f} words and those of the start {start.words:.1f}: {ratio:.2f} "
        f"times as many, and rounds.stop.length is {settings.length:g}. Does the judge prefer a length?",
    )


def _repetition(found: HeldOut, start: HeldOut, name: str, settings: StopSettings) -> Stopped | None:
    if settings.repetition is None or found.repetition is None:
        return None
    grown = found.repetition - (start.repetition or 0.0)
    if grown <= settings.repetition:
        return None
    return Stopped(
        kind="repetition",
        text=f"samples of {name} repeat {found.repetition:.0%} of their text, those of the start "
        f"{start.repetition or 0.0:.0%}: {grown:+.0%}, and rounds.stop.repetition is {settings.repetition:g}. The "
        "learning rate is too high, or the judge likes repetition.",
    )


def _second_judge(found: HeldOut, name: str, settings: StopSettings) -> Stopped | None:
    """Tell over-optimisation: the judge that is learnt from is pleased more, one that is not is pleased less."""
    if not settings.second_judge:
        return None
    pairs = (
        (found.against_last, found.second_against_last, "the model before it"),
        (found.against_start, found.second_against_start, "the start"),
    )
    for first, second, than in pairs:
        if first is not None and second is not None and first.value > 0 and second.high < 0:
            return Stopped(
                kind="second_judge",
                text=f"{name} pleases its own judge more than {than} ({first.value:+.1%}) and the second judge less "
                f"({second.value:+.1%}, {second.low:+.1%} to {second.high:+.1%}): it learns the judge, not the task.",
            )
    return None
