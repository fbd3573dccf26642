"""A contest: counts, intervals, words and everything that stands beside a win rate."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from prospect.errors import DataError
from prospect.evaluation.contest.contest import hold_contest
from prospect.evaluation.contest.judges import FunctionJudge, HumanJudge, Item, Price, Verifier, write_page
from prospect.evaluation.contest.judges.base import Judge, Verdict
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.feedback.records import Message
from prospect.statistics.comparisons import compare_outcomes
from prospect.statistics.rates import win_rate


def by_marks(prompt, first, second):
    """The completion with more exclamation marks is better; unreadable where one holds a question mark."""
    return None if "?" in first + second else first.count("!") - second.count("!")


JUDGE = FunctionJudge(by_marks)
ALWAYS_A = FunctionJudge(lambda *_: "first", "always A")


def prompts(count):
    return [f"prompt number {i} of several" for i in range(count)]


def texts(count, mark, every=1):
    return [
        f"an answer to question {i} " + "of some length " * (i % 4) + (mark if i % every == 0 else "")
        for i in range(count)
    ]


def test_counts_add_up_and_the_rate_is_the_exact_one():
    asked = prompts(20)
    ours = ["a!"] * 9 + ["a"] * 4 + ["a"] * 5 + ["a?"] * 2
    theirs = ["b"] * 9 + ["b!"] * 4 + ["b"] * 5 + ["b"] * 2
    found = hold_contest(asked, ours, theirs, JUDGE)
    assert (found.wins, found.losses, found.ties, found.unparsed, found.n) == (9, 4, 5, 2, 20)
    assert found.win_rate == pytest.approx(win_rate(9, 4, 5, 2))
    assert found.win_rate_90 == pytest.approx(win_rate(9, 4, 5, 2, level=0.9))
    assert found.win_rate_by_rows is None
    assert [entry.verdict for entry in found.entries[8:10]] == ["win", "loss"]
    assert found.position_flips == found.identical == found.not_judged == 0


def test_better_is_said_only_where_the_interval_allows_it():
    asked = prompts(60)
    clear = hold_contest(asked, texts(60, "!"), texts(60, ""), JUDGE, names=("kto", "sft"))
    assert clear.sentence.startswith(
        "kto wins 60, loses 0 and ties 0 of 60 comparisons with sft, judged by python:by_marks"
    )
    assert "kto is better." in clear.sentence
    assert "kto is worse." in hold_contest(asked, texts(60, ""), texts(60, "!"), JUDGE, names=("kto", "sft")).sentence
    few = hold_contest(asked[:4], texts(4, "!"), texts(4, ""), JUDGE)
    assert few.win_rate.rate == 1.0
    assert "No difference is shown." in few.sentence and "better" not in few.sentence


def test_unparsed_verdicts_are_no_sign_that_the_other_side_won():
    found = hold_contest(prompts(40), texts(40, "?"), texts(40, ""), JUDGE)
    assert (found.unparsed, found.win_rate.rate, found.length_controlled) == (40, 0.0, None)
    assert "No difference is shown." in found.sentence and "worse" not in found.sentence
    assert "40 verdicts could not be read" in found.sentence


def test_a_judge_that_always_says_a_gives_one_half_and_only_flips():
    found = hold_contest(prompts(50), texts(50, "!"), texts(50, ""), ALWAYS_A)
    assert found.win_rate.rate == 0.5
    assert (found.position_flips, found.ties, found.orders) == (50, 50, 2)
    assert found.shown_first is not None and found.shown_first.rate == 1.0 and found.shown_first.n == 100
    assert "contradicted itself" in found.sentence and "No difference" in found.sentence


def test_what_cannot_be_read_says_nothing_about_the_place():
    """Half of the verdicts are unreadable, the others always name the first: 100 % of those, not 50 % of all."""
    half = FunctionJudge(lambda p, *_: "first" if int(p.split()[2]) % 2 else None, "A or nothing")
    found = hold_contest(prompts(40), texts(40, "!"), texts(40, ""), half)
    assert found.unparsed == 20 and found.shown_first is not None
    assert (found.shown_first.rate, found.shown_first.n) == (1.0, 40)
    never = hold_contest(prompts(4), texts(4, "?"), texts(4, ""), JUDGE)
    assert never.unparsed == 4 and never.shown_first is None


def test_in_one_order_such_a_judge_gives_about_one_half_for_sides_are_random():
    found = hold_contest(prompts(300), texts(300, "!"), texts(300, ""), ALWAYS_A, both_orders=False, seed=3)
    assert found.win_rate.low < 0.5 < found.win_rate.high
    assert (found.orders, found.calls.calls, found.position_flips) == (1, 300, 0)
    again = hold_contest(prompts(300), texts(300, "!"), texts(300, ""), ALWAYS_A, both_orders=False, seed=3)
    assert again == found


def test_identical_policies_get_one_half_with_an_interval_around_it():
    found = hold_contest(prompts(30), texts(30, "!"), texts(30, "!"), ALWAYS_A)
    assert found.win_rate.rate == 0.5 and found.win_rate.low < 0.5 < found.win_rate.high
    assert (found.identical, found.ties, found.calls.calls) == (30, 30, 0)
    assert found.comparison.verdict == "no difference shown"


def test_swapping_the_sides_mirrors_the_result():
    asked, ours, theirs = prompts(40), texts(40, "!", every=3), texts(40, "!", every=2)
    one, other = hold_contest(asked, ours, theirs, JUDGE), hold_contest(asked, theirs, ours, JUDGE)
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.win_rate.rate == pytest.approx(1 - other.win_rate.rate)
    assert one.win_rate.low == pytest.approx(1 - other.win_rate.high)


def test_prompts_that_repeat_are_drawn_together():
    asked = [f"p{i // 4}" for i in range(80)]
    ours = [f"{i}" + "!" * (i // 4 % 3 > 0) for i in range(80)]
    found = hold_contest(asked, ours, ["b"] * 80, JUDGE)
    outcomes = [1.0 if "!" in text else 0.5 for text in ours]
    assert found.prompts == 20
    assert found.win_rate == compare_outcomes(outcomes, asked)[:4]
    by_rows = found.win_rate_by_rows
    assert by_rows is not None and by_rows == win_rate(found.wins, 0, found.ties)
    assert found.plan.half_width == pytest.approx(
        2 * hold_contest(prompts(80), ours, ["b"] * 80, JUDGE).plan.half_width
    )
    assert "The comparisons are of 20 prompts" in found.sentence


def test_ids_that_are_given_say_which_prompts_are_the_same():
    found = hold_contest(prompts(12), texts(12, "!"), texts(12, ""), JUDGE, prompt_ids=[i // 2 for i in range(12)])
    assert found.prompts == 6
    assert [entry.prompt_id for entry in found.entries[:3]] == ["0", "0", "1"]


def test_length_that_explains_the_verdicts_is_said():
    long = FunctionJudge(lambda p, a, b: len(a) - len(b), "likes length")
    asked = prompts(200)
    ours = ["x" * (20 + (7 * i) % 30) for i in range(200)]
    theirs = ["y" * (20 + (11 * i) % 22) for i in range(200)]
    noisy = FunctionJudge(
        lambda p, a, b: (len(a) - len(b)) * (1 if int(p.split()[2]) % 7 else -1), "mostly likes length"
    )
    found = hold_contest(asked, ours, theirs, noisy)
    assert found.comparison.verdict == "better"
    assert found.length_controlled is not None and found.length_controlled.rate < found.win_rate.rate
    assert found.length_controlled.length_effect > 0
    assert "may be a matter of length" in found.sentence
    assert hold_contest(asked, ours, theirs, long).length_controlled.note  # length tells every verdict


def test_lengths_and_repetition_of_both_sides_are_measured():
    found = hold_contest(prompts(12), ["one two three"] * 12, ["thank you " * 20] * 12, FunctionJudge(lambda *_: 0))
    assert found.our_texts is not None and found.their_texts is not None
    assert (found.our_texts.words.value, found.their_texts.words.value) == (3, 40)
    assert found.their_texts.looping is not None and found.their_texts.looping.rate == 1.0


def test_everything_goes_into_json_and_shares_have_their_fields():
    found = hold_contest(
        [f"p{i // 2}" for i in range(40)], texts(40, "!", every=3), texts(40, "?", every=9), JUDGE
    ).as_dict()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    for name in ("win_rate", "win_rate_90", "win_rate_by_rows", "comparison", "length_controlled", "shown_first"):
        assert {"rate", "low", "high", "n"} <= found[name].keys(), name
    assert {"rate", "low", "high", "n"} == found["our_texts"]["looping"].keys()
    assert found["entries"][0]["said"][1] == {
        "verdict": found["entries"][0]["said"][1]["verdict"],
        "ours_first": False,
        "note": found["entries"][0]["said"][1]["note"],
    }
    assert found["n"] == 40 and found["sentence"]


def test_what_it_can_show_and_costs_is_said_before_and_what_it_cost_after():
    class Paid(Judge):
        name = identity = "paid"

        def estimate_tokens(self, item):
            return 1000, 10

        def stream(self, items):
            said.append("asked")
            for i, _ in enumerate(items):
                yield i, Verdict("tie", prompt_tokens=900, completion_tokens=4)

    said: list[str] = []
    found = hold_contest(prompts(10), texts(10, "!"), texts(10, ""), Paid(), price=Price(2, 8), announce=said.append)
    assert said[0].startswith("10 comparisons: the 95% interval will be about ±31.0 points")
    assert said[1] == "planned: 20 calls of the judge, about 20,000 tokens read and 200 written, cost about 0.042"
    assert said[2] == "asked"
    assert said[3] == "done: 20 calls of the judge, 18,000 tokens read and 80 written, cost 0.037"
    assert (found.planned_calls.calls, found.calls.cost) == (20, pytest.approx(0.03664))


def test_a_second_contest_with_the_same_file_asks_nothing(tmp_path):
    asked = prompts(6), texts(6, "!"), texts(6, "")
    with VerdictCache(tmp_path / "v.jsonl") as cache:
        first = hold_contest(*asked, JUDGE, cache=cache)
    said: list[str] = []
    with VerdictCache(tmp_path / "v.jsonl") as cache:
        second = hold_contest(*asked, JUDGE, cache=cache, announce=said.append)
    assert (first.calls.calls, second.calls.calls) == (12, 0)
    assert "12 of 12 verdicts were kept" in said[1]
    assert (second.entries, second.win_rate) == (first.entries, first.win_rate)


def test_progress_is_told_verdict_by_verdict():
    told = []
    hold_contest(prompts(3), texts(3, "!"), texts(3, ""), JUDGE, progress=lambda done, of: told.append((done, of)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_verifiers_get_the_targets_and_no_position():
    found = hold_contest(prompts(12), ["is 4"] * 12, ["is 5"] * 12, Verifier("numeric"), targets=[4] * 12)
    assert (found.wins, found.orders, found.shown_first, found.calls.calls) == (12, 1, None, 12)


def test_people_are_counted_for_what_they_voted_on(tmp_path):
    asked, ours, theirs = prompts(15), texts(15, "!"), texts(15, "")
    items = [Item(*row) for row in zip(asked, ours, theirs, strict=True)]
    write_page(items, tmp_path / "page.html")
    data = json.loads((tmp_path / "page.html").read_text().split('id="data">')[1].split("</script>")[0])
    votes = {row["key"]: row["a_key"] if "!" in row["a"] else row["b_key"] for row in data["items"][:11]}
    votes[data["items"][11]["key"]] = "skip"
    about = {"format": "prospect-votes", "version": 1, "voter": "a", "saved": 1}
    (tmp_path / "votes.json").write_text(json.dumps({**about, "votes": votes}))
    found = hold_contest(asked, ours, theirs, HumanJudge(tmp_path / "votes.json"))
    assert (found.wins, found.losses, found.unparsed, found.not_judged, found.n) == (11, 0, 1, 3, 12)
    assert "3 more comparisons have not been judged" in found.sentence
    with pytest.raises(DataError, match="judged none of the 2"):
        hold_contest(["other"] * 2, ["a"] * 2, ["b"] * 2, HumanJudge(tmp_path / "votes.json"))


def test_one_prompt_gives_a_wide_interval_and_no_text_measures():
    found = hold_contest(["p"] * 5, [f"{i}!" for i in range(5)], ["b"] * 5, JUDGE)
    assert found.prompts == 1 and found.win_rate.low < 0.05
    assert found.our_texts is None
    assert found.comparison.verdict == "no difference shown"


def test_conversations_are_judged_by_their_content():
    said = hold_contest(
        [(Message("user", f"q{i}"),) for i in range(3)],
        [(Message("assistant", "yes!"),)] * 3,
        [(Message("assistant", "yes"),)] * 3,
        JUDGE,
    )
    assert said.wins == 3
    assert said.our_texts is not None and said.our_texts.characters.value == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["p"], ["a", "b"], ["c"]), "ours has 2 entries and there are 1 prompts"),
        ((["p"], ["a"], []), "theirs has 0 entries"),
        (([], [], []), "nothing to compare"),
    ],
)
def test_sides_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        hold_contest(*arguments, JUDGE)
    with pytest.raises(DataError, match="prompt_ids has 1 entries"):
        hold_contest(["p", "q"], ["a", "b"], ["c", "d"], JUDGE, prompt_ids=[1])


def test_a_contest_imports_no_torch():
    code = "import sys, prospect.evaluation.contest.contest, prospect.evaluation.contest.judges as j\n"
    code += "[getattr(j, n) for n in j.__all__]"
    subprocess.run([sys.executable, "-c", f"{code}\nassert 'torch' not in sys.modules"], check=True)
