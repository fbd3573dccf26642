"""A sampled z0 estimates KL(policy || reference), which a tiny vocabulary lets us work out exactly."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
import torch

from conftest import make_model
from prospect.data.batch import Row, collate, row_from_ids
from prospect.data.draw import Draw
from prospect.losses.reference_point import estimate_reference_point
from prospect.models.logps import score_logits
from prospect.models.policy import Policy
from prospect.training.sampled_point import SampledPoint, choose_prompts
from prospect.training.text_medium import TextMedium

END, LONGEST, VOCABULARY = 1, 3, 5


def policy_of(seed: int) -> Policy:
    model = make_model(seed, vocab_size=VOCABULARY, hidden_size=16, initializer_range=0.5).eval()
    return Policy(model, None, score_logits, "fp32", "", False)


def row_of(prompt: list[int], completion: list[int] | None = None) -> Row:
    return row_from_ids(prompt, completion or [2], prompt_key=str(prompt), id=f"row {prompt}")


def every_completion() -> list[list[int]]:
    """Return all that can be drawn: up to the end token, or cut."""
    words = (ids for length in range(1, LONGEST + 1) for ids in itertools.product(range(VOCABULARY), repeat=length))
    return [list(ids) for ids in words if END not in ids[:-1] and (ids[-1] == END or len(ids) == LONGEST)]


@torch.no_grad()
def logps(policy: Policy, prompt: list[int], completions: list[list[int]]) -> torch.Tensor:
    return policy.logps(collate([row_of(prompt, ids) for ids in completions])).double()


def exact_kl(policy: Policy, reference: Policy, prompt: list[int]) -> float:
    own, other = (logps(model, prompt, every_completion()) for model in (policy, reference))
    assert float(own.exp().sum()) == pytest.approx(1.0, abs=1e-5)  # every completion is there
    return float((own.exp() * (own - other)).sum())


def test_the_mean_log_ratio_of_samples_is_unbiased_for_the_exact_kl() -> None:
    policy, reference, prompt = policy_of(0), policy_of(3), [0, 2, 3]
    asked = [(row_of(prompt), number) for number in range(4000)]
    rows = TextMedium(64, (END,)).sample(policy, asked, LONGEST, Draw(0, 1))
    drawn = [row.completion_ids.tolist() for row in rows]
    point = estimate_reference_point(logps(policy, prompt, drawn) - logps(reference, prompt, drawn))
    exact = exact_kl(policy, reference, prompt)
    assert exact > 20 * float(point.stderr)  # enough completions to tell it from another number
    assert abs(float(point.raw) - exact) < 3 * float(point.stderr)
    assert point.z0 == point.raw


def test_completions_are_drawn_as_often_as_the_model_has_it() -> None:
    policy, prompt = policy_of(0), [0, 2, 3]
    asked = [(row_of(prompt), number) for number in range(4000)]
    rows = TextMedium(64, (END,)).sample(policy, asked, LONGEST, Draw(0, 1))
    counts = Counter(tuple(row.completion_ids.tolist()) for row in rows)
    every = every_completion()
    expected = logps(policy, prompt, every).exp() * len(rows)
    found = torch.tensor([counts[tuple(ids)] for ids in every], dtype=torch.float64)
    chi = float(((found - expected) ** 2 / expected).sum())
    assert chi < len(every) + 4 * (2 * len(every)) ** 0.5


def test_samples_depend_on_seed_step_prompt_and_number_and_on_nothing_else() -> None:
    policy, medium = policy_of(0), TextMedium(64, (END,))
    asked = [(row_of(prompt), number) for prompt in ([0, 2, 3], [0, 4]) for number in range(40)]

    def draw(asked: list[tuple[Row, int]], **other: int) -> dict[tuple[str, int], list[int]]:
        names = {**{"seed": 0, "step": 1}, **other}
        found = {}
        for one in asked:  # alone, to have its name
            (row,) = medium.sample(policy, [one], 8, Draw(**names))
            found[row.prompt_key, one[1]] = row.completion_ids.tolist()
        return found

    alone = draw(asked)
    together = sorted(row.completion_ids.tolist() for row in medium.sample(policy, asked[::-1], 8, Draw(0, 1)))
    assert together == sorted(alone.values())
    assert draw(asked, seed=1) != alone != draw(asked, step=2)


def test_a_sample_is_cut_where_the_row_would_be_too_long() -> None:
    policy = policy_of(0)
    asked = [(row_of([0, 2, 3, 4]), n) for n in range(20)] + [(row_of([0]), n) for n in range(20)]
    rows = TextMedium(6).sample(policy, asked, 4, Draw(0, 1))
    assert {(len(row.prompt_ids), len(row.completion_ids)) for row in rows} == {(4, 2), (1, 4)}


def test_nothing_is_drawn_where_nothing_is_asked() -> None:
    assert TextMedium(64).sample(policy_of(0), [], 4, Draw(0, 1)) == []


def test_prompts_take_turns_whatever_the_order_and_number_of_their_rows() -> None:
    rows: list[Any] = [row_of([0, prompt], [completion]) for prompt in range(5) for completion in range(prompt + 1)]
    chosen = choose_prompts(rows, 12, Draw(0, 1))
    counts = Counter(row.prompt_key for row, _ in chosen)
    assert sorted(counts.values()) == [2, 2, 2, 3, 3]
    assert len({(row.prompt_key, number) for row, number in chosen}) == 12
    assert all(number < counts[row.prompt_key] for row, number in chosen)
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert choose_prompts(rows, 12, Draw(0, 1)) == chosen


def test_each_prompt_has_its_turn_in_one_step_or_another() -> None:
    rows: list[Any] = [row_of([0, prompt]) for prompt in range(8)]
    firsts = Counter(choose_prompts(rows, 1, Draw(0, step))[0][0].prompt_key for step in range(400))
    assert len(firsts) == 8 and min(firsts.values()) > 25  # 50 are expected


def test_an_estimate_is_kept_until_the_next_is_due_or_the_reference_moves() -> None:
    point = estimate_reference_point(torch.tensor([1.0, 2.0]))
    sampled = SampledPoint(every=3, completions=2, max_new_tokens=4, point=point)
    assert [sampled.kept(step) is point for step in range(1, 8)] == [False, True, True, False, True, True, False]
    again = SampledPoint(every=3, completions=2, max_new_tokens=4)
    assert again.kept(2) is None and again.state() == {}
    again.load(sampled.state())
    assert again.point == point
    assert {name: t.shape for name, t in sampled.state().items()} == {
        n: t.shape for n, t in SampledPoint.layout().items()
    }
    sampled.clear()
    assert sampled.kept(2) is None and sampled.state() == {}
