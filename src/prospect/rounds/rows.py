"""The rows that a round trains on: made by the protocol, with those of earlier rounds, balanced, and frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from prospect.config import Config
from prospect.feedback.files.manifest import read_manifest
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.frozen.freeze import freeze
from prospect.feedback.records import Demonstration, Feedback, Paired, Unpaired
from prospect.losses import get_loss
from prospect.results.rounds import Rows, Stopped
from prospect.rounds.balance import Balanced, balance, identity
from prospect.rounds.folder import RoundFolder
from prospect.rounds.medium import RoundsMedium
from prospect.rounds.protocols import Gathered
from prospect.rounds.recipe import RoundsRecipe


class RoundRows(NamedTuple):
    """What a round trains on.

    Attributes:
        rows: in numbers, None where the rounds end before it.
        note: what was done for balance, in words.
        stopped: why there is nothing to train on.
    """

    rows: Rows | None
    note: str
    stopped: Stopped | None


def make_rows(
    recipe: RoundsRecipe,
    medium: RoundsMedium,
    gathered: Gathered,
    folder: RoundFolder,
    earlier: Sequence[RoundFolder],
) -> RoundRows:
    """Write a round's frozen rows.

    Args:
        recipe: of the rounds.
        medium: what the model makes.
        gathered: the round's samples with what was said of them.
        folder: of the round.
        earlier: folders of earlier rounds, the latest first.
    """
    settings = recipe.rounds
    made = recipe.protocol.rows(gathered)
    if not made.rows:
        return RoundRows(None, "", _nothing(recipe, gathered, made.ties))
    before = _earlier_rows(earlier)
    replayed = _replay(made.rows, before, settings.replay)
    rows = [*made.rows, *replayed]
    balanced = Balanced([])
    thumbs = [row for row in rows if isinstance(row, Unpaired)]
    if len(thumbs) == len(rows):
        others = [row for row in before if isinstance(row, Unpaired)]
        balanced = balance(thumbs, others, settings.balance, recipe.base.train.seed)
        if balanced.stop and not recipe.base.data.allow_one_class:
            return RoundRows(None, balanced.note, Stopped(kind="one_class", text=balanced.stop))
        rows = list(balanced.rows)
    unfit = medium.unfit(rows, class_weights(recipe.base, balanced))
    if unfit:
        return RoundRows(None, balanced.note, Stopped(kind="one_class", text=unfit))
    raw = folder.path.with_name(f"{folder.path.name}.rows.partial.jsonl")  # above images of earlier rounds too
    write_jsonl(rows, raw)
    freeze(raw, folder.rows)
    raw.unlink()
    return RoundRows(_count(recipe, gathered, rows, made.ties, len(replayed), balanced, folder), balanced.note, None)


def _nothing(recipe: RoundsRecipe, gathered: Gathered, ties: int) -> Stopped:
    samples = [sample for one in gathered.asked for sample in one.samples]
    is_scored = recipe.protocol.needs_judge and not recipe.protocol.compares
    found = {
        "comparisons were ties": ties,
        "were cut by rounds.max_new_tokens": sum(not one.finished for one in samples),
        "have no verdict that could be read": sum(one.score is None and one.finished for one in samples) * is_scored,
    }
    why = "; ".join(f"{number} {what}" for what, number in found.items() if number)
    return Stopped(
        kind="no_rows",
        text=f"protocol {recipe.protocol.name} made no row of {len(samples)} samples{f' ({why})' if why else ''}. Take "
        "harder prompts, more samples of each (rounds.samples_per_prompt), or a judge that tells more of them apart.",
    )


def _earlier_rows(earlier: Sequence[RoundFolder]) -> list[Feedback]:
    """Return the rows that earlier rounds made themselves, each once, the latest first."""
    found: dict[bytes, Feedback] = {}
    for folder in earlier:
        if folder.rows.exists():
            for row in load_feedback(folder.rows):
                found.setdefault(identity(row), row)
    return list(found.values())


def _replay(rows: Sequence[Feedback], before: Sequence[Feedback], share: float) -> list[Feedback]:
    """Return rows of earlier rounds, a share of the round's own number, the latest first."""
    known, kind = {identity(row) for row in rows}, rows[0].kind
    fresh = [row for row in before if row.kind == kind and identity(row) not in known]
    # Within a round any row is as good as another: which ones are taken does not depend on the order of prompts.
    ordered = sorted(fresh, key=lambda row: (-_round_of(row), hashlib.blake2b(identity(row)).digest()))
    return ordered[: round(share * len(rows))]


def _round_of(row: Feedback) -> int:
    """Return the number of the round that a row came from; 0 of a teacher's."""
    word, _, number = (row.source or "").partition(" ")
    return int(number) if word == "round" and number.isdigit() else 0


def _count(
    recipe: RoundsRecipe,
    gathered: Gathered,
    rows: Sequence[Feedback],
    ties: int,
    replayed: int,
    balanced: Balanced,
    folder: RoundFolder,
) -> Rows:
    drawn = [sample.count for one in gathered.asked for sample in one.samples]
    return Rows(
        rows=len(rows),
        kind=rows[0].kind,
        desirable=sum(isinstance(row, Demonstration | Paired) or bool(getattr(row, "desirable", 0)) for row in rows),
        undesirable=sum(isinstance(row, Paired) or getattr(row, "desirable", None) is False for row in rows),
        ties=ties,
        repeated=sum(drawn) - len(drawn),
        teacher=sum(row.source == "teacher" for row in rows),
        replayed=replayed + balanced.replayed,
        left_out=balanced.left_out,
        weights=class_weights(recipe.base, balanced),
        capped=balanced.capped,
        content=str(read_manifest(folder.rows)["content"]),
    )


def class_weights(config: Config, balanced: Balanced) -> dict[str, float]:
    """Return the weights that the loss is given: none where it takes none, or the recipe sets them or the shares."""
    if config.data.desirable_share is not None:
        return {}
    defaults = get_loss(config.loss.name).hyperparameters
    if not balanced.weights.keys() <= defaults.keys() or balanced.weights.keys() & config.loss.hyperparameters.keys():
        return {}
    return {name: round(defaults[name] * weight, 6) for name, weight in balanced.weights.items()}
