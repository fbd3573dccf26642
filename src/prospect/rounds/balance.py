"""Rounds with many thumbs of one kind: rows of earlier rounds, fewer rows, and class weights with caps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from prospect.feedback.convert.balance import suggest_class_weights
from prospect.feedback.files.manifest import canonical
from prospect.feedback.files.write import IMAGE_COLUMNS, as_columns
from prospect.feedback.records import Feedback, Unpaired
from prospect.feedback.split import prompt_key
from prospect.rounds.recipe import BalanceSettings


@dataclass(frozen=True)
class Balanced:
    """A round's thumbs.

    Attributes:
        rows: to train on.
        replayed: of them, rows of earlier rounds.
        left_out: rows of the larger class that are not among them.
        weights: factors on the loss of either class.
        capped: whether a cap holds a factor down.
        note: what was done, in words; empty where nothing was.
        stop: why there is nothing to train on; empty where there is.
    """

    rows: list[Unpaired]
    replayed: int = 0
    left_out: int = 0
    weights: dict[str, float] = field(default_factory=dict)
    capped: bool = False
    note: str = ""
    stop: str = ""


def balance(rows: Sequence[Unpaired], earlier: Sequence[Unpaired], settings: BalanceSettings, seed: int) -> Balanced:
    """Return a round's thumbs such that neither class is next to nothing, and the weights of both classes.

    A row's weight counts: a sample that was drawn twice is two.

    Args:
        rows: of the round.
        earlier: of earlier rounds, the latest first; what the round has itself is not taken again.
        settings: of the recipe.
        seed: of the choice of rows that are left out.
    """
    up = [row for row in rows if row.desirable]
    down = [row for row in rows if not row.desirable]
    desirable_is_smaller = mass(up) < mass(down)
    smaller, larger = (up, down) if desirable_is_smaller else (down, up)
    name, other = ("up", "down") if desirable_is_smaller else ("down", "up")
    known = {identity(row) for row in rows}
    spare = [row for row in earlier if row.desirable == desirable_is_smaller and identity(row) not in known]
    found = f"{mass(smaller):g} thumbs {name} beside {mass(larger):g} {other}"
    if len(smaller) + len(spare) < settings.least_rows:
        advice = "easier prompts, a milder judge" if desirable_is_smaller else "harder prompts, a stricter judge"
        return Balanced(
            list(rows),
            stop=f"the round has {found}, and with all earlier rounds {len(smaller) + len(spare)} rows "
            f"(balance.least_rows is {settings.least_rows}): there is nothing left to learn from these prompts. Take "
            f"{advice}, or more samples of each prompt.",
        )
    added: list[Unpaired] = []
    kept = larger
    short = _share(smaller, larger) < settings.least_share
    if short and settings.short == "stop":
        return Balanced(list(rows), stop=f"the round has {found}, and balance.short is stop.")
    if short and settings.short == "top_up":
        for row in spare:
            if _share([*smaller, *added], larger) >= settings.least_share:
                break
            added.append(row)
    if short and settings.short != "keep":
        kept = _shortened(larger, mass([*smaller, *added]), settings.least_share, seed)
    trained = [*rows, *added] if len(kept) == len(larger) else _in_order([*rows, *added], [*smaller, *added, *kept])
    weights = _weights(trained, settings)
    left_out = len(larger) - len(kept)
    note = ""
    if added or left_out:
        what = [f"{len(added)} rows of earlier rounds were added"] if added else []
        what += [f"{left_out} of the larger class were left out"] if left_out else []
        note = f"{found}: {' and '.join(what)}"
    return replace(weights, replayed=len(added), left_out=left_out, note=note)


def _weights(rows: list[Unpaired], settings: BalanceSettings) -> Balanced:
    desirable = mass(row for row in rows if row.desirable)
    undesirable = mass(row for row in rows if not row.desirable)
    if not desirable or not undesirable:
        return Balanced(rows)
    scale = 1 / min(desirable, undesirable, 1.0)  # masses below 1, of weights in feedback, are no empty class
    wanted = suggest_class_weights(desirable * scale, undesirable * scale)  # type: ignore[arg-type]
    up = min(wanted.desirable, settings.max_desirable_weight)
    down = min(wanted.undesirable, settings.max_undesirable_weight)
    capped = (up, down) != (wanted.desirable, wanted.undesirable)
    return Balanced(rows, weights={"desirable_weight": up, "undesirable_weight": down}, capped=capped)


def mass(rows: Iterable[Feedback]) -> float:
    """Return the sum of the rows' weights."""
    return sum(row.weight for row in rows)


def identity(row: Feedback) -> bytes:
    """Return a key that rows with the same prompt and the same completions share."""
    columns = ("completion", "chosen", "rejected", *IMAGE_COLUMNS)
    given = {name: cell for name, cell in as_columns(row).items() if name in columns}
    return prompt_key(row.prompt).encode() + canonical(given, row.where)


def _share(smaller: Sequence[Unpaired], larger: Sequence[Unpaired]) -> float:
    whole = mass(smaller) + mass(larger)
    return mass(smaller) / whole if whole else 0.0


def _shortened(rows: Sequence[Unpaired], beside: float, least: float, seed: int) -> list[Unpaired]:
    """Return so many rows, chosen by their content, that what stands beside them has its least share."""
    most = beside * (1 - least) / least if least else float("inf")
    kept: list[Unpaired] = []
    total = 0.0
    ordered = sorted(rows, key=lambda row: hashlib.blake2b(f"{seed}".encode() + identity(row)).digest())
    for row in ordered:
        total += row.weight
        if total > most and kept:
            break
        kept.append(row)
    return kept


def _in_order(rows: Sequence[Unpaired], kept: Sequence[Unpaired]) -> list[Unpaired]:
    wanted = {id(row) for row in kept}
    return [row for row in rows if id(row) in wanted]
