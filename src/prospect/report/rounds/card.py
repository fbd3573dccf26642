"""What the model card of a round says of the rounds."""

from __future__ import annotations

from prospect.model_card import plain_markdown
from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import interval, number, percent, points
from prospect.report.rounds.findings import findings
from prospect.report.rounds.words import outcome, round_name, what_was_done, where_it_stands
from prospect.results.rounds import Round, RoundOf


def rounds_section(of: RoundOf) -> str:
    """Return the section of the card: which round the model is of, and every round's rate with its interval."""
    ledger = of.ledger
    said = [f"This is the model of {round_name(of.round)}.", *what_was_done(ledger), where_it_stands(ledger)]
    rate = "win rate against the start" if ledger.compares else "held-out samples that pass"
    head = ["round", rate, "interval", "n", "against the start (points)", "KL from the start (nats)"]
    lines = [_row(one, of.round) for one in ledger.rounds if one.held_out]
    table = "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]) if lines else ""
    return "\n\n".join(part for part in ("## Rounds", plain_markdown(" ".join(said)), table) if part)


def round_findings(of: RoundOf) -> list[PageFinding]:
    """Return what the page of the rounds warns of, where it is about this round's model: the one to use."""
    kept = outcome(of.ledger)
    return findings(of.ledger) if kept and kept[0].round == of.round.round else []


def _row(one: Round, this: Round) -> str:
    found = one.held_out
    assert found is not None
    change, kl = found.against_start, found.kl
    cells = [
        f"{round_name(one)}{' (this model)' if one.round == this.round else ''}",
        percent(found.rate.rate),
        interval(found.rate.low, found.rate.high),
        f"{found.rate.n}",
        f"{points(change.value)} ({points(change.low)} to {points(change.high)})" if change else "",
        f"{number(kl.value)} ({number(kl.low)} to {number(kl.high)})" if kl else "",
    ]
    return f"| {' | '.join(cells)} |"
