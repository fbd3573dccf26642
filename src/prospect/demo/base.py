"""The base model of the demo: where it lies, how it is loaded and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from prospect.demo.world import REPLY_TOKENS, Inquiry
from prospect.models.sampling import Generated, generate

TEMPERATURE, TOP_P = 0.8, 0.95
BATCH = 256  # replies sampled together: for a model this small the loop over tokens is what costs

BASE = Path(str(files("prospect.demo"))) / "base"
"""Model and tokenizer in Transformers layout; `tools/make_base.py` writes them."""


def load_base(path: Path = BASE) -> tuple[Any, Any]:
    """Return the base model (float32, eval mode) and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(path)


def answer(base: tuple[Any, Any], inquiries: Sequence[Inquiry], count: int, seed: int) -> list[list[Generated]]:
    """Sample `count` replies to every inquiry."""
    model, tokenizer = base
    return generate(
        model,
        tokenizer,
        [inquiry.prompt for inquiry in inquiries],
        samples_per_prompt=count,
        max_new_tokens=REPLY_TOKENS,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        seed=seed,
        batch_size=BATCH,
    )
