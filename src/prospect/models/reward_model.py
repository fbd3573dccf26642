"""A reward model: a language model's backbone with one score at the end of a row."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prospect.atomic import atomic_directory, write_text
from prospect.config import Config, ModelSettings
from prospect.data.batch import Batch
from prospect.data.render import end_token_ids
from prospect.errors import ModelError
from prospect.model_card import FILE as CARD
from prospect.model_source import ADAPTER_CONFIG, ModelSource, find_model
from prospect.models.adapter_files import merge, put_on
from prospect.models.adapters import add_adapter, enable_gradient_checkpointing
from prospect.models.device import default_device
from prospect.models.loading import first_line, fit_embeddings, loading_options, weights_identity
from prospect.models.opening import load_causal_lm
from prospect.models.policy import Policy, require_trainable_dtype
from prospect.models.precision import arithmetic_of_run

PAD_TOKEN = "<|pad|>"  # noqa: S105  a token of text, no secret


@dataclass
class RewardModel(Policy):
    """A sequence-classification model with one label; it gives a score per row where a policy gives log-probs."""

    @property
    def loads_with(self) -> str:
        """An adapter is merged when it is saved."""
        return "AutoModelForSequenceClassification"

    def logps(self, batch: Batch) -> torch.Tensor:
        """Score: float32 (N,), of prompt and completion together, read at the last token.

        It is the model's own forward pass, which finds the last token by the padding id: so the saved model gives the
        same score wherever it is loaded.
        """
        batch = batch.to(self.device)
        ids = batch.ids.masked_fill(~batch.attention, self.model.config.pad_token_id)
        with self.arithmetic():
            return self.model(input_ids=ids, attention_mask=batch.attention.long()).logits[:, 0].float()

    def choose_scorer(self) -> None:
        """Nothing to choose: rows have scores, and tokens no log-probs."""

    def save(self, path: Path, card: str) -> None:
        """Write a whole sequence-classification model; an adapter is merged into it first."""
        model = copy.deepcopy(self.model).merge_and_unload() if self.has_adapter else self.model
        with atomic_directory(path) as temporary:
            model.save_pretrained(temporary, safe_serialization=True)
            self.tokenizer.save_pretrained(temporary)
            write_text(temporary / CARD, card)


def load_reward_model(
    config: Config, tokenizer: Any, device: torch.device | None = None, *, to_spread: bool = False
) -> RewardModel:
    """Load the backbone of a language model, or a reward model, ready to train.

    A new score layer starts at 0: before the first step all completions are worth the same. The arguments are those
    of `load_policy`.

    Raises:
        ModelError: no such model, one whose family has no sequence classification, or one with several labels.
        ConfigError: settings that do not go together.
    """
    settings = config.model
    device = device or default_device()
    precision, in_copies = arithmetic_of_run(config, device)
    require_trainable_dtype(settings)
    model = load_classifier(settings, new_score=True).to(torch.device("cpu") if to_spread else device)
    _choose_padding(model, tokenizer)
    identity = weights_identity(model, precision)
    if settings.lora is not None:
        model = add_adapter(model, settings.lora, task="SEQ_CLS")
    if config.train.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    policy = RewardModel(model, tokenizer, _no_log_probs, precision, identity, settings.lora is not None)
    if in_copies:
        policy.use_copies(keep_frozen=True)  # an adapter is merged where it is saved
    return policy


def load_classifier(settings: ModelSettings, *, new_score: bool) -> Any:
    """Load a sequence-classification model with one label, from any model that can be named; adapters are merged.

    Args:
        settings: which, and how its weights are held.
        new_score: whether a language model gets a score layer, which starts at 0; else it is refused.

    Raises:
        ModelError: no such model, one whose family has no sequence classification, or one with several labels.
    """
    source = find_model(settings.name_or_path)
    if source.base is not None and source.read(ADAPTER_CONFIG).get("task_type") == "SEQ_CLS":
        return merge(put_on(_read_classifier(source.base, settings, new_score=True), source, task="SEQ_CLS"))
    return _read_classifier(source, settings, new_score=new_score)


def _read_classifier(source: ModelSource, settings: ModelSettings, *, new_score: bool) -> Any:
    from transformers import AutoModelForSequenceClassification

    one_label = {"num_labels": 1, "problem_type": "regression"} if new_score else {}
    try:
        if source.kind != "model":
            return _with_score(load_causal_lm(source, settings), source, new_score=new_score)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            source.place, **one_label, **loading_options(settings)
        )
    except ModelError:
        raise
    except Exception as error:  # Transformers raises half a dozen kinds here
        raise ModelError(
            f"{source.name}: no reward model could be made of it ({first_line(error)}). Its family must have sequence "
            "classification in Transformers, and a reward model has one label and safetensors weights."
        ) from error
    missing = sorted(info["missing_keys"])
    if any(not key.startswith("score.") for key in missing):
        raise ModelError(
            f"{source.name}: {len(missing)} weights are missing from the checkpoint, {missing[0]} for one."
        )
    if missing and not new_score:
        raise _no_score(source)
    if missing:
        torch.nn.init.zeros_(model.score.weight)
    if model.config.num_labels != 1:
        raise ModelError(
            f"{source.name}: it has {model.config.num_labels} labels; expected one, the score of a completion."
        )
    return model.eval()


def _with_score(causal: Any, source: ModelSource, *, new_score: bool) -> Any:
    """Return the backbone of a language model under a new score layer."""
    from transformers import AutoModelForSequenceClassification

    if not new_score:
        raise _no_score(source)
    config = copy.deepcopy(causal.config)
    config.num_labels, config.problem_type = 1, "regression"
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, dtype=causal.dtype)
    setattr(model, model.base_model_prefix, causal.base_model)
    model.score.to_empty(device=causal.device)
    torch.nn.init.zeros_(model.score.weight)
    return model.eval()


def _no_score(source: ModelSource) -> ModelError:
    return ModelError(
        f"{source.name}: score.weight is missing from the checkpoint, so its scores would be random. Is it a language "
        "model? Train a reward model on it first (loss bradley_terry), or judge by lm:MODEL."
    )


def _choose_padding(model: Any, tokenizer: Any) -> None:
    """Give model and tokenizer a padding token that never ends a row.

    The model reads its score at the last token that is no padding. Where padding is the end token, as is common, it
    would read it one token too early.
    """
    ends = set(end_token_ids(tokenizer))
    choices = (tokenizer.pad_token, tokenizer.bos_token, tokenizer.unk_token)
    free = [token for token in choices if token is not None and tokenizer.convert_tokens_to_ids(token) not in ends]
    if free:
        tokenizer.pad_token = free[0]
    else:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        fit_embeddings(model, tokenizer)
    tokenizer.padding_side = "right"
    model.config.pad_token_id = tokenizer.pad_token_id


def _no_log_probs(*_: Any) -> Any:
    raise TypeError("a reward model has scores of rows and no log-probs of tokens")
