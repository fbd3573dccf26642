"""The page of rounds and the card of a model: the outcome first, careful words, every state of the ledger."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from test_report import HOSTILE, Page, write_run

from made_results import PROMPTS, N, change, held_out, one_round, rounds_as_json
from prospect.cli.main import main
from prospect.errors import CheckpointError
from prospect.report.page.parts import PageFinding
from prospect.report.rounds import findings as checks
from prospect.report.rounds.findings import findings
from prospect.report.rounds.page import build_rounds_report, render_rounds_page
from prospect.report.rounds.words import shown_judge
from prospect.report.run.build import build_report
from prospect.report.run.model_card import write_model_card
from prospect.results.rounds import LEDGER, Ledger, StopKind, round_of
from prospect.statistics.rates import proportion


def ledger(*rounds: dict[str, Any], **changes: Any) -> Ledger:
    return Ledger.parse(rounds_as_json(*rounds, **changes), LEDGER)


def read(found: Ledger, pages: dict[int, str] | None = None) -> Page:
    page = Page(render_rounds_page(found, pages or {}))
    assert not page.open
    return page


def text_of(found: Ledger) -> str:
    return " ".join(read(found).text.split())


def warned(found: Ledger) -> list[str]:
    return [finding.title for finding in findings(found) if finding.worry]


def last(**changes: Any) -> Ledger:
    """Two rounds, of which the last was found to be otherwise."""
    return ledger(one_round(0), one_round(1), one_round(2, held_out=held_out(2, **changes)))


# -- the page ---------------------------------------------------------------------------------------------


def test_the_outcome_and_why_it_stopped_come_first() -> None:
    text = text_of(ledger())
    assert "After 2 rounds of online_kto, 95% of held-out samples pass, up from 46%" in text
    assert "2 of 2 rounds of online_kto were made from base" in text and "verifier:polite judges the answers" in text
    assert "1,200 samples were drawn (516 up, 684 down), and 1,160 rows trained on, in 20 min 34 s." in text
    assert "+49.0 points (+42.0 to +56.0), better." in text
    assert "Against the model before it, the change is +15.0 points (+8.0 to +22.0), better." in text
    assert "By reward:rm, which training never sees, 70% (63–76%) pass; against the start the change is +20.0" in text
    assert "Why it stopped All rounds that were asked for are made." in text
    assert "over 200 held-out prompts" in text and "Nothing in the numbers stands out." in text


def test_every_section_and_figure_is_there() -> None:
    text = render_rounds_page(ledger(), {})
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        *("What was done", "What changed", "Why it stopped", "How sure we are", "What to worry about"),
        *("Result", "Samples", "Round by round", "Making it again"),
    ]
    assert re.findall(r"<h3>(.*?)</h3>", text) == [
        *("Samples that pass, by round", "Gain, by round", "KL from the start, by round"),
        *("Thumbs up, by round", "Length, by round", "Diversity and repetition, by round"),
    ]
    rates = text.partition("Samples that pass, by round")[2].partition("</figure>")[0]
    assert "verifier:polite: 46% at 0, 80% at 1, 95% at 2; reward:rm, not trained on: 50% at 0, 60% at 1" in rates
    assert len(re.findall(r'<polygon class="band s[01]"', rates)) == 2, "both judges have their intervals"
    gains = text.partition("Gain, by round")[2].partition("</figure>")[0]
    assert "against the start: 34.0 at 1, 49.0 at 2; against the model before: 34.0 at 1, 15.0 at 2" in gains


def test_a_round_is_a_column_of_numbers() -> None:
    text = render_rounds_page(ledger(), {})

    def row(name: str) -> list[str]:
        found = re.search(rf'<tr><th scope="row">{re.escape(name)}</th>(.*?)</tr>', text)
        assert found, name
        return re.findall("<td>(.*?)</td>", found[1])

    assert row("judges agree") == ["83%"] * 3
    assert row("KL from the start (nats)") == ["", "2.00 (1.80 to 2.20)", "4.00 (3.60 to 4.40)"]
    assert row("thumbs up") == ["258"] * 2 and row("share of thumbs up") == ["43% (39–47%)"] * 2
    assert row("of earlier rounds") == ["40"] * 2 and row("class weights") == ["1.30 : 1.00"] * 2
    assert row("z0 before the clamp (nats)") == ["−0.660"] * 2 and row("steps with z0 clamped") == ["30%"] * 2
    assert row("time") == ["1 min 55 s"] * 2
    assert 'scope="row">ties' not in text, "what no round has is left out"


def test_the_same_prompts_are_read_side_by_side() -> None:
    text = text_of(ledger())
    sides = " ".join(
        f"{name} ✓ passes Dear customer, round {i} says so." for i, name in enumerate(("Round 1", "Round 2"), 1)
    )
    assert f"Prompt {PROMPTS[0]} The start ✓ passes Dear customer, round 0 says so. {sides}" in text
    many = {number: one_round(1, round=number) for number in range(1, 12)}
    page = render_rounds_page(ledger(one_round(0), *many.values(), planned=11), {})
    named = re.findall(r'<p class="side">(.*?) <span', page)
    assert named[:6] == ["The start", *(f"Round {i}" for i in range(7, 12))], "the start and the last rounds"
    assert "11 rounds" in page


def test_rounds_are_equally_far_apart() -> None:
    found = ledger(*(one_round(1, round=number) for number in range(1, 13)), planned=12)
    thumbs = render_rounds_page(found, {}).partition("Thumbs up, by round")[2].partition("</figure>")[0]
    _, *places = [float(x) for x in re.findall(r'<circle class="dot s0" cx="([\d.]+)"', thumbs)]
    assert len(places) == 12, "and the one of the legend"
    assert [after - before for before, after in pairwise(places)] == pytest.approx(
        [(places[-1] - places[0]) / 11] * 11, abs=0.2
    )


def test_a_score_is_said_where_there_is_no_thumb() -> None:
    sample = {"prompt": "?", "completion": "!", "score": 0.731, "desirable": None}
    text = text_of(ledger(one_round(0, held_out=held_out(0, samples=[sample]))))
    assert "The start, score 0.731 !" in text


@pytest.mark.parametrize("kind", get_args(StopKind))
def test_why_the_rounds_ended_is_said_in_their_words(kind: str) -> None:
    text = text_of(ledger(stopped={"kind": kind, "text": f"It ended with {kind}."}))
    assert f"Why it stopped It ended with {kind}." in text and f"stopped: {kind.replace('_', ' ')}" in text


# -- what is not done yet ---------------------------------------------------------------------------------

STAGES = ("drawn", "judged", "rows", "trained", "held_out")


@pytest.mark.parametrize("done", range(len(STAGES) + 1))
def test_a_round_under_way_has_a_page(done: int) -> None:
    begun = one_round(2) | dict.fromkeys(STAGES[done:])
    text = text_of(ledger(one_round(0), one_round(1), begun, stopped=None))
    assert "in progress" in text and "Where it stands" in text
    if done < len(STAGES):
        names = ("sampled", "labelled", "its rows made", "trained")[:done]
        assert f"Round 2 of 2 is under way: {', '.join(names) or 'nothing'} so far." in text
        assert "After 1 round of online_kto, 80% of held-out samples pass, up from 46%" in text
    else:
        assert "Where it stands Round 2 of 2 rounds is done." in text


def test_the_start_alone_has_a_page() -> None:
    text = text_of(ledger(one_round(0), stopped=None))
    assert "online_kto: the start passes 46%, and no round is evaluated yet" in text
    assert "0 of 2 rounds of online_kto were made from base" in text and "Round by round" not in text


@pytest.mark.parametrize("rounds", [[], [one_round(0, held_out=None)]])
def test_a_ledger_that_has_hardly_begun_has_a_page(rounds: list[Any]) -> None:
    text = text_of(ledger(stopped=None, rounds=rounds))
    assert "online_kto: no round is evaluated yet" in text and "so nothing here carries an interval" in text


def test_a_round_that_is_worse_is_not_the_outcome() -> None:
    worse = held_out(2, rate=proportion(0.6 * N, N)._asdict(), against_last=change(-0.2), words=90.0)
    found = ledger(one_round(0), one_round(1), one_round(2, held_out=worse))
    text = text_of(found)
    assert "After 2 rounds of online_kto, 80% of held-out samples pass with the model of round 1, up from 46%" in text
    assert "Round 2 is worse than the model before it and is not kept: 60% (53–67%)." in text
    assert warned(found) == ["Round 2 is worse than the model it came from"], "its samples are not those of the outcome"
    alone = ledger(one_round(0), one_round(1, held_out=held_out(1, against_last=change(-0.2))))
    assert "After 1 round of online_kto, no model is better than the start" in text_of(alone)
    assert "No model beats the start" in warned(alone)


def test_the_start_may_imitate_a_teacher_and_a_protocol_need_no_judge() -> None:
    rounds = [one_round(0), one_round(1, judged=None)]
    text = text_of(ledger(*rounds, start="runs/spin/start/run", protocol="spin", loss="dpo"))
    assert "of spin was made from a model that imitates the teacher: in each, the model answers prompts and DPO" in text
    assert "600 samples were drawn, and 580 rows trained on" in text


@pytest.mark.parametrize(("kind", "reference"), [("demonstration", ""), ("paired", "the start as its reference and ")])
def test_a_reference_is_named_where_the_rows_need_one(kind: str, reference: str) -> None:
    found = ledger(one_round(0), one_round(1, rows=one_round(1)["rows"] | {"kind": kind}))
    assert f"trains on them, with {reference}a fresh optimizer." in text_of(found)


def test_another_judge_may_look_at_held_out_samples() -> None:
    text = text_of(ledger(held_out_judge="reward:/models/other"))
    assert "verifier:polite judges the answers" in text and "in every round, judged by reward:other." in text
    assert "reward:other: 46% at 0" in render_rounds_page(ledger(held_out_judge="reward:/models/other"), {})
    one = [finding.title for finding in findings(ledger(second_judge=None))]
    other = [finding.title for finding in findings(ledger(second_judge=None, held_out_judge="human:votes.json"))]
    assert one == ["One judge both teaches and measures"] and other == []


@pytest.mark.parametrize(
    ("judge", "shown"),
    [
        ("verifier:python:/home/ann/rules.py:polite", "verifier:python:rules.py:polite"),
        ("/home/ann/looks.py:clean", "looks.py:clean"),
        ("reward:../models/rm", "reward:rm"),
        ("lm:~/models/judge", "lm:judge"),
        ("reward:org/model", "reward:org/model"),
        ("endpoint:http://localhost:8000/v1#judge", "endpoint:http://localhost:8000/v1#judge"),
        ("human:votes.json", "human:votes.json"),
    ],
)
def test_a_judge_is_named_without_the_folders_of_this_machine(judge: str, shown: str) -> None:
    assert shown_judge(judge) == shown


def test_a_protocol_that_compares_has_pairs_and_no_thumbs() -> None:
    judged = one_round(1)["judged"] | {"rate": None, "desirable": 90, "undesirable": 90, "all_up": 0}
    rows = one_round(1)["rows"] | {"kind": "paired", "ties": 12}
    text = render_rounds_page(ledger(one_round(0), one_round(1, judged=judged, rows=rows)), {})
    assert '<th scope="row">pairs with a winner</th><td>90</td>' in text and "thumbs up</th>" not in text
    assert '<th scope="row">ties, left out</th><td>12</td>' in text


def test_a_judge_that_compares_gives_win_rates() -> None:
    found = [one_round(i, held_out=held_out(i, rate=proportion(rate * N, N)._asdict(), against_start=None))
             for i, rate in enumerate((0.5, 0.52, 0.71))]  # fmt: skip
    text = text_of(ledger(*found, compares=True))
    assert "After 2 rounds of online_kto, it wins 71% against the start" in text and "up from" not in text
    assert "Win rate against the start, by round" in text and "At the dashed 50% there is no difference." in text
    assert not warned(ledger(*found, compares=True))
    assert "it wins 52% against the start: no gain shown" in text_of(ledger(*found[:2], compares=True))


# -- what to worry about ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"against_start": change(0.02)}, "No gain is shown for the model of round 2"),
        ({"against_start": change(-0.2)}, "The model of round 2 is worse than the start"),
        ({"against_last": change(-0.2)}, "Round 2 is worse than the model it came from"),
        ({"against_last": change(0.0)}, "Round 2 went further from the start without a gain"),
        ({"tokens": 8.0}, "The model of round 2 writes what the start hardly would"),
        ({"words": 31.0}, "Samples became much longer"),
        ({"words": 12.0}, "Samples became much shorter"),
        ({"repetition": 0.12}, "Samples repeat themselves more"),
        ({"distinct_2": 0.39}, "Samples are less diverse"),
        ({"agreement": 0.7}, "The two judges agree on 70% of the samples"),
        (
            {"second_against_start": change(-0.2)},
            "The second judge finds the samples worse than those of the start while the judge of the rounds finds them"
            " better",
        ),
        (
            {"second_against_last": change(-0.2)},
            "The second judge finds the samples worse than those of the model before while the judge of the rounds"
            " finds them better",
        ),
    ],
)
def test_what_the_last_round_warns_of(changes: dict[str, Any], title: str) -> None:
    assert title in warned(last(**changes)) and title in text_of(last(**changes))


@pytest.mark.parametrize(
    "changes", [{"words": 29.0}, {"repetition": 0.1}, {"distinct_2": 0.41}, {"agreement": 0.76}, {"tokens": 8.1}]
)
def test_what_is_just_within_bounds_is_no_worry(changes: dict[str, Any]) -> None:
    assert warned(last(**changes)) == []


@pytest.mark.parametrize(
    ("up", "down", "title"),
    [(581, 19, "Only 19 of 600 thumbs of round 2 are down"), (3, 597, "Only 3 of 600 thumbs of round 2 are up")],
)
def test_a_round_of_nearly_one_class_is_a_worry(up: int, down: int, title: str) -> None:
    bare = one_round(2)
    judged, rows = bare["judged"] | {"desirable": up, "undesirable": down}, bare["rows"] | {"capped": True}
    found = ledger(one_round(0), one_round(1), one_round(2, judged=judged, rows=rows))
    assert title in warned(found) and "Its class weights were capped." in text_of(found)
    assert "1.30 : 1.00, capped" in text_of(found)
    least = bare["judged"] | {"desirable": 570, "undesirable": 30}
    assert not warned(ledger(one_round(0), one_round(1), one_round(2, judged=least)))


def test_alarms_unread_verdicts_and_notes_are_told() -> None:
    bare = one_round(1)
    found = ledger(
        one_round(0),
        one_round(1, trained=bare["trained"] | {"alarms": ["samples loop", "samples loop"], "clamped": 0.91},
                  judged=bare["judged"] | {"unread": 30}, notes=["it was topped up."]),
        one_round(2),
        second_judge=None,
    )  # fmt: skip
    told = findings(found)
    assert PageFinding(True, "Training raised an alarm in round 1", "samples loop") in told
    assert [finding.title for finding in told].count("Training raised an alarm in round 1") == 1
    assert "30 verdicts of round 1 could not be read" in warned(found)
    assert PageFinding(False, "Round 1", "It was topped up.") in told
    assert "91% in round 1" in text_of(found)
    assert "One judge both teaches and measures" in [finding.title for finding in told if not finding.worry]
    assert all(before.worry >= after.worry for before, after in pairwise(told)), "worries come first"


def test_few_prompts_are_a_worry() -> None:
    assert "Only 40 prompts are held out" in warned(ledger(held_out_prompts=40))
    assert not warned(ledger(held_out_prompts=checks.FEW))


def test_the_best_round_is_named_where_it_is_not_the_last() -> None:
    lower = held_out(2, rate=proportion(0.78 * N, N)._asdict(), against_last=change(-0.02))
    text = text_of(ledger(one_round(0), one_round(1), one_round(2, held_out=lower)))
    assert "The highest rate is that of round 1." in text
    assert "The highest rate" not in text_of(ledger())


# -- safety, size, files ----------------------------------------------------------------------------------

FIXED = {"prospect.rounds/1.1", "start", "fresh", "done", "better", "no difference shown"}


def hostile(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: hostile(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [hostile(value) for value in tree]
    return f"{tree}{HOSTILE}" if isinstance(tree, str) and tree not in FIXED else tree


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    noted = one_round(1, notes=["Look."])
    noted["trained"] |= {"alarms": ["Alarm."]}
    found = Ledger.parse(hostile(rounds_as_json(one_round(0), noted)), LEDGER)
    page = read(found, {1: f'javascript:alert("x"){HOSTILE}'})
    assert not {"script", "img", "b>"} & set(page.tags)
    assert page.text.count('alert("x")') > 12
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert len(links) == 1 and not re.match(r"\w+:", links[0])


def test_the_page_loads_nothing() -> None:
    page = read(ledger())
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert [value for _, name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    assert all(re.search(r"\d", label) for label in page.labels()) and len(page.labels()) == 6


def test_many_rounds_and_long_samples_stay_below_two_megabytes() -> None:
    samples = [
        {"prompt": f"p{i} " * 5000, "completion": f"w{i} " * 5000, "score": 0.5, "desirable": None} for i in range(50)
    ]
    rounds = [one_round(1, round=i, held_out=held_out(1, samples=samples)) for i in range(1, 40)]
    text = render_rounds_page(ledger(one_round(0), *rounds), {})
    assert len(text) < 2_000_000 and "more characters)" in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of rounds with their training runs, the last of which has a model."""
    found = tmp_path / "rounds"
    ledger().write(found / LEDGER)
    for number in (1, 2):
        write_run(found / f"round-{number}" / "run")
    (found / "round-2" / "run" / "model").mkdir()
    return found


def test_the_run_that_imitates_a_teacher_is_linked(folder: Path) -> None:
    write_run(folder / "start" / "run")
    ledger(start=str(folder / "start" / "run")).write(folder / LEDGER)
    assert '<a href="start/run/report.html">' in build_rounds_report(folder).read_text(encoding="utf-8")
    assert (folder / "start" / "run" / "report.html").is_file()


def test_report_writes_the_page_of_rounds_and_of_each_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert links == ["round-1/run/report.html", "round-2/run/report.html"]
    assert all((folder / link).is_file() for link in links)
    run = Page((folder / links[0]).read_text(encoding="utf-8")).text
    assert (
        "round 1 of online_kto" in run and "After round 1, 80% (74–85%) of its samples on held-out prompts pass" in run
    )


def test_writing_again_changes_nothing(folder: Path) -> None:
    first = build_rounds_report(folder).read_text(encoding="utf-8")
    assert build_rounds_report(str(folder)).read_text(encoding="utf-8") == first


def test_a_run_outside_the_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "other")
    one = one_round(1)
    ledger(one_round(0), one_round(1, trained=one["trained"] | {"run": "../other"})).write(folder / LEDGER)
    assert "../other" not in build_rounds_report(folder).read_text(encoding="utf-8")
    assert not (tmp_path / "other" / "report.html").exists()


def test_a_round_whose_run_is_gone_is_not_linked(folder: Path) -> None:
    (folder / "round-1").rename(folder / "away")
    assert "round-1/run/report.html" not in build_rounds_report(folder).read_text(encoding="utf-8")


def test_a_ledger_that_is_none_is_refused(folder: Path) -> None:
    (folder / LEDGER).write_text("{")
    with pytest.raises(CheckpointError, match=r"rounds\.json: not valid JSON"):
        build_rounds_report(folder)
    with pytest.raises(CheckpointError, match=r"format is prospect\.rounds/2"):
        ledger(format="prospect.rounds/2")


# -- the run's page and card ------------------------------------------------------------------------------


def test_the_card_tells_of_the_rounds(folder: Path) -> None:
    build_rounds_report(folder)
    card = (folder / "round-2" / "run" / "model" / "README.md").read_text(encoding="utf-8")
    section = card.partition("## Rounds")[2].partition("\n## ")[0]
    assert "This is the model of round 2." in section and "All rounds that were asked for are made." in section
    assert "| the start | 46% | 39–53% | 200 |  |  |" in section
    assert "| round 2 (this model) | 95% | 91–98% | 200 | +49.0 (+42.0 to +56.0) | 4.00 (3.60 to 4.40) |" in section
    assert "# base, aligned with KTO" in card and "the limits of its base, base" in card
    assert "/models/" not in card, "names of folders stay here"
    assert write_model_card(folder / "round-2" / "run") and "## Rounds" in card


def test_warnings_about_the_last_model_stand_on_its_card_alone(folder: Path) -> None:
    last(words=40.0).write(folder / LEDGER)
    (folder / "round-1" / "run" / "model").mkdir()
    build_rounds_report(folder)
    cards = [(folder / f"round-{i}" / "run" / "model" / "README.md").read_text(encoding="utf-8") for i in (1, 2)]
    assert ["- Samples became much longer." in card for card in cards] == [False, True]


def test_what_the_rounds_held_out_counts_for_their_runs(folder: Path) -> None:
    for number in (1, 2):
        path = folder / f"round-{number}" / "run" / "metrics.jsonl"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "eval_loss" not in line))
    page = build_report(folder / "round-1" / "run").read_text(encoding="utf-8")
    assert "Nothing was held out" not in page and "over 200 held-out prompts" in page
    (folder / LEDGER).unlink()
    assert "Nothing was held out" in build_report(folder / "round-1" / "run").read_text(encoding="utf-8")


def test_a_run_finds_its_round(folder: Path, tmp_path: Path) -> None:
    found = round_of(folder / "round-2" / "run")
    assert found and found.round.round == 2
    assert round_of(folder / "round-3" / "run") is None and round_of(tmp_path) is None
