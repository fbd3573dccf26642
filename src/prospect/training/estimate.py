"""How much memory a run will take, before it is paid for.

Counted: weights, gradients, AdamW's two moments, the frozen reference, and the activations and logits of the largest
micro-batch. Not counted: the Python process and the libraries themselves (about 0.5 GB), the data, fragmentation.
"""

from __future__ import annotations

from typing import Any

import torch

from prospect.models.loading import load_model_config
from prospect.models.logps import CHUNK_LOGITS
from prospect.training.prepare import Prepared

# Numbers kept for the backward pass per layer and token, in units of the hidden size; the MLP's are added separately.
# Attention: its input, the norm's output, queries, keys, values, the outputs of attention and projection, residual.
_ATTENTION_WIDTHS = 8

PARTS = ("weights", "gradients", "optimizer", "reference", "activations")


def estimate_memory(prepared: Prepared) -> dict[str, Any]:
    """Bytes by part, from the model's configuration alone: nothing is loaded.

    Returns:
        `parameters`, `trainable_parameters`, and bytes: `weights, gradients, optimizer, reference, activations, total`.
    """
    settings = prepared.config
    model_config = load_model_config(settings.model)
    model = _meta_model(model_config, settings.model.trust_remote_code)
    total = sum(p.numel() for p in model.parameters())
    trainable = _adapter_size(model, prepared) if settings.model.lora else total
    frozen_bytes = total * getattr(torch, settings.model.dtype).itemsize
    needs_copy = (prepared.loss.needs_reference and not settings.model.lora) or settings.reference.kind == "frozen"
    parts = {
        "weights": frozen_bytes + (4 * trainable if settings.model.lora else 0),
        "gradients": 4 * trainable,
        "optimizer": 8 * trainable,
        "reference": frozen_bytes if needs_copy and prepared.loss.needs_reference else 0,
        "activations": _activations(prepared, model_config.get_text_config()),
    }
    return {"parameters": total, "trainable_parameters": trainable, **parts, "total": sum(parts.values())}


def _meta_model(model_config: Any, trust_remote_code: bool) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(model_config, trust_remote_code=trust_remote_code)


def _adapter_size(model: Any, prepared: Prepared) -> int:
    lora = prepared.config.model.lora
    assert lora is not None
    head = model.get_output_embeddings()
    targets = [lora.target_modules] if isinstance(lora.target_modules, str) else lora.target_modules
    size = 0
    for name, module in model.named_modules():
        chosen = targets is None or name.rpartition(".")[2] in targets
        if isinstance(module, torch.nn.Linear) and module is not head and chosen:
            size += lora.r * (module.in_features + module.out_features)
    return size


def _activations(prepared: Prepared, config: Any) -> int:
    """Bytes kept for one micro-batch's backward pass, and one chunk of logits with its gradient."""
    longest = max(max(row.length for row in example) * len(example) for example in prepared.train.examples)
    step_tokens = longest * prepared.config.train.batch_size
    tokens = min(prepared.max_tokens, step_tokens)
    hidden = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    width = 2 if prepared.config.train.precision == "bf16" else 4
    per_layer = hidden if prepared.config.train.gradient_checkpointing else _ATTENTION_WIDTHS * hidden + 4 * inner
    layers = config.num_hidden_layers * per_layer
    logits = 3 * min(CHUNK_LOGITS, tokens * config.vocab_size)  # logits, their exponentials, their gradient
    return tokens * layers * width + 4 * logits
