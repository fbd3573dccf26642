"""A whole model in one folder, from an adapter and what it sits on, or from GGUF."""

from __future__ import annotations

import re
from pathlib import Path

from prospect.atomic import atomic_directory, write_text
from prospect.config import ModelSettings
from prospect.errors import ModelError
from prospect.model_card import FILE as CARD
from prospect.model_card import HOW_TO_LOAD, Card, how_to_load, read_card
from prospect.model_source import ADAPTER_CONFIG, ModelSource, find_file, find_model
from prospect.models.loading import fit_embeddings, load_tokenizer
from prospect.models.opening import load_causal_lm
from prospect.models.reward_model import load_classifier


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
    if source.kind in ("model", "pipeline"):
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
    """Return the card of a merged model: what it is made of, how to load it, and the text of the adapter's card."""
    card = read_card(None if source.gguf else find_file(source.place, CARD))
    card.front.library_name = "transformers"
    if not source.root.is_local:
        card.front.base_model = source.root.place
    made = "GGUF, dequantised" if source.kind == "gguf" else "an adapter and its base, folded into one"
    kind = "AutoModelForSequenceClassification" if "Classification" in model_class else "AutoModelForCausalLM"
    body = "\n\n".join(part for part in (card.above, card.ours, card.below) if part)
    for gone in (rf"{HOW_TO_LOAD}\n.*?(?=\n#|\Z)", r"<!--.*?-->"):
        body = re.sub(gone, "", body, flags=re.DOTALL)
    made_of = f"Whole weights, made by `prospect merge` from {made}."
    parts = [made_of, how_to_load(kind), re.sub(r"\n{3,}", "\n\n", body.strip())]
    return Card(card.front, "\n\n".join(part for part in parts if part)).text
