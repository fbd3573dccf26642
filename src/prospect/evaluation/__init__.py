"""Did it get better? Scores, each with its interval. The statistics import no torch."""

from prospect.evaluation.winrate import Rate, overlap, proportion, win_rate

__all__ = ["Rate", "overlap", "proportion", "win_rate"]
