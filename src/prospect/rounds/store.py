"""Rollouts on disk, exact: a run that stopped within one goes on with the same completions and numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from prospect.atomic import atomic_file
from prospect.data.batch import Row, row_from_ids
from prospect.errors import CheckpointError
from prospect.results.run import MetricsRow
from prospect.rounds.rollout import Drawn


class Rollout(NamedTuple):
    """A rollout, and what a run must know to go on from it.

    Attributes:
        number: from 0.
        step: the steps that had been made when it was drawn.
        kl: what a nat of KL took from its scores.
        judge: identity of who scored it.
        empty: rollouts in a row, up to this one, from which nothing can be learnt.
        metrics: what is logged of it.
        drawn: its completions.
    """

    number: int
    step: int
    kl: float
    judge: str
    empty: int
    metrics: MetricsRow
    drawn: list[Drawn]


def write_rollout(folder: Path, rollout: Rollout) -> None:
    """Write `NUMBER.safetensors`, all or nothing."""
    drawn = rollout.drawn
    tensors = {
        "prompt": np.array([one.prompt for one in drawn]),
        "finished": np.array([one.finished for one in drawn]),
        "score": np.array([one.score for one in drawn], dtype=np.float64),
        "length": np.array([len(one.row.completion_ids) for one in drawn]),
        "ids": np.concatenate([one.row.completion_ids for one in drawn]),
        "sampled_logps": np.concatenate([one.row.sampled_logps for one in drawn]),
        "logps": np.concatenate([one.logps for one in drawn]),
        "reference_logps": np.concatenate([one.reference_logps for one in drawn]),
    }
    if drawn[0].values is not None:
        tensors["values"] = np.concatenate([one.values for one in drawn])
    known = {key: value for key, value in rollout._asdict().items() if key != "drawn"}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / f"{rollout.number}.safetensors") as file:
        file.write(save(tensors, {"rollout": json.dumps(known)}))


def read_rollout(path: Path, prompts: Sequence[Row]) -> Rollout:
    """Read one back.

    Args:
        path: its file.
        prompts: the run's, by number.

    Raises:
        CheckpointError: the file cannot be read, or is of other prompts.
    """
    try:
        with safe_open(path, "numpy") as file:
            known = json.loads(file.metadata()["rollout"])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        drawn = _read_drawn(known["number"], found, prompts)
        return Rollout(**known, drawn=drawn)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{path}: the rollout is damaged ({error}). Begin the run again with another --output."
        ) from error


def _read_drawn(number: int, found: dict[str, np.ndarray], prompts: Sequence[Row]) -> list[Drawn]:
    ends = found["length"].cumsum()[:-1]
    by_row = {
        name: np.split(found[name], ends)
        for name in ("ids", "sampled_logps", "logps", "reference_logps", "values")
        if name in found
    }
    return [
        Drawn(
            prompt=int(prompt),
            row=row_of(prompts[prompt], number, i, by_row["ids"][i].tolist(), by_row["sampled_logps"][i].tolist()),
            finished=bool(found["finished"][i]),
            score=float(found["score"][i]),
            logps=by_row["logps"][i],
            reference_logps=by_row["reference_logps"][i],
            values=by_row["values"][i] if "values" in by_row else None,
        )
        for i, prompt in enumerate(found["prompt"])
    ]


def row_of(prompt: Row, rollout: int, place: int, ids: Sequence[int], logps: Sequence[float]) -> Row:
    """Return the row of a completion as it was drawn, the end token with it only if that was drawn."""
    return row_from_ids(
        prompt.prompt_ids.tolist(),
        ids,
        prompt_key=prompt.prompt_key,
        id=f"rollout {rollout} completion {place + 1}",
        sampled_logps=logps,
    )


def stored(folder: Path) -> list[int]:
    """Return the numbers of the rollouts that are there, in order."""
    return sorted(int(path.stem) for path in folder.glob("*.safetensors") if path.stem.isdigit())


def forget(folder: Path, numbers: Sequence[int]) -> None:
    """Remove rollouts."""
    for number in numbers:
        (folder / f"{number}.safetensors").unlink(missing_ok=True)
