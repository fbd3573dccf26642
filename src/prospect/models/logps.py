"""Hidden states to completion log-probs, without ever holding logits of tokens that nobody asked about.

Letters: N rows, T tokens, M scored tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from prospect.data.batch import Batch

# Logits held at once, in numbers: 64 MiB of float32. Larger chunks were not faster on a CPU.
CHUNK_LOGITS = 2**24

Scorer = Callable[[Any, torch.Tensor, torch.Tensor, bool], tuple[torch.Tensor, torch.Tensor | None]]
"""(model, ids (N, T), scored (N, T - 1), whether hidden states are wanted) to the log-probs, float32 (M,), of the
tokens after those marked, and the hidden states (M, H) that foretell them."""


class TokenScores(NamedTuple):
    """What a model says of the completion tokens of a batch.

    Attributes:
        logps: float32 (N, T) nats; 0 where nothing is scored.
        values: float32 (N, T), what the value head expects before each of them; None without one.
    """

    logps: torch.Tensor
    values: torch.Tensor | None


def score_tokens(model: Any, batch: Batch, scorer: Scorer, value_head: torch.nn.Module | None = None) -> TokenScores:
    """Log-probs of the completion tokens.

    Args:
        model: a Transformers causal LM, or one with PEFT adapters.
        batch: N rows, padded on the right. No attention mask is passed on: a causal model's real tokens never
            see what stands to their right, and without a mask attention takes its fast path.
        scorer: `score_hidden` or `score_logits`; see `choose_scorer`.
        value_head: (M, H) to (M,); it sees hidden states without their gradient.
    """
    logps, hidden = scorer(model, batch.ids, batch.completion[:, 1:], value_head is not None)
    if value_head is None or hidden is None:
        return TokenScores(_lay_out(logps, batch), None)
    return TokenScores(_lay_out(logps, batch), _lay_out(value_head(hidden.detach().float()), batch))


def _lay_out(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(M,) to (N, T), 0 where nothing is scored."""
    zeros = torch.zeros(batch.ids.shape, dtype=torch.float32, device=batch.ids.device)
    return zeros.masked_scatter(batch.completion, values.float())


def score_hidden(
    model: Any, ids: torch.Tensor, scored: torch.Tensor, want_hidden: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Runs the backbone, then the head on scored positions only, a chunk at a time."""
    causal = _causal_lm(model)
    hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][scored]
    return _chunked_logps(causal, hidden, ids[:, 1:][scored]), hidden if want_hidden else None


def _chunked_logps(causal: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    rows = max(1, CHUNK_LOGITS // causal.config.get_text_config().vocab_size)
    if len(targets) <= rows:
        return _head_logps(causal, hidden, targets)
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([_head_logps(causal, h, t) for h, t in chunks])
    return torch.cat([checkpoint(_head_logps, causal, h, t, use_reentrant=False) for h, t in chunks])


def score_logits(
    model: Any, ids: torch.Tensor, scored: torch.Tensor, want_hidden: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Asks the model for all its logits: the plain way, for models whose head does something of its own."""
    output = model(input_ids=ids, use_cache=False, **({"output_hidden_states": True} if want_hidden else {}))
    logps = _gather(output.logits[:, :-1][scored].float(), ids[:, 1:][scored])
    return logps, output.hidden_states[-1][:, :-1][scored] if want_hidden else None


def choose_scorer(model: Any) -> Scorer:
    """Tries both ways on a few tokens and takes the fast one only if it gives the plain one's numbers."""
    causal = _causal_lm(model)
    if causal.get_output_embeddings() is None or causal.base_model is causal:
        return score_logits
    vocabulary = causal.config.get_text_config().vocab_size
    probe = (torch.arange(12, device=next(causal.parameters()).device) * 7919 % vocabulary).reshape(2, 6)
    scored = torch.ones(2, 5, dtype=torch.bool, device=probe.device)
    with torch.no_grad():
        fast, plain = score_hidden(model, probe, scored)[0], score_logits(model, probe, scored)[0]
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
