"""What is learnt from scored completions: thumbs, pairs, advantages, and what is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prospect.config import OnlineSettings
from prospect.data.batch import row_from_ids
from prospect.losses import get_loss
from prospect.rounds.measures import measure
from prospect.rounds.rollout import Drawn, learn_from

NAN = float("nan")


def drawn(scores: list[list[float]], lengths: int = 3, cut: tuple[int, ...] = (), values: float | None = None) -> Any:
    """Completions of prompts, prompt by prompt, each of `lengths` tokens and more by its number."""
    found: list[Drawn] = []
    for prompt, row in enumerate(scores):
        for score in row:
            count, number = lengths + len(found), len(found)
            logps = np.full(count, -1.0, dtype=np.float32)
            made = row_from_ids([1], [2] * count, prompt_key=str(prompt), id=str(number), sampled_logps=logps.tolist())
            expected = None if values is None else np.full(count, values, dtype=np.float32)
            found.append(Drawn(prompt, made, number not in cut, score, logps, logps - 0.5, expected))
    return found


def settings(**values: Any) -> OnlineSettings:
    return OnlineSettings(judge="verifier:exact", **values)


def advantages(name: str, scores: list[list[float]], kl: float = 0.0, **values: Any) -> list[float]:
    """The advantage of each completion's first token."""
    more = {"values": 0.5} if name == "ppo" else {}
    found = learn_from(drawn(scores, **more), get_loss(name), settings(**values), kl)
    return [round(float(row.numbers["advantage"][0]), 6) for (row,) in found.examples]


def test_thumbs_are_up_from_the_threshold_on() -> None:
    found = learn_from(drawn([[0.2, 0.5], [0.9, 0.4]]), get_loss("kto"), settings(), 0.0)
    assert [row.desirable for (row,) in found.examples] == [False, True, True, False]


def test_a_median_halves_and_a_prompts_own_leaves_out_what_is_equal() -> None:
    scores = [[1.0, 2.0], [5.0, 5.0]]
    median = learn_from(drawn(scores), get_loss("kto"), settings(threshold="median"), 0.0)
    assert [row.desirable for (row,) in median.examples] == [False, False, True, True]
    own = learn_from(drawn(scores), get_loss("kto"), settings(threshold="prompt_median"), 0.0)
    assert [row.desirable for (row,) in own.examples] == [False, True]
    assert own.undecided == 2


def test_a_tie_is_no_preference_for_the_first_sample() -> None:
    """Equal scores are most of what a verifier of right and wrong gives; they are counted."""
    found = learn_from(drawn([[1.0, 1.0, 1.0], [0.0, 0.3, 1.0], [0.0, 0.0, 0.0]]), get_loss("dpo"), settings(), 0.0)
    assert found.ties == 2
    ((chosen, rejected),) = found.examples
    assert (chosen.id, rejected.id) == ("5", "3")
    assert chosen.desirable and not rejected.desirable


def test_scored_losses_see_all_completions_of_a_prompt() -> None:
    found = learn_from(drawn([[1.0, 3.0, 2.0]]), get_loss("nca"), settings(), 0.0)
    assert [row.score for row in found.examples[0]] == [1.0, 3.0, 2.0]
    assert [row.desirable for row in found.examples[0]] == [False, True, False]


def test_an_unread_score_is_not_a_score_of_0() -> None:
    """Its advantage is 0, and the others' baseline is theirs alone."""
    assert advantages("grpo", [[4.0, 2.0, NAN]], scale="none") == [1.0, -1.0, 0.0]
    assert advantages("rloo", [[4.0, 2.0, NAN]]) == [2.0, -2.0, 0.0]
    assert advantages("ppo", [[4.0, 2.0, NAN]], whiten=False, gae_lambda=1.0) == [3.5, 1.5, 0.0]
    whitened = advantages("ppo", [[4.0, -4.0, NAN]], gae_lambda=1.0)
    assert whitened[2] == 0.0 and whitened[0] > 0 > whitened[1]
    assert not [row for (row,) in learn_from(drawn([[NAN, NAN]]), get_loss("kto"), settings(), 0.0).examples]


def test_a_cut_answer_loses_score_or_is_left_out_and_gets_no_end_token() -> None:
    scores = [[1.0, 1.0]]
    penalised = learn_from(drawn(scores, cut=(1,)), get_loss("kto"), settings(penalty=0.7), 0.0)
    assert [row.desirable for (row,) in penalised.examples] == [True, False]
    assert penalised.examples[1][0].completion_ids.tolist() == [2] * 4
    dropped = learn_from(drawn(scores, cut=(1,)), get_loss("kto"), settings(missing_end="drop"), 0.0)
    assert [row.id for (row,) in dropped.examples] == ["0"]


def test_kl_takes_from_the_score_token_by_token_or_at_the_end() -> None:
    """The log-ratio is .5 nats a token, of 3 and 4 tokens."""
    assert advantages("rloo", [[1.0, 1.0]], kl=0.1) == pytest.approx([0.05, -0.05])
    (first,), (second,) = learn_from(
        drawn([[1.0, 1.0]], values=0.0), get_loss("ppo"), settings(whiten=False, gae_lambda=1.0), 0.1
    ).examples
    assert first.numbers["advantage"] == pytest.approx([0.85, 0.9, 0.95])
    assert second.numbers["returns"][-1] == pytest.approx(0.95)


def test_values_are_taken_from_what_came() -> None:
    ((row,),) = learn_from(
        drawn([[1.0]], values=0.25), get_loss("ppo"), settings(whiten=False, gae_lambda=1.0), 0.0
    ).examples
    assert row.numbers["advantage"] == pytest.approx([0.75] * 3)
    assert row.numbers["returns"] == pytest.approx([1.0] * 3)
    assert row.numbers["old_values"] == pytest.approx([0.25] * 3)


def test_whitening_is_over_the_whole_rollout() -> None:
    rows = learn_from(drawn([[4.0, -1.0], [0.5, 2.0]], values=0.1), get_loss("ppo"), settings(), 0.0).examples
    tokens = np.concatenate([row.numbers["advantage"] for (row,) in rows])
    assert tokens.mean() == pytest.approx(0, abs=1e-6) and tokens.var(ddof=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("reduction", "weights"), [(None, [1, 1]), ("tokens", [1, 1]), ("rows", [1 / 3, 1 / 4]), ("length", [0.1, 0.1])]
)
def test_reductions_are_weights(reduction: Any, weights: list[float]) -> None:
    found = learn_from(
        drawn([[1.0, 2.0]]), get_loss("grpo"), settings(reduction=reduction, max_new_tokens=10), 0.0
    ).examples
    assert [row.weight for (row,) in found] == pytest.approx(weights)


def test_what_is_logged_of_a_rollout() -> None:
    rows = drawn([[1.0, 1.0], [0.0, 1.0], [0.0, NAN]], cut=(0,))
    online = settings(penalty=0.0)
    found = measure(rows, learn_from(rows, get_loss("dpo"), online, 0.0), online, 0.1)
    assert found["rollout/reward"] == found["rollout/passed"] == pytest.approx(3 / 5)
    assert found["rollout/unread"] == 1 and found["rollout/ties"] == 2
    assert found["rollout/all_right"] == found["rollout/all_wrong"] == pytest.approx(1 / 3)
    assert found["rollout/finished"] == pytest.approx(5 / 6)
    assert found["rollout/kl"] == pytest.approx(0.5 * np.mean([3, 4, 5, 6, 7, 8]))
    assert found["rollout/sampler_gap"] == 0.0
    assert found["rollout/reward_low"] <= 0.6 <= found["rollout/reward_high"]
