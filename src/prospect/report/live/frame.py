"""A run on one screen of text: numbers with their curves, speed, time left, alarms and the last samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from prospect.progress import span
from prospect.report.live.follow import State
from prospect.report.page.wording import MINUS, number, percent, plain, short_path
from prospect.report.run.facts import MetricCurve, RunFacts

BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
LABEL, VALUE = 24, 10  # columns
RECENT = 20  # rows that speed and time left are taken from
SAMPLES = 2
STATES: dict[State, str] = {"running": "running", "finished": "finished", "stopped": "stopped; --resume goes on"}


class _Row(NamedTuple):
    """A metric on the screen."""

    label: str
    key: str


def draw_frame(facts: RunFacts, state: State, *, width: int = 80, plain_bars: bool = False) -> str:
    """Return the screen: lines of at most `width` columns, without colours.

    Args:
        facts: what the run directory holds.
        state: whether the run goes on.
        width: columns.
        plain_bars: draw curves with ASCII alone.
    """
    bars = ASCII_BARS if plain_bars else BARS
    lines = [*_head(facts, state), ""]
    lines += [_line(row, curve, width, bars) for row in _rows(facts) if (curve := facts.curve(row.key))]
    lines += [*_held_out(facts), "", *_speed(facts, state), *_alarms(facts), *_samples(facts, width)]
    text = "\n".join(line[:width].rstrip() for line in lines)
    return text.replace(MINUS, "-") if plain_bars else text


def sparkline(values: np.ndarray, columns: int, bars: str = BARS) -> str:
    """Return values (S,) as one bar a column, the least of them lowest; several in a column are averaged."""
    parts = [float(part.mean()) for part in np.array_split(values, min(columns, len(values)))]
    low, high = min(parts), max(parts)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round((part - low) * scale)] for part in parts)


def seconds_per_step(facts: RunFacts) -> float | None:
    """Return what the last steps took, by the tokens that they read at the speed that was logged.

    Time of evaluations and saves is not in it. None before two steps are logged.
    """
    tokens, speed = facts.curve("num_tokens"), facts.curve("tokens_per_second")
    if len(tokens.steps) < 2 or not speed:
        return None
    steps, read = tokens.steps[-RECENT:], tokens.values[-RECENT:]
    rate = float(speed.values[-RECENT:].mean())
    return float(read[-1] - read[0]) / float(steps[-1] - steps[0]) / rate if rate > 0 else None


def _head(facts: RunFacts, state: State) -> Iterator[str]:
    total, done = facts.provenance.steps, facts.steps_done
    about = [f"{facts.method} on {short_path(facts.model)}" if facts.method and facts.model else facts.name]
    yield "  ".join([facts.name, *about, STATES[state]])
    if total:
        epoch = facts.curve("epoch")
        yield f"step {done:,} of {total:,} ({percent(done / total)})" + (f"  epoch {epoch.last:.2f}" if epoch else "")
    else:
        yield f"step {done:,}"


def _rows(facts: RunFacts) -> Sequence[_Row]:
    good, bad = facts.class_names
    return (
        _Row("loss", "loss"),
        _Row(f"reward of {good}", "rewards/chosen"),
        _Row(f"reward of {bad}", "rewards/rejected"),
        _Row("reward margin", "rewards/margins"),
        _Row("z0 (nats)", "kl"),
        _Row("judge's score", "rollout/reward"),
        _Row("KL (nats per answer)", "rollout/kl"),
        _Row("learning rate", "learning_rate"),
        _Row("gradient norm", "grad_norm"),
    )


def _line(row: _Row, curve: MetricCurve, width: int, bars: str) -> str:
    room = max(8, width - LABEL - VALUE - 2)
    return f"{row.label:{LABEL}}{number(curve.last):>{VALUE}}  {sparkline(curve.values, room, bars)}"


def _held_out(facts: RunFacts) -> Iterator[str]:
    loss = facts.curve("eval_loss")
    if not loss:
        return
    shares = (("AUROC", "eval_rewards/auroc"), ("accuracy", "eval_rewards/accuracies"))
    parts = [f"{name} {curve.last:.3f}" for name, key in shares if (curve := facts.curve(key))]
    parts.append(f"loss {number(loss.last)} (first {number(loss.first)})")
    yield f"{f'held out at step {loss.steps[-1]:,.0f}':{LABEL}}{'  '.join(parts)}"


def _speed(facts: RunFacts, state: State) -> Iterator[str]:
    speed, each, total = facts.curve("tokens_per_second"), seconds_per_step(facts), facts.provenance.steps
    if not speed:
        return
    unit = "img/s" if facts.provenance.images is not None else "tok/s"
    parts = [f"{speed.values[-RECENT:].mean():,.0f} {unit}"]
    if each is not None:
        parts.append(f"{span(each)} a step")
        if total and state == "running":
            parts.append(f"about {span(each * max(0, total - facts.steps_done))} left, without evaluations")
    yield "  ".join(parts)


def _alarms(facts: RunFacts) -> Iterator[str]:
    for row in facts.raised[-3:]:
        for alarm in row.alarms:
            yield f"ALARM at step {row.step}: {alarm.text}"


def _samples(facts: RunFacts, width: int) -> Iterator[str]:
    last = [row for row in facts.samples if row.step == facts.steps_sampled[-1]] if facts.samples else []
    for row in last[:SAMPLES]:
        yield ""
        yield f"sample at step {row.step}: {_flat(plain(row.prompt, width))}"
        yield f"  > {_flat(plain(row.completion, 2 * width))}"


def _flat(text: str) -> str:
    return " ".join(text.split())
