from __future__ import annotations

import pytest

from prospect.collect.canary import Canary
from prospect.collect.limits import Gate, Limits, Rates
from prospect.collect.metrics import MOST_MODELS, Metrics
from prospect.collect.refusals import Refusal
from prospect.collect.request import read_request
from prospect.errors import UsageError


def test_a_bucket_gives_its_burst_at_once_and_its_rate_in_time() -> None:
    now = 0.0
    rates = Rates(2, 3, lambda: now)
    for _ in range(3):
        rates.take("a", "requests")
    with pytest.raises(Refusal) as refused:
        rates.take("a", "requests")
    assert refused.value.headers == {"retry-after": "1"}
    rates.take("b", "requests")  # another's bucket is full
    now = 0.5
    rates.take("a", "requests")
    with pytest.raises(Refusal):
        rates.take("a", "requests")
    now = 1000.0
    for _ in range(3):
        rates.take("a", "requests")
    with pytest.raises(Refusal):
        rates.take("a", "requests")


def test_names_that_are_made_up_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prospect.collect.limits._MOST_BUCKETS", 10)
    rates = Rates(1, 1, lambda: 0.0)
    for number in range(100):
        rates.take(str(number), "votes")
    assert len(rates._buckets) == 10


def test_the_gate_counts_each_key_and_all_together() -> None:
    gate = Gate(Limits(streams=1, at_once=2))
    with gate.enter("a"):
        with pytest.raises(Refusal) as own, gate.enter("a"):
            pass
        with gate.enter("b"), pytest.raises(Refusal) as all_together, gate.enter("c"):
            pass
    assert (own.value.status_code, all_together.value.status_code, gate.open) == (429, 503, 0)
    with gate.enter("a"):
        pass


def test_names_of_models_do_not_fill_the_metrics() -> None:
    metrics = Metrics(lambda: 0, lambda: 0)
    for number in range(3 * MOST_MODELS):
        metrics.turn(f"m{number}", "current", "stop")
        metrics.vote(1, f"m{number}")
    for counter in (b"turns", b"votes"):
        assert metrics.text().count(b"prospect_%s_total{" % counter) == MOST_MODELS + 1
    assert b'prospect_votes_total{model="other",value="up"} %.1f' % (2 * MOST_MODELS) in metrics.text()


def test_a_canary_takes_its_share_and_the_same_conversations_of_a_larger_one() -> None:
    names = [f"c{number}" for number in range(4000)]
    small, large = ({name for name in names if Canary("new", share).takes(name)} for share in (0.05, 0.2))
    assert small < large
    assert 0.04 < len(small) / 4000 < 0.06
    assert 0.18 < len(large) / 4000 < 0.22
    assert not any(Canary("new", 0.0).takes(name) for name in names)
    assert all(Canary("new", 1.0).takes(name) for name in names)


@pytest.mark.parametrize("text", ["new", "new=5", "=5%", "new=x%", "new=101%", "new=-1%", "new=nan%"])
def test_what_is_no_canary_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as new=5%"):
        Canary.parse(text)


def test_a_name_of_a_canary_may_hold_the_sign() -> None:
    assert Canary.parse("a=b=2.5%") == Canary("a=b", 0.025)


def branch(*contents: str, rater: str | None = None, conversation: str | None = None) -> str:
    roles = ("system", "user", "assistant", "user")
    messages = [f'{{"role": "{role}", "content": "{text}"}}' for role, text in zip(roles, contents, strict=False)]
    headers = {"x-prospect-rater": rater or "", "x-prospect-conversation": conversation or ""}
    body = f'{{"messages": [{", ".join(messages)}]}}'.encode()
    return read_request(body, headers, chat=True).branch("main")


def test_a_conversation_stays_on_its_branch_while_it_goes_on() -> None:
    assert branch("s", "hello") == branch("s", "hello", "hi", "and now?")
    assert branch("s", "hello") != branch("s", "good day")
    assert branch("s", "hello", rater="a") != branch("s", "hello", rater="b")
    assert branch("s", "hello", conversation="c") == branch("t", "other", conversation="c")
