"""Batches to completion log-probs, without ever holding logits of tokens that are not scored.

Letters: N rows, T tokens, M scored tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch

from prospect.data.batch import Batch
from prospect.models.head import Shaping, gather_logps, head_logps
from prospect.models.in_place import embed, is_plain_embedding
from prospect.models.modes import evaluating

# Logits held at once, in numbers: 128 MiB of float32. A trained head whose logits all fit keeps them for the backward
# pass instead of computing them again, which at 600 tokens of 32,000 choices saved a third of the head's time on a CPU.
CHUNK_LOGITS = 2**25

Scorer = Callable[[Any, torch.Tensor, torch.Tensor, bool], tuple[torch.Tensor, torch.Tensor | None]]
"""(model, ids (N, T), scored (N, T - 1), whether hidden states are wanted) to the log-probs, float32 (M,), of the
tokens after those marked, and the hidden states (M, H) that foretell them."""


class TokenScores(NamedTuple):
    """A model's output for the completion tokens of a batch.

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
            see the tokens to their right, and without a mask attention takes its fast path.
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
    """Let the head see scored positions only, and turns them into log-probs a chunk at a time.

    The model runs its own forward pass, called as it always is: only so are weights there that FSDP2 gathers for the
    time of a module's call, and whatever a family does between backbone and head is done. For this one call its head
    computes log-probs instead of logits, and the whole model returns them: FSDP2 waits for the gradient of
    what a module returns before it gathers weights for the backward pass.
    """
    causal = _causal_lm(model)
    head, vocabulary = causal.get_output_embeddings(), causal.config.get_text_config().vocab_size
    plain, whole = head.forward, causal.forward
    shaping, targets = Shaping.of(causal.config.get_text_config()), ids[:, 1:][scored]
    found: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def at_head(states: torch.Tensor) -> torch.Tensor:
        hidden = states[:, :-1][scored]
        logps = head_logps(head, plain, hidden, targets, shaping, max(1, CHUNK_LOGITS // vocabulary))
        found.append((logps, hidden if want_hidden else None))
        return logps  # what the model does to its logits is done to these, and dropped

    words = causal.get_input_embeddings()
    looked_up = _forward_of(words, lambda ids: embed(words, ids)) if is_plain_embedding(words) else nullcontext()

    def at_model(*arguments: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        with _forward_of(head, at_head), looked_up:
            whole(*arguments, **named)
        (result,) = found  # a model that calls its head twice, or never, is none of ours
        return result

    with _forward_of(causal, at_model):
        return model(input_ids=ids, use_cache=False)


@contextmanager
def _forward_of(module: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Give a module another forward function for a while; its hooks stay."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def score_logits(
    model: Any, ids: torch.Tensor, scored: torch.Tensor, want_hidden: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Ask the model for all its logits: the plain way, for models whose head does something of its own."""
    output = model(input_ids=ids, use_cache=False, **({"output_hidden_states": True} if want_hidden else {}))
    logps = gather_logps(output.logits[:, :-1][scored].float(), ids[:, 1:][scored])
    return logps, output.hidden_states[-1][:, :-1][scored] if want_hidden else None


def choose_scorer(model: Any) -> Scorer:
    """Try both ways on a few tokens and take the fast one only if it gives the plain one's numbers."""
    causal = _causal_lm(model)
    if causal.get_output_embeddings() is None:
        return score_logits
    vocabulary = causal.config.get_text_config().vocab_size
    probe = (torch.arange(12, device=next(causal.parameters()).device) * 7919 % vocabulary).reshape(2, 6)
    scored = torch.ones(2, 5, dtype=torch.bool, device=probe.device)
    with torch.no_grad(), evaluating(model):
        plain = score_logits(model, probe, scored)[0]
        try:
            fast = score_hidden(model, probe, scored)[0]
        except Exception:  # whatever a model unknown to us stumbles over, its own logits are there
            return score_logits
    # In half precision a logit near 30 is rounded to a tenth, and the two ways round at different places.
    allowed = 1e-4 if causal.dtype.itemsize >= 4 else 5e-2
    return score_hidden if torch.allclose(fast, plain, rtol=allowed, atol=allowed) else score_logits


def _causal_lm(model: Any) -> Any:
    """Return the Transformers model itself, adapters and all, without PEFT's wrapper around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
