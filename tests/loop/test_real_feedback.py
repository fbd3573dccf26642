"""Real feedback trains without complaint: odd lengths, many prompts. Read in place, skipped where absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import prospect
from conftest import make_model


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A random Llama with room for long rows: the tiny tokenizer needs some 600 tokens for a solution."""
    path = tmp_path_factory.mktemp("long")
    make_model(max_position_embeddings=4096, num_hidden_layers=1).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("loss", "file", "rows"),
    [
        ("kto", "gsm8k_solutions.jsonl", 5276),
        ("kto", "kto_mix_300.jsonl", 300),
        ("kto", "oasst_pairs.jsonl", 424),
        ("dpo", "oasst_pairs.jsonl", 212),
        ("dpo", "gsm8k_solutions.jsonl", None),
        ("sft", "kto_mix_300.jsonl", None),
    ],
)
def test_real_feedback_trains_a_step(
    shared: Path, long_model: Path, tmp_path: Path, loss: str, file: str, rows: Any
) -> None:
    recipe = {
        "model": {"name_or_path": str(long_model)},
        "data": {"train": str(shared / "data" / file), "eval": None, "overlong_prompts": "drop"},
        "loss": {"name": loss},
        "train": {"max_steps": 1, "batch_size": 8, "samples": 0},
        "output": str(tmp_path / "run"),
    }
    run = prospect.train(recipe, quiet=True)
    (step,) = run.metrics()
    assert step["grad_norm"] > 0
    data = run.provenance().data.train
    assert rows is None or data.rows + data.dropped == rows
    if loss == "kto":
        assert step["rewards/chosen"] == step["rewards/rejected"] == 0.0


def test_the_story_model_starts_at_zero_reward_and_learns(shared: Path, tmp_path: Path) -> None:
    recipe = {
        "model": {"name_or_path": str(shared / "models/stories260K")},
        "data": {
            "train": str(shared / "data/stories_sentiment.jsonl"),
            "eval": None,
            "end_token": False,
            "class_weights": "none",
        },
        "train": {"max_steps": 8, "batch_size": 16, "learning_rate": 3e-4, "samples": 0, "warmup": 0},
        "output": str(tmp_path / "run"),
    }
    rows = prospect.train(recipe, quiet=True).metrics()
    assert rows[0]["loss"] == pytest.approx(0.5) and rows[0]["kl_raw"] == 0.0
    assert rows[-1]["rewards/margins"] > 0 > rows[-1]["loss"] - 0.5
