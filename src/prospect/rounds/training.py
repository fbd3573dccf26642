"""A round's training run: an ordinary one, whose optimizer may go on from the run before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from prospect.results.rounds import Trained
from prospect.rounds.folder import RoundFolder
from prospect.run_dir import RunDir
from prospect.training.checkpoints.state import describe_file
from prospect.training.train import hold, run_steps, train


def train_round(
    recipe: Mapping[str, Any],
    folder: RoundFolder,
    home: Path,
    optimizer: Literal["fresh", "carried"] = "fresh",
    carried: RunDir | None = None,
    *,
    quiet: bool = False,
) -> Trained:
    """Train, or finish a run that was begun, and say what came of it.

    Args:
        recipe: of the run.
        folder: of the round.
        home: the folder of the rounds.
        optimizer: carried keeps a last checkpoint, from which the next round's optimizer goes on.
        carried: the run before, whose optimizer goes on; None begins anew.
        quiet: print nothing.
    """
    run = folder.run
    if not run.provenance().finished:
        if optimizer == "fresh":
            train(recipe, resume=run.begun(), quiet=quiet)
        else:
            with hold(recipe, resume=run.begun(), quiet=quiet) as session:
                if carried is not None and session.progress.step == 0:
                    session.carry_optimizer(carried)
                run_steps(session)
                session.save()
                session.finish()
    return _describe(run, home)


def _describe(run: RunDir, home: Path) -> Trained:
    rows = [row for row in run.metrics() if "loss" in row]
    raw = [row["kl_raw"] for row in rows if "kl_raw" in row]
    known = run.provenance()
    return Trained(
        run=str(run.path.relative_to(home)),
        steps=int(rows[-1]["step"]) if rows else 0,
        learning_rate=float(run.config()["train"]["learning_rate"]),
        loss=rows[-1]["loss"] if rows else None,
        kl_raw=round(sum(raw) / len(raw), 4) if raw else None,
        clamped=round(sum(value <= 0 for value in raw) / len(raw), 4) if raw else None,
        alarms=[alarm.text for row in run.alarms() for alarm in row.alarms],
        weights=weights_hash(run.model_path),
        seconds=known.seconds or 0.0,
    )


def weights_hash(folder: Path) -> str:
    """Return a hash of the weight files of a model's folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):  # those of a pipeline lie in folders of its parts
        digest.update(path.relative_to(folder).as_posix().encode() + bytes.fromhex(describe_file(path).sha256))
    return digest.hexdigest()
