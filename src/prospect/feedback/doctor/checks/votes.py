"""Verdicts by what they judge: one completion of a prompt, or two of them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from prospect.feedback.doctor.checks.gather import Gathered
from prospect.statistics.noise import Noise, estimate_noise

_ITEM = ("prompt", "low", "high")


@dataclass(frozen=True)
class Votes:
    """The verdicts that count: the latest of each known rater on each item.

    Attributes:
        each: a frame of verdicts with their row, rater, `up` (desirable; of pairs, that the side with the smaller hash
            was chosen), and of their item how many votes it has (`votes`) and how many of them are up (`ups`).
        items: a frame of items: the first row, `votes` and `ups`.
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
    if data.kind == "unpaired":
        own, other = pl.col("completion"), pl.col("completion")
        rows = data.thumbs().with_columns(up=pl.col("verdict") == 1)
    elif data.kind == "paired":
        own, other = pl.col("chosen"), pl.col("rejected")
        chosen, rejected = (data.completions["completion"].gather_every(2, side) for side in (0, 1))
        rows = data.rows.with_columns(chosen=chosen, rejected=rejected).with_columns(up=own < other)
    else:
        return None
    ends = {"low": pl.min_horizontal(own, other), "high": pl.max_horizontal(own, other)}
    votes = rows.select("row", "prompt", "rater", "time", "up", **ends)
    # Of a known rater the last verdict counts: by time, where it is known, else by row.
    votes = votes.sort("time", nulls_last=False, maintain_order=True)
    votes = votes.filter(pl.col("rater").is_null() | pl.struct(*_ITEM, "rater").is_last_distinct()).sort("row")
    count = {"votes": pl.len().cast(pl.Int64), "ups": pl.col("up").sum().cast(pl.Int64)}
    return Votes(
        each=votes.with_columns(**{name: counted.over(_ITEM) for name, counted in count.items()}),
        items=votes.group_by(_ITEM, maintain_order=True).agg(pl.col("row").first(), **count),
    )
