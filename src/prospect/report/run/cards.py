"""The key numbers of a run."""

from __future__ import annotations

from prospect.report.page.parts import KeyNumber
from prospect.report.page.wording import count, duration, interval, number, percent, short_path
from prospect.report.run import summary
from prospect.report.run.facts import RunFacts
from prospect.results.contest import ContestResult


def key_numbers(facts: RunFacts) -> list[KeyNumber]:
    """Return what is known of outcome, held-out feedback, training and data, in this order."""
    cards = (
        _pass_card(facts),
        _win_card(facts),
        _auroc_card(facts),
        _margin_card(facts),
        _data_card(facts),
        _steps_card(facts),
    )
    return [card for card in cards if card]


def _pass_card(facts: RunFacts) -> KeyNumber | None:
    compared = facts.comparison
    if not compared:
        return None
    return KeyNumber("pass rate", percent(compared.after.rate), f"was {percent(compared.before.rate)}")


def _win_card(facts: RunFacts) -> KeyNumber | None:
    win = facts.comparison.win_rate if facts.comparison else None
    if win:
        return KeyNumber("wins against its start", percent(win.rate), f"95%: {interval(win.low, win.high)}")
    for contest in facts.results(ContestResult):
        win = contest.win_rate
        return KeyNumber(f"wins against {contest.theirs}", percent(win.rate), f"95%: {interval(win.low, win.high)}")
    return None


def _auroc_card(facts: RunFacts) -> KeyNumber | None:
    auroc = facts.curve("eval_rewards/auroc")
    if not auroc:
        return None
    return KeyNumber(
        "held-out AUROC",
        f"{auroc.last:.2f}",
        f"was {auroc.first:.2f}" if len(auroc.steps) > 1 else "0.50 is chance",
    )


def _margin_card(facts: RunFacts) -> KeyNumber | None:
    margins, loss = facts.curve("rewards/margins"), facts.curve("loss")
    curve, label, unit = (margins, "reward margin", ", β · nats") if margins else (loss, "training loss", "")
    if not curve:
        return None
    last = curve.values[-max(1, len(curve.values) // 20) :].mean()  # one step alone is noise
    return KeyNumber(label, number(float(last)), f"mean of the last 5% of steps{unit}")


def _data_card(facts: RunFacts) -> KeyNumber | None:
    train, counts = facts.train_data, facts.class_counts
    if train.rows is None:
        return None
    note = f"{percent(counts[0] / sum(counts))} desirable" if counts else f"from {short_path(train.source or 'data')}"
    return KeyNumber(f"{summary.NOUNS.get(str(train.kind), 'record')}s", count(train.rows), note)


def _steps_card(facts: RunFacts) -> KeyNumber | None:
    seconds, speed = facts.provenance.seconds, facts.curve("tokens_per_second")
    time = duration(seconds) if seconds is not None else ""
    unit = "images/s" if facts.provenance.images is not None else "tokens/s"
    pace = f"{number(float(sorted(speed.values)[len(speed.values) // 2]))} {unit}" if speed else ""
    note = " · ".join(part for part in (time, pace) if part)
    return KeyNumber("steps", count(facts.steps_done), note) if facts.steps_done else None
