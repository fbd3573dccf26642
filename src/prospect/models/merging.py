"""A whole model in one folder, from an adapter and what it sits on, or from GGUF."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from prospect.atomic import atomic_directory, write_text
from prospect.config import ModelSettings
from prospect.errors import ModelError
from prospect.model_source import ADAPTER_CONFIG, HOW_TO_LOAD, ModelSource, find_file, find_model, how_to_load
from prospect.models.loading import fit_embeddings, load_tokenizer
from prospect.models.opening import load_causal_lm
from prospect.models.reward_model import load_classifier

CARD = "README.md"


def write_merged(settings: ModelSettings, output: Path) -> None:
    """Write a plain folder of Transformers: weights with every adapter folded in, tokenizer, chat template, card.

    The merged weights give the adapter's logits to rounding of `settings.dtype`, which is checked on a few tokens.

    Args:
        settings: the adapter, run or GGUF file, and how the merged weights are held.
        output: the folder, which must not be there yet, or be empty.

    Raises:
        ModelError: there is nothing to merge, the folder is occupied, or the parts do not fit.
    """
    source = find_model(settings.name_or_path)
    if source.kind == "model":
        raise ModelError(f"{source.name}: a whole model already, so there is nothing to merge. Use {source.place}.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ModelError(f"{output}: there is something already. Choose another -o, or remove it.")
    scores = source.kind == "adapter" and source.read(ADAPTER_CONFIG).get("task_type") == "SEQ_CLS"
    tokenizer = load_tokenizer(settings)
    model = load_classifier(settings, new_score=False) if scores else load_causal_lm(source, settings)
    fit_embeddings(model, tokenizer)
    with atomic_directory(output) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_text(temporary / CARD, merged_card(source, type(model).__name__))


def merged_card(source: ModelSource, model_class: str) -> str:
    """Return the card of a merged model: what it is made of, how to load it, and what the adapter's card says."""
    front, body = _card_of(source)
    front["library_name"] = "transformers"
    if not source.root.is_local:
        front["base_model"] = source.root.place
    made = "GGUF, dequantised" if source.kind == "gguf" else "an adapter and its base, folded into one"
    kind = "AutoModelForSequenceClassification" if "Classification" in model_class else "AutoModelForCausalLM"
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}\n---",
        f"Whole weights, made by `prospect merge` from {made}.",
        how_to_load(kind),
        body,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _card_of(source: ModelSource) -> tuple[dict[str, Any], str]:
    """Front matter and text of an adapter's own card, without how to load an adapter."""
    path = None if source.gguf else find_file(source.place, CARD)
    text = path.read_text(encoding="utf-8", errors="replace") if path is not None else ""
    found = re.match(r"---\n(.*?)\n---\n?", text, re.DOTALL)
    try:
        front = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        front = None
    body = text[found.end() :] if found else text
    for gone in (rf"{HOW_TO_LOAD}\n.*?(?=\n#|\Z)", r"<!--.*?-->"):
        body = re.sub(gone, "", body, flags=re.DOTALL)
    return front if isinstance(front, dict) else {}, re.sub(r"\n{3,}", "\n\n", body.strip())
