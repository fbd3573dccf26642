"""A share of a class, one row per prompt, and the ways to make pairs."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from prospect.errors import ConfigError, DataError
from prospect.feedback import Demonstration, Paired, Scored, Unpaired, to_demonstrations, to_scored, to_unpaired
from prospect.feedback.convert.pairing import to_paired
from prospect.feedback.convert.subsample import ClassShares, keep_shares, one_per_prompt, uniform
from prospect.feedback.records import record


def thumb(prompt, completion, desirable, **more):
    more = {"id": completion, "where": f"f:{completion}", **more}
    return Unpaired(prompt=prompt, completion=completion, desirable=desirable, **more)


ROWS = [thumb(f"p{i % 300}", f"c{i}", i % 2 == 0) for i in range(2000)]


def counts(rows):
    return sum(row.desirable for row in rows), sum(not row.desirable for row in rows)


def test_a_smaller_share_is_a_part_of_a_larger_one():
    kept = [keep_shares(ROWS, ClassShares(desirable=share), seed=3) for share in (0.0, 0.05, 0.1, 0.5, 1.0)]
    for smaller, larger in pairwise(kept):
        assert {row.id for row in smaller} < {row.id for row in larger}
    assert kept[-1] == ROWS


def test_a_share_of_one_class_leaves_the_other_alone():
    desirable, undesirable = counts(keep_shares(ROWS, ClassShares(undesirable=0.25)))
    assert desirable == 1000
    assert abs(undesirable - 250) < 4 * (1000 * 0.25 * 0.75) ** 0.5


def test_what_is_kept_does_not_depend_on_the_order_or_number_of_rows():
    shares = ClassShares(0.3, 0.3)
    some = keep_shares(ROWS[::-2], shares)
    assert {row.id for row in some} == {row.id for row in keep_shares(ROWS, shares)} & {row.id for row in ROWS[::-2]}


def test_another_seed_keeps_other_rows():
    kept = {tuple(row.id for row in keep_shares(ROWS, ClassShares(0.1, 0.1), seed=seed)) for seed in range(3)}
    assert len(kept) == 3


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_1_is_refused(share):
    with pytest.raises(DataError, match=r"the share of undesirable rows to keep is .*; expected a number in \[0, 1\]"):
        keep_shares(ROWS, ClassShares(undesirable=share))


def test_draws_are_the_same_on_every_machine():
    assert uniform(b"content", 0) == pytest.approx(0.30558144498392886, abs=1e-15)


def test_one_row_of_each_prompt_is_kept_in_their_order():
    kept = one_per_prompt(ROWS, seed=1)
    assert len(kept) == len({row.prompt for row in kept}) == 300
    assert [int(row.id[1:]) for row in kept] == sorted(int(row.id[1:]) for row in kept)
    assert {row.id for row in one_per_prompt(ROWS[::-1], seed=1)} == {row.id for row in kept}
    assert {row.id for row in one_per_prompt(ROWS, seed=2)} != {row.id for row in kept}


def test_of_rows_that_say_the_same_the_first_is_kept_and_other_tools_are_another_prompt():
    rows = [thumb("p", "a", True, id="1"), thumb("p", "a", True, id="2"), thumb("p", "a", True, id="3", tools=({},))]
    assert [row.id for row in one_per_prompt(rows)] == ["1", "3"]


def test_one_side_of_each_pair_is_kept_about_as_often_as_the_other():
    pairs = [Paired(prompt=str(i), chosen=f"c{i}", rejected=f"r{i}", id=str(i), where="f") for i in range(1000)]
    desirable, undesirable = counts(one_per_prompt(to_unpaired(pairs)))
    assert desirable + undesirable == 1000
    assert abs(desirable - 500) < 4 * 250**0.5


# Ways to make pairs

GROUP = [
    thumb("p", "a", True, score=1.0),
    thumb("p", "x", False, score=0.5),
    thumb("p", "b", True, score=3.0),
    thumb("p", "y", False, score=-1.0),
    thumb("p", "c", True, score=3.0),
    thumb("q", "only", True),
]
SCORED = Scored(prompt="s", completions=("a", "b", "c"), scores=(1.0, 2.0, 1.0), id="7", where="f:7")


def made(rows, pairing, seed=0):
    return [pair.chosen + pair.rejected for pair in to_paired(rows, pairing=pairing, seed=seed)]


def test_all_pairs_are_every_desirable_row_beside_every_undesirable_one():
    assert made(GROUP, "all") == ["ax", "ay", "bx", "by", "cx", "cy"]


def test_the_best_desirable_row_stands_beside_the_worst_undesirable_one():
    assert made(GROUP, "best-worst") == ["by"]
    assert made([replace(GROUP[0], score=None), *GROUP[1:]], "best-worst") == ["ay"]


def test_one_pair_of_a_prompt_is_drawn_by_its_texts():
    drawn = {made(GROUP, "one-per-prompt", seed)[0] for seed in range(40)}
    assert drawn == set(made(GROUP, "all"))
    assert made(GROUP, "one-per-prompt", 5) == made(GROUP[::-1], "one-per-prompt", 5)


def test_scored_completions_are_paired_in_every_way():
    assert made([SCORED], "all") == ["ba", "bc"]
    assert [pair.id for pair in to_paired([SCORED], pairing="all")] == ["7/1+0", "7/1+2"]
    assert made([SCORED], "best-worst") == made([SCORED], "cycle") == ["ba"]
    assert {made([SCORED], "one-per-prompt", seed)[0] for seed in range(20)} == {"ba", "bc"}


def test_a_way_to_pair_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="expected one of cycle, all, best-worst, one-per-prompt"):
        to_paired(GROUP, pairing="every")


# What is kept of where feedback came from

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ORIGIN = {"source": "webui", "source_id": "7", "time": NOON, "model": "m", "reason": "too long", "rater": "ann"}


def origin(row):
    return {name: getattr(row, name) for name in ORIGIN}


def test_a_row_made_of_one_row_keeps_where_it_came_from():
    pair = Paired(prompt="p", chosen="c", rejected="r", id="1", where="f:1", relative=True, **ORIGIN)
    for row in (*to_unpaired([pair]), *to_demonstrations([pair]), *to_scored([pair]), *to_paired(to_scored([pair]))):
        assert origin(row) == ORIGIN
        assert row.relative


def test_a_row_made_of_several_keeps_what_they_agree_on():
    later = NOON.replace(hour=13)
    good = thumb("p", "a", True, **ORIGIN)
    bad = thumb("p", "b", False, **{**ORIGIN, "source_id": "8", "time": later, "model": "n", "reason": "wrong"})
    expected = {**ORIGIN, "source_id": "7+8", "time": later, "model": None, "reason": "too long; wrong"}
    for row in (*to_paired([good, bad]), *to_scored([bad, good][::-1])):
        assert origin(row) == expected
        assert not row.relative
    (pair,) = to_paired([good, thumb("p", "b", False, relative=True)])
    assert origin(pair) == {**dict.fromkeys(ORIGIN), "time": NOON, "reason": "too long"}
    assert pair.relative


@pytest.mark.parametrize("kind", [Unpaired, Paired, Demonstration, Scored])
def test_a_record_made_the_short_way_is_the_constructors(kind):
    """`record` sets what the constructor sets, so the records must have no more to them than fields and defaults."""
    required = {"prompt", "id", "where", "completion", "desirable", "chosen", "rejected", "completions", "scores"}
    values = {field.name: "x" for field in fields(kind) if field.name in required}
    made = record(kind, values)
    assert made == kind(**values)
    assert not hasattr(made, "__post_init__")
    assert replace(made, weight=2.0) == kind(**values, weight=2.0)
    assert made.weight == 1.0
