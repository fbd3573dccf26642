"""The base model of the demo: where it lies and how it is loaded."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

BASE = Path(str(files("prospect.demo"))) / "base"
"""Model and tokenizer in Transformers layout; `python -m prospect.demo.make_base` writes them."""


def load_base(path: Path = BASE) -> tuple[Any, Any]:
    """Returns the base model (float32, eval mode) and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(path)
