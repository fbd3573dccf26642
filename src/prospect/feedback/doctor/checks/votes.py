"""Verdicts by what they judge: one completion of a prompt, or two of them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from prospect.feedback.doctor.checks.gather import Gathered
from prospect.statistics.noise import Noise, estimate_noise


@dataclass(frozen=True)
class Votes:
    """The verdicts that count: the latest of each known rater on each item.

    Attributes:
        each: a frame of verdicts: row, rater (a code, null where it is unknown), item (a hash), and `up`, which is
            desirable, or of pairs that the side with the smaller hash was chosen.
        items: a frame of items with their first row, how many `votes` they have and how many of these are `ups`.
    """

    each: pl.DataFrame
    items: pl.DataFrame

    def contradictions(self) -> list[int]:
        """Return the first row of each item that has votes both ways."""
        return self.items.filter((pl.col("ups") > 0) & (pl.col("ups") < pl.col("votes")))["row"].sort().to_list()

    def noise(self) -> Noise | None:
        """Return the flip rate that several votes on the same items imply."""
        return estimate_noise(self.items["votes"].to_numpy(), self.items["ups"].to_numpy())


def votes_of(data: Gathered) -> Votes | None:
    """Return the votes; None where nothing is judged one by one. Rows without a rater are votes of different people."""
    prompt, text, up = (data.completions[name] for name in ("prompt", "completion", "verdict"))
    if data.kind == "unpaired":
        item, up = _mixed(prompt, text), up == 1
    elif data.kind == "paired":
        chosen, rejected = text.gather_every(2), text.gather_every(2, 1)
        up = chosen < rejected
        low, high = chosen.zip_with(up, rejected), rejected.zip_with(up, chosen)
        item = _mixed(_mixed(prompt.gather_every(2), low), high)
    else:
        return None
    rater = data.rows["rater"].cast(pl.Categorical).to_physical()
    votes = data.rows.select("row", "time", rater=rater, item=item, up=up)
    # Of a known rater the last verdict counts: by time, where it is known, else by row.
    votes = votes.sort("time", nulls_last=False, maintain_order=True).drop("time")
    person = _mixed(votes["item"], votes["rater"].cast(pl.UInt64))
    votes = votes.filter(votes["rater"].is_null() | person.is_last_distinct()).sort("row")
    items = votes.group_by("item", maintain_order=True).agg(
        pl.col("row").first(), votes=pl.len().cast(pl.Int64), ups=pl.col("up").sum().cast(pl.Int64)
    )
    return Votes(votes, items)


def _mixed(left: pl.Series, right: pl.Series) -> pl.Series:
    """Return one 64-bit hash of two."""
    mixed = left * 0x9E3779B97F4A7C15 + right
    return (mixed ^ (mixed // 2**29)) * 0xBF58476D1CE4E5B9
