"""The decoding loop gives what Transformers' own gives, for every kind of cache, and fewer rows change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_logps_families import FAMILIES, build
from transformers import AutoModelForCausalLM, GenerationConfig, Mamba2Config, MambaConfig, MptConfig

from prospect.models import sampling as engine
from prospect.models.decoding import decode
from prospect.models.sampling import Sampling, draw_tokens

PROMPTS, OWNERS, LIMIT = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14], [20]], [0, 0, 1, 2, 1], 12
ENDS = list(range(1, 13))  # so many that rows end at different steps
SMALL = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
OTHERS = {
    "mamba": MambaConfig(**SMALL),
    "mamba2": Mamba2Config(**SMALL, num_heads=4, head_dim=8, n_groups=1),
    "mpt": MptConfig(vocab_size=64, d_model=16, n_layers=2, n_heads=2),
}


def model_of(family: str) -> Any:
    torch.manual_seed(0)
    if family in OTHERS:
        return AutoModelForCausalLM.from_config(OTHERS[family]).eval()
    model = build(family, FAMILIES[family][2][0]).eval()
    model.config.output_router_logits = False  # with it the library's own loop fails
    return model


def noisy(row: int, step: int) -> torch.Tensor:
    return torch.randn(64, generator=torch.Generator().manual_seed(1000 * row + step))


def draw(logits: torch.Tensor, rows: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy after noise of the row and the step, so that rows end at different steps."""
    noise = torch.stack([noisy(row, step) for row in rows.tolist()])
    best = (logits.float() + noise).max(-1)
    return best.indices, best.values


class Noise:
    """The same for the library's loop."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores + torch.stack([noisy(row, ids.shape[1] - self.width) for row in range(len(ids))])


def theirs(model: Any) -> list[list[int]]:
    width = max(map(len, PROMPTS))
    rows = [PROMPTS[owner] for owner in OWNERS]
    output = model.generate(
        input_ids=torch.tensor([[0] * (width - len(row)) + row for row in rows]),
        attention_mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
        generation_config=GenerationConfig(max_new_tokens=LIMIT, do_sample=False, pad_token_id=0, eos_token_id=ENDS),
        logits_processor=[Noise(width)],
    )
    drawn = output[:, width:].tolist()
    ended = [next((step for step, token in enumerate(row) if token in ENDS), LIMIT) for row in drawn]
    return [row[: end + 1] for row, end in zip(drawn, ended, strict=True)]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "rwkv"] + list(OTHERS))
def test_it_draws_what_the_librarys_loop_draws(family: str) -> None:
    """RWKV is left out: it knows no padding, in either loop."""
    model = model_of(family)
    ours = decode(model, PROMPTS, OWNERS, draw, ENDS, LIMIT)
    assert [ids for ids, _ in ours] == theirs(model)
    assert all(len(ids) == len(values) for ids, values in ours)
    assert len({len(ids) for ids, _ in ours}) > 1, "rows must end at different steps, or none leaves the batch"


def test_tokens_are_drawn_as_from_the_whole_sorted_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    draws, short = torch.rand(400), engine._FIRST
    assert short
    for spread in (0.0, 0.5, 3.0, 10.0):
        for ties in (False, True):
            logits = torch.randn(400, 4500) * spread
            logits = logits.round() if ties else logits
            for settings in ((1.0, 1.0, 0), (0.7, 0.95, 0), (1.0, 0.95, 50), (1.0, 1.0, 20), (1.5, 0.5, 500)):
                sampling = Sampling(*settings)
                found = draw_tokens(logits, draws, sampling)[0]
                monkeypatch.setattr(engine, "_FIRST", ())
                assert torch.equal(found, draw_tokens(logits, draws, sampling)[0]), (spread, ties, settings)
                monkeypatch.setattr(engine, "_FIRST", short)
