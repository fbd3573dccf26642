"""The page of rounds: reads the folder of rounds and nothing else, writes one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import yaml

from prospect.atomic import write_text
from prospect.report.page.pages import render_page
from prospect.report.page.parts import FIRST_SAMPLES, KeyNumber, PageSample, SampleSide, flat, read_sides
from prospect.report.page.pictures import picture_grid
from prospect.report.page.wording import count, duration, interval, number, percent, points
from prospect.report.rounds import words
from prospect.report.rounds.figures import outcome_figures, round_figures
from prospect.report.rounds.findings import findings
from prospect.report.rounds.tables import outcome_table, round_table
from prospect.report.run.build import build_report
from prospect.report.run.model_card import write_model_card
from prospect.results.rounds import LEDGER, HeldOut, Ledger, Round, RoundSample
from prospect.run_dir import RunDir

MOST_SIDES = 6  # completions read side by side: the start's and the last rounds'
MOST_EXAMPLES = 24  # prompts
_SHOWN_ELSEWHERE = frozenset({"rounds", "settings", "stopped"})


class RoundLink(NamedTuple):
    """A round with its training run: where its page is, relative to this one, and what its model is known by."""

    name: str
    page: str
    weights: str


def build_rounds_report(folder: str | Path) -> Path:
    """Write `report.html` for rounds and return its path; rounds that are under way will do.

    The page and the model card of each round's run are written too.

    Args:
        folder: that of the rounds, with its `rounds.json`.

    Raises:
        CheckpointError: there is no `rounds.json`, or it or a run in the folder is damaged.
    """
    folder = Path(folder)
    ledger = Ledger.read(folder / LEDGER)
    runs = {one.round: folder / one.trained.run for one in ledger.rounds if one.trained}
    if ledger.imitates:
        runs[0] = folder / "start" / "run"
    pages = {}
    for of, run in runs.items():
        if RunDir(run).exists() and run.resolve().is_relative_to(folder.resolve()):
            pages[of] = build_report(run).relative_to(folder).as_posix()
            write_model_card(run)
    path = RunDir(folder).report_path
    write_text(path, render_rounds_page(ledger, pages, folder))
    return path


def render_rounds_page(ledger: Ledger, pages: Mapping[int, str], folder: Path = Path()) -> str:
    """Return the page of rounds.

    Args:
        ledger: the content of `rounds.json`.
        pages: round -> the page of its training run, relative to this one.
        folder: of the rounds, where images lie.
    """
    return render_page(
        "rounds.html.j2",
        kind="Prospect rounds",
        footer="Made by prospect report from the folder of the rounds alone.",
        byline=_byline(ledger),
        headline=words.headline(ledger),
        summary=words.summary(ledger),
        findings=findings(ledger),
        cards=_key_numbers(ledger),
        outcomes=outcome_figures(ledger),
        outcome_table=outcome_table(ledger),
        figures=round_figures(ledger),
        round_table=round_table(ledger),
        samples=_samples(ledger, folder),
        first_samples=FIRST_SAMPLES,
        links=_links(ledger, pages),
        settings=yaml.safe_dump({"rounds": ledger.settings}, sort_keys=False, allow_unicode=True),
        rest=flat(ledger.as_dict(), leave_out=_SHOWN_ELSEWHERE),
    )


def _byline(ledger: Ledger) -> list[str]:
    state = f"stopped: {ledger.stopped.kind.replace('_', ' ')}" if ledger.stopped else "in progress"
    return [ledger.protocol, f"prospect-align {ledger.prospect}", state]


def _key_numbers(ledger: Ledger) -> list[KeyNumber]:
    done = [one for one in ledger.rounds if one.trained]
    cards = [KeyNumber("rounds trained", count(len(done)), f"of {count(ledger.planned)} asked for")]
    kept = words.outcome(ledger)
    if kept:
        cards += _outcome_cards(ledger, *kept)
    samples = sum(one.drawn.samples for one in ledger.rounds if one.drawn)
    if samples:
        cards.append(KeyNumber("samples drawn", count(samples), f"on {count(ledger.prompts, 'prompt')} to learn from"))
    return [*cards, KeyNumber("time", duration(ledger.seconds), "of all stages so far")]


def _outcome_cards(ledger: Ledger, one: Round, found: HeldOut) -> list[KeyNumber]:
    """Return the numbers of the model to use."""
    label = "wins against the start" if ledger.compares else "held-out samples pass"
    ends = f"95%: {interval(found.rate.low, found.rate.high)}, {words.round_name(one)}"
    cards = [KeyNumber(label, percent(found.rate.rate), ends)]
    change = None if ledger.compares else found.against_start
    if change:
        ends = f"95%: {points(change.low)} to {points(change.high)}"
        cards.append(KeyNumber("points against the start", points(change.value), ends))
    if found.kl:
        cards.append(KeyNumber("KL from the start", number(found.kl.value), "nats a sample"))
    return cards


def _samples(ledger: Ledger, folder: Path) -> list[PageSample]:
    """Return what the start and the last rounds made of the same held-out prompts."""
    rounds = [one for one in ledger.rounds if one.held_out and one.held_out.samples]
    if len(rounds) > MOST_SIDES:
        rounds = [rounds[0], *rounds[1 - MOST_SIDES :]]
    made: dict[str, list[tuple[Round, RoundSample]]] = {}
    for one in rounds:
        for sample in one.held_out.samples if one.held_out else ():
            made.setdefault(sample.prompt, []).append((one, sample))
    found = []
    for prompt, sides in list(made.items())[:MOST_EXAMPLES]:
        if sides[0][1].images:
            found.append(PageSample(prompt, [_pictures(one, sample, folder) for one, sample in sides]))
        else:
            texts = [(_side(one, sample), sample.completion, sample.desirable) for one, sample in sides]
            found.append(read_sides(prompt, texts))
    return found


def _pictures(one: Round, sample: RoundSample, folder: Path) -> SampleSide:
    title = f"{words.round_name(one).capitalize()}: {sample.passed} of {len(sample.images)} pass"
    return SampleSide(title, picture_grid(folder, sample.images, title))


def _side(one: Round, sample: RoundSample) -> str:
    name = words.round_name(one).capitalize()
    plain = sample.score is None or sample.score in (0, 1)  # a thumb says the same
    return name if plain else f"{name}, score {number(sample.score or 0.0)}"


def _links(ledger: Ledger, pages: Mapping[int, str]) -> list[RoundLink]:
    return [
        RoundLink(
            words.round_name(one).capitalize(),
            quote(pages[one.round]),
            one.trained.weights[:12] if one.trained else "",
        )
        for one in ledger.rounds
        if one.round in pages
    ]
