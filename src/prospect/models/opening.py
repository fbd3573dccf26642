"""A model from any source, ready to be looked at or trained, and known by a hash of what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prospect.config import ModelSettings
from prospect.data.control_tokens import control_token_ids
from prospect.errors import ModelError
from prospect.model_source import ModelSource, find_model
from prospect.models.adapter_files import adapter_identity, holds_embeddings, merge, put_on
from prospect.models.loading import fit_embeddings, load_tokenizer, load_whole, weights_identity
from prospect.models.quantization import dequantised

Adapter = Literal["keep", "train", "merge"]
"""What happens to an adapter that is named: it stays on its base, frozen or trained, or is folded in."""


@dataclass(frozen=True)
class Opened:
    """A model as it was loaded.

    Attributes:
        model: Transformers' own, or wrapped by PEFT.
        source: where it comes from.
        identity: hash of its weights, an adapter's included, and of what else decides its log-probs.
        base_identity: the same without the adapter; None where there is none on it.
        base: what Transformers loads the weights from that an adapter on it would sit on, in any directory; None where
            there is no such thing, because they were merged, dequantised, or given embeddings.
        holds_embeddings: whether the adapter's file holds whole embeddings.
    """

    model: Any
    source: ModelSource
    identity: str
    base_identity: str | None
    base: str | None
    holds_embeddings: bool = False


def open_model(settings: ModelSettings, tokenizer: Any, precision: str, adapter: Adapter = "keep") -> Opened:
    """Load a causal LM from a name, which may be of any kind of model, in evaluation mode, on the CPU.

    Args:
        settings: which, and how its weights are held.
        tokenizer: whose tokens it will see; where there are more than embeddings, these get rows for them.
        precision: of the arithmetic, for the identity.
        adapter: what happens to an adapter.

    Raises:
        ModelError: there is none, weights are missing, or an adapter does not fit.
    """
    source = find_model(settings.name_or_path)
    if source.base is None:
        model = load_whole(source, settings)
        # A fresh adapter trains the tokens that a loss adds; other new ones are not in the model's own files.
        untrained = {*fit_embeddings(model, tokenizer)} - {*control_token_ids(tokenizer)}
        identity = weights_identity(model, precision)
        return Opened(model, source, identity, None, None if untrained else source.loadable)
    model = _under(source, settings)
    model = dequantised(model, settings) if adapter == "merge" else model
    if adapter != "merge":
        fit_embeddings(model, tokenizer)
    base_identity = weights_identity(model, precision)
    model = put_on(model, source, train=adapter == "train")
    embeddings = holds_embeddings(source)
    identity = adapter_identity(model, base_identity, with_embeddings=embeddings)
    if adapter != "merge":
        return Opened(model, source, identity, base_identity, source.base.loadable, embeddings)
    model = merge(model)
    fit_embeddings(model, tokenizer)
    return Opened(model, source, identity, None, None)


def load_causal_lm(source: ModelSource, settings: ModelSettings) -> Any:
    """Load a whole causal LM; adapters are folded in, into dequantised weights where those were quantised.

    Raises:
        ModelError: as `open_model`.
    """
    if source.base is None:
        return load_whole(source, settings)
    return merge(put_on(dequantised(_under(source, settings), settings), source))


def _under(source: ModelSource, settings: ModelSettings) -> Any:
    """Return what an adapter sits on, whole, with an embedding for every token that the adapter knows."""
    assert source.base is not None
    model = load_causal_lm(source.base, settings)
    fit_embeddings(model, load_tokenizer(settings.model_copy(update={"name_or_path": source.name})))
    return model


def require_same_vocabulary(own: Any, others: Any, name: str) -> None:
    """Refuse a model whose tokenizer gives text other ids than the policy's: log-ratios are of the same tokens.

    Args:
        own: the policy's tokenizer.
        others: the other model's.
        name: of the other model.

    Raises:
        ModelError: naming a token that differs.
    """
    ids = own.get_vocab()
    for token, i in others.get_vocab().items():
        if ids.get(token) != i:
            raise ModelError(
                f"{name}: its tokenizer has {token!r} as {i}, and the policy's as {ids.get(token)}; a log-ratio is of "
                "the same tokens. Compare with the model that the policy was trained from, or another of its family."
            )
