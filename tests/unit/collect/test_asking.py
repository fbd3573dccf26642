from __future__ import annotations

from itertools import pairwise

import pytest

from collecting import a_turn, a_vote, fill, with_store
from prospect.collect.asking import bound, is_asked
from prospect.collect.stats import model_stats
from prospect.collect.store import Store
from prospect.collect.turns import new_id


def test_chance_draws_the_share_and_a_larger_one_keeps_the_turns_of_a_smaller() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert sum(is_asked(one, 0.05) for one in ids) == pytest.approx(1000, abs=6 * 31)  # six standard deviations
    shares = (0.0, 0.05, 0.2, 1.0)
    drawn = [{one for one in ids if is_asked(one, share)} for share in shares]
    assert all(small < large for small, large in pairwise(drawn))
    assert (drawn[0], drawn[-1]) == (set(), set(ids))


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_all_choices_of_a_response_are_drawn_together(share: float) -> None:
    last = f"{int(share * 16**8) - 1:08x}" + "f" * 24
    assert is_asked(last, share) and is_asked(f"{last}-1", share)
    assert not is_asked("0" * 32, 0.0) and not is_asked(bound(0.05) + "0" * 24, 0.05)


def test_votes_on_turns_that_were_asked_about_are_counted_apart(store_address: str) -> None:
    def drawn(digit: str) -> str:
        return digit * 8 + new_id()[8:]

    turns = [a_turn(id=drawn("0" if number < 4 else "f"), rater=f"r{number}") for number in range(10)]
    votes = [a_vote(turns[number], value) for number, value in ((0, -1), (1, 1), (4, 1), (5, 1), (6, 1), (7, -1))]

    async def work(store: Store) -> None:
        await fill(store, *turns, *votes)
        for ask, asked, asked_n, up, others in ((0.05, 4, 2, 0.5, 0.75), (1.0, 10, 6, 4 / 6, None)):
            (one,) = model_stats(store.database, "main", ask=ask)
            assert (one.turns, one.asked, one.asked_up_share.n, one.asked_up_share.rate) == (10, asked, asked_n, up)  # type: ignore[union-attr]
            assert (one.unasked_up_share and one.unasked_up_share.rate) == others
        (one,) = model_stats(store.database, "main", ask=0)
        assert (one.asked, one.asked_coverage, one.asked_up_share) == (0, None, None)
        assert model_stats(store.database, "theirs") == []

    with_store(store_address, work)
