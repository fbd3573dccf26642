"""Hidden states to completion log-probs, without ever holding logits of tokens that nobody asked about.

Letters: N rows, T tokens, M scored tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from prospect.data.batch import Batch

# Logits held at once, in numbers: 64 MiB of float32. Larger chunks were not faster on a CPU.
CHUNK_LOGITS = 2**24

Scorer = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
"""(model, ids (N, T), scored (N, T - 1)) to float32 log-probs (M,) of the tokens after those marked."""


def token_logps(model: Any, batch: Batch, scorer: Scorer) -> torch.Tensor:
    """Log-probs of the completion tokens.

    Args:
        model: a Transformers causal LM, or one with PEFT adapters.
        batch: N rows, padded on the right. No attention mask is passed on: a causal model's real tokens never
            see what stands to their right, and without a mask attention takes its fast path.
        scorer: `score_hidden` or `score_logits`; see `choose_scorer`.

    Returns:
        float32 (N, T) nats; 0 where nothing is scored.
    """
    scored = batch.completion[:, 1:]
    values = scorer(model, batch.ids, scored)
    logps = torch.zeros(batch.ids.shape, dtype=torch.float32, device=batch.ids.device)
    return logps.masked_scatter(batch.completion, values)


def score_hidden(model: Any, ids: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """Runs the backbone, then the head on scored positions only, a chunk at a time."""
    causal = _causal_lm(model)
    hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][scored]
    targets = ids[:, 1:][scored]
    rows = max(1, CHUNK_LOGITS // causal.config.get_text_config().vocab_size)
    if len(targets) <= rows:
        return _head_logps(causal, hidden, targets)
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([_head_logps(causal, h, t) for h, t in chunks])
    return torch.cat([checkpoint(_head_logps, causal, h, t, use_reentrant=False) for h, t in chunks])


def score_logits(model: Any, ids: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """Asks the model for all its logits: the plain way, for models whose head does something of its own."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1][scored].float()
    return _gather(logits, ids[:, 1:][scored])


def choose_scorer(model: Any) -> Scorer:
    """Tries both ways on a few tokens and takes the fast one only if it gives the plain one's numbers."""
    causal = _causal_lm(model)
    if causal.get_output_embeddings() is None or causal.base_model is causal:
        return score_logits
    vocabulary = causal.config.get_text_config().vocab_size
    probe = (torch.arange(12, device=next(causal.parameters()).device) * 7919 % vocabulary).reshape(2, 6)
    scored = torch.ones(2, 5, dtype=torch.bool, device=probe.device)
    with torch.no_grad():
        fast, plain = score_hidden(model, probe, scored), score_logits(model, probe, scored)
    return score_hidden if torch.allclose(fast, plain, rtol=1e-4, atol=1e-4) else score_logits


def _head_logps(causal: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(M, H) and (M,) to (M,): the head, what some families do to its logits, log-softmax in float32."""
    logits = causal.get_output_embeddings()(hidden).float()
    config = causal.config.get_text_config()
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits = logits * scale
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        logits = logits / divisor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits = cap * torch.tanh(logits / cap)
    return _gather(logits, targets)


def _gather(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, targets.unsqueeze(1)).squeeze(1) - logits.logsumexp(1)


def _causal_lm(model: Any) -> Any:
    """The Transformers model itself, adapters and all, without PEFT's wrapper around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
