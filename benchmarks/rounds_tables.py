"""The tables of benchmarks/rounds.py: rates with intervals over customers and seeds, and differences with verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prospect.statistics.comparisons import holm
from prospect.studies.findings import number
from prospect.studies.pooling import Pooled, pool

Cells = dict[tuple[str, int], dict[str, Any]]
"""(arm, seed) -> what is written down of it."""
COUNTS = ("up / down", "tokens", "steps", "steps with z0 at 0, %")


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        title: in words.
        arms: of the table; the first is what the others are held against.
        seeds: at most.
        upto: the round after which they are compared; None for each one's last.
    """

    title: str
    arms: dict[str, str]
    seeds: int = 5
    upto: int | None = 2


def show(question: Question, cells: Cells) -> list[str]:
    """Return a question's table; arms that no seed has are left out, and seeds that not every arm has."""
    arms = {label: arm for label, arm in question.arms.items() if any(key[0] == arm for key in cells)}
    seeds = [seed for seed in range(question.seeds) if all((arm, seed) in cells for arm in arms.values())]
    if len(arms) < 2 or not seeds:
        return ["Not run."]
    made = {
        label: [cells[arm, seed]["rounds"][: question.upto and question.upto + 1] for seed in seeds]
        for label, arm in arms.items()
    }
    first = next(iter(arms))
    count = max(len(runs[0]) for runs in made.values())
    after = [f"round {i}" for i in range(1, count)]
    lines = [
        "| " + " | ".join(["", "start", *after, f"last less {first}", "last, by seed", *COUNTS]) + " |",
        "|---" * (count + 3 + len(COUNTS)) + "|",
    ]
    last = {label: np.array([rounds[-1]["passed"] for rounds in runs]) for label, runs in made.items()}
    differences = {label: pool((last[label] - last[first]).tolist()) for label in arms if label != first}
    p_values = dict(zip(differences, holm([one.p_differs(0.0, (-1, 1)) for one in differences.values()]), strict=True))
    for label, runs in made.items():
        cell_texts = [rate_text(pool([rounds[i]["passed"] for rounds in runs])) for i in range(len(runs[0]))]
        cell_texts += [""] * (count - len(runs[0]))
        cell_texts.append(difference_text(differences[label], p_values[label]) if label in differences else "")
        cell_texts.append(", ".join(number(mean, "share") for mean in last[label].mean(axis=1)))
        judged = np.mean([[one["judged"] for one in rounds[1:]] for rounds in runs], axis=0)
        cell_texts.append(", ".join(f"{up:.0f} / {down:.0f}" for up, down in judged))
        for key in ("tokens", "steps"):
            cell_texts.append(f"{np.mean([sum(one[key] for one in rounds) for rounds in runs]):.0f}")
        clamped = np.mean([[one["clamped"] for one in rounds[1:]] for rounds in runs])
        cell_texts.append(number(float(clamped), "share"))
        lines.append(f"| {label} | " + " | ".join(cell_texts) + " |")
    return [*lines, "", foot(seeds)]


def show_proxy(question: Question, cells: Cells) -> list[str]:
    """Return what both judges say, round by round, and where the second would have ended the rounds."""
    runs = {seed: cells["proxy", seed]["rounds"] for seed in range(question.seeds) if ("proxy", seed) in cells}
    if not runs:
        return ["Not run."]
    count = len(next(iter(runs.values())))
    after = [f"round {i}" for i in range(1, count)]
    lines = ["| " + " | ".join(["", "start", *after, "last less start"]) + " |", "|---" * (count + 2) + "|"]
    for label, which in (("the proxy, above the start's median", "passed"), ("the seven rules", "second")):
        by_round = np.array([[one[which] for one in rounds] for rounds in runs.values()])
        change = pool((by_round[:, -1] - by_round[:, 0]).tolist())
        texts = [rate_text(pool(by_round[:, i].tolist())) for i in range(count)]
        lines.append(
            f"| {label} | " + " | ".join([*texts, difference_text(change, change.p_differs(0.0, (-1, 1)))]) + " |"
        )
    words = [f"{np.mean([rounds[i]['words'] for rounds in runs.values()]):.1f}" for i in range(count)]
    lines.append("| words | " + " | ".join([*words, ""]) + " |")
    ends = {seed: [i for i, one in enumerate(rounds) if one["second_judge_stops"]] for seed, rounds in runs.items()}
    said = ", ".join(f"{seed} {f'after round {found[0]}' if found else 'never'}" for seed, found in ends.items())
    return [*lines, "", f"`stop.second_judge` would have ended the rounds of seed {said}.", "", foot(list(runs))]


def rate_text(pooled: Pooled) -> str:
    low, high = pooled.rate_interval()
    return f"{number(pooled.value, 'share')} ({number(low, 'share')} to {number(high, 'share')})"


def difference_text(pooled: Pooled, p: float) -> str:
    low, high = pooled.interval(bounds=(-1, 1))
    word = "no difference shown" if p >= 0.05 else "better" if pooled.value > 0 else "worse"
    value, low_text, high_text = (number(end, "share", sign=True) for end in (pooled.value, low, high))
    return f"{value} ({low_text} to {high_text}), {word}"


def foot(seeds: Sequence[int]) -> str:
    return (
        f"Percent of 200 held-out customers whose reply passes, 95 % intervals over customers and seeds "
        f"{', '.join(map(str, seeds))}; verdicts after Holm's correction; what follows those columns are means."
    )
