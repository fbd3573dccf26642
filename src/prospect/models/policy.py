"""The model that is trained: loading (full or LoRA), scoring, saving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from prospect.atomic import atomic_directory, write_text
from prospect.config import Config, ModelSettings
from prospect.data.batch import Batch
from prospect.data.control_tokens import control_token_ids
from prospect.errors import ConfigError
from prospect.model_card import FILE as CARD
from prospect.models.adapter_files import write_base
from prospect.models.adapters import add_adapter, checkpointed_layers, enable_gradient_checkpointing
from prospect.models.device import default_device
from prospect.models.loading import load_tokenizer
from prospect.models.logps import Scorer, TokenScores, choose_scorer, score_logits, score_tokens
from prospect.models.opening import open_model
from prospect.models.precision import arithmetic_of_run, choose_arithmetic
from prospect.models.trained import TrainedModel
from prospect.models.value_head import VALUE_HEAD, ValueHead
from prospect.progress import timing

BASE = "base"


@dataclass
class Policy(TrainedModel):
    """A causal language model with its tokenizer, ready to score completions.

    Attributes:
        model: the Transformers model, wrapped by PEFT where there is an adapter.
        tokenizer: its tokenizer.
        scorer: how log-probs are computed; see `choose_scorer`.
        precision: "fp32" or "bf16", of the forward and backward pass.
        identity: hash of the weights it was loaded with, an adapter that was there included, and of what else decides
            its log-probs.
        has_adapter: whether it has an adapter; of what is trained then nothing else is trained.
        value_head: what a loss with `needs_values` asks for the value of each token; else None.
        base_identity: the same hash without the adapter; None where no adapter was there when it was loaded.
        base: what the adapter sits on, as Transformers loads it in any directory; None where it must be saved beside.
        holds_embeddings: whether the adapter was saved with whole embeddings.
    """

    model: Any
    tokenizer: Any
    scorer: Scorer
    precision: str
    identity: str
    has_adapter: bool
    value_head: ValueHead | None = None
    base_identity: str | None = None
    base: str | None = None
    holds_embeddings: bool = False

    @property
    def loads_with(self) -> str:
        """The class that loads what `save` writes."""
        return "AutoPeftModelForCausalLM" if self.has_adapter else "AutoModelForCausalLM"

    def logps(self, batch: Batch) -> torch.Tensor:
        """Log-probs of completions: float32 (N,) nats, summed over completion tokens."""
        return self.score_tokens(batch).logps.sum(1)

    def score_tokens(self, batch: Batch) -> TokenScores:
        """Log-probs, and values where there is a value head, of every completion token."""
        with self.arithmetic():
            return score_tokens(self.model, batch.to(self.device), self.scorer, self.value_head)

    def layers(self) -> list[torch.nn.Module]:
        """Return the layers that Transformers marks as such."""
        return checkpointed_layers(self.model)

    def choose_scorer(self) -> None:
        """Try out how log-probs are computed fastest, where the weights are now."""
        with timing.part("choosing the scorer"):
            self.scorer = choose_scorer(self.model)

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Return what the optimizer moves, by name."""
        head = self.value_head.named_parameters(prefix=VALUE_HEAD) if self.value_head is not None else ()
        return {name: p for name, p in (*self.model.named_parameters(), *head) if p.requires_grad}

    def save(self, path: Path, card: str) -> None:
        """Write model (or adapter), tokenizer, chat template and model card, all or nothing.

        An adapter names what it sits on, by a hub name or a full path. Where no folder holds that (it was merged, or
        dequantised) it is written to `base/` beside `path`, first.
        """
        if self.has_adapter:
            base = self.base
            if base is None:
                base = str(path.resolve().with_name(BASE))
                write_base(self.model, self.tokenizer, Path(base))
            self.model.peft_config["default"].base_model_name_or_path = base
        with atomic_directory(path) as temporary:
            # Of new embeddings an adapter keeps the rows that were trained; `fit_embeddings` restores the rest.
            adapter = {"save_embedding_layers": self.holds_embeddings} if self.has_adapter else {}
            self.model.save_pretrained(temporary, safe_serialization=True, **adapter)
            self.tokenizer.save_pretrained(temporary)
            if self.value_head is not None:
                save_file(self.value_head.state_dict(), temporary / f"{VALUE_HEAD}.safetensors")
            write_text(temporary / CARD, card)


def load_policy(
    config: Config,
    tokenizer: Any,
    device: torch.device | None = None,
    *,
    value_head: bool = False,
    to_spread: bool = False,
) -> Policy:
    """Load the model of a recipe, ready to train.

    Dropout of the model is off: it would make policy and reference differ before the first step. LoRA's own
    dropout, where the recipe asks for it, is on.

    Args:
        config: the recipe.
        tokenizer: the model's; where it has more tokens than the model has embeddings, these get rows for them.
        device: where it is used; the first GPU by default, else the CPU.
        value_head: whether it gets one.
        to_spread: whether the weights stay on the CPU, to be spread from there over the devices of a run; it scores
            the plain way until `choose_scorer` is asked.

    Raises:
        ModelError: no such model, or a checkpoint that lacks weights.
        ConfigError: settings that do not go together.
    """
    settings = config.model
    device = device or default_device()
    precision, in_copies = arithmetic_of_run(config, device)
    require_trainable_dtype(settings)
    home = torch.device("cpu") if to_spread else device
    opened = open_model(settings, tokenizer, precision, "train" if settings.adapter == "continue" else "merge")
    model = opened.model.to(home)
    if settings.lora is not None:
        model = add_adapter(model, settings.lora, trained_tokens=control_token_ids(tokenizer))
    if config.train.gradient_checkpointing:  # after the adapter, which puts every layer in evaluation mode
        enable_gradient_checkpointing(model)
    head = ValueHead(model.config.get_text_config().hidden_size).to(home) if value_head else None
    policy = Policy(
        model,
        tokenizer,
        score_logits,
        precision,
        opened.identity,
        settings.trains_adapter,
        head,
        base_identity=opened.base_identity,
        base=opened.base,
        holds_embeddings=opened.holds_embeddings,
    )
    if not to_spread:
        policy.choose_scorer()
    if in_copies:
        # What may be written beside an adapter is written as it was loaded, and what follows the policy moves.
        policy.use_copies(keep_frozen=opened.base is None or config.reference.follows)
    return policy


def load_for_scoring(
    settings: ModelSettings, precision: str = "auto", tokenizer: Any = None, *, to_spread: bool = False
) -> Policy:
    """Load any model to score completions with; an adapter stays on its base, unless settings.adapter is merge.

    Args:
        settings: which, and how its weights are held.
        precision: arithmetic: fp32, bf16, or auto as in training.
        tokenizer: the tokenizer of the model that it is compared with; None loads its own.
        to_spread: see `load_policy`.

    Returns:
        A policy in evaluation mode, none of whose weights is trained. On a CPU that computes in bf16 they are held in
        that alone, so what it generates is decoded in it as well.

    Raises:
        ModelError: there is none, or weights are missing.
    """
    device = default_device()
    precision, in_copies = choose_arithmetic(precision, settings, device, whole=not to_spread)
    tokenizer = tokenizer if tokenizer is not None else load_tokenizer(settings)
    opened = open_model(settings, tokenizer, precision, "merge" if settings.adapter == "merge" else "keep")
    policy = Policy(
        opened.model.to(torch.device("cpu") if to_spread else device),
        tokenizer,
        score_logits,
        precision,
        opened.identity,
        opened.base_identity is not None,
        base_identity=opened.base_identity,
        base=opened.base,
    )
    if not to_spread:
        policy.choose_scorer()
    policy.model.requires_grad_(False)
    if in_copies:
        policy.use_copies(keep_frozen=False)
    return policy


def require_trainable_dtype(settings: ModelSettings) -> None:
    """Refuse to train half-precision weights."""
    if not settings.trains_adapter and settings.dtype != "float32":
        raise ConfigError(
            f"model.dtype is {settings.dtype} and all weights are trained; at alignment's learning rates "
            "they would not move. Use train.precision: bf16 for speed, or model.lora to train an adapter on "
            "frozen half-precision weights."
        )
