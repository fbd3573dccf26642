"""Existing adapters: loaded onto their base, merged into it, compared with one another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from prospect.atomic import atomic_directory
from prospect.errors import ModelError
from prospect.model_source import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ModelSource, find_file
from prospect.models.adapters import quiet_peft
from prospect.models.loading import first_line

# Settings of an adapter that describe its origin or training and not what it computes.
_NOT_ARITHMETIC = {
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "init_lora_weights",
    "peft_version",
    "revision",
    "task_type",
    "auto_mapping",
}
# Merging adds in another order than an adapter does: half a digit more than the type's own rounding, of the largest
# logit, over a few dozen layers. A merge that went wrong is off by orders of magnitude more.
_ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


def put_on(base: Any, source: ModelSource, *, train: bool = False, task: str = "CAUSAL_LM") -> Any:
    """Return a model with the adapter on it, in evaluation mode; its dropout is off.

    Args:
        base: what it sits on, with an embedding for every token of the adapter.
        source: the adapter.
        train: whether its weights get gradients.
        task: of the model, as PEFT names it.

    Raises:
        ModelError: the adapter is broken, does not fit the model, is of another task, or of a kind that adds tokens.
    """
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(source.place)
        if config.is_prompt_learning:
            raise ModelError(
                f"{source.name}: a {config.peft_type.value} adapter adds tokens of its own to every row; only adapters "
                "of weights, such as LoRA, can be used."
            )
        if config.task_type is not None and config.task_type != task:
            raise ModelError(f"{source.name}: an adapter for {config.task_type}; expected one for {task}.")
        with quiet_peft():
            return PeftModel.from_pretrained(base, source.place, config=config, is_trainable=train).eval()
    except ModelError:
        raise
    except Exception as error:  # PEFT and safetensors raise half a dozen kinds here
        raise ModelError(
            f"{source.name}: the adapter could not be put on {source.base} ({first_line(error)}). Its files must be "
            "whole, and the model under it the one that it was trained on."
        ) from error


def put_shape_on(base: Any, source: ModelSource) -> Any:
    """Return a model with an adapter of the same shape as a saved one, to be trained; its weights are not read."""
    from peft import PeftConfig, get_peft_model

    config = PeftConfig.from_pretrained(source.place)
    config.inference_mode = False
    with quiet_peft():
        return get_peft_model(base, config).eval()


def merge(model: Any) -> Any:
    """Return the model under an adapter with the adapter folded in; the arguments' own weights are changed.

    Where a matrix is used twice (a head tied to the embeddings) and the adapter changes one of its uses, the two are
    parted first, so that the other stays what it was.

    Raises:
        ModelError: the merged model gives other logits than the adapter did.
    """
    before = _logits(model)
    _untie(model)
    config = model.config
    try:
        with quiet_peft():
            merged = model.merge_and_unload().eval().requires_grad_(True)
    except (RuntimeError, NotImplementedError) as error:  # PEFT has options of LoRA that no weight can hold
        raise ModelError(
            f"the adapter could not be merged ({first_line(error)}). Keep it as an adapter (model.adapter: continue)."
        ) from error
    _tie_as_it_is(merged, config)
    after = _logits(merged)
    off = float((after - before).abs().max() / before.abs().max())
    if not off <= _ROUNDING[merged.dtype]:
        raise ModelError(
            f"the adapter could not be merged: logits differ by {off:.2g} of the largest one. Keep it as an adapter "
            "(model.adapter: continue)."
        )
    return merged


def write_base(model: Any, tokenizer: Any, path: Path) -> None:
    """Write what is under an adapter as a plain model of Transformers, with the tokenizer, all or nothing.

    Raises:
        ModelError: the adapter hides a weight of what is under it.
    """
    base = model.get_base_model()
    with torch.device("meta"):
        plain = type(base)(base.config)
    found = {_plain_name(name): tensor for name, tensor in base.state_dict().items()}
    weights = {name: found[name] for name in plain.state_dict() if name in found}
    hidden = sorted(plain.state_dict().keys() - weights.keys())
    if hidden:
        raise ModelError(f"{path}: what the adapter sits on could not be written: its weight {hidden[0]} is hidden.")
    plain.generation_config = base.generation_config
    with atomic_directory(path) as temporary:
        plain.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)


def _plain_name(name: str) -> str:
    """Return a weight's name in the model without its adapter."""
    for wrapper in (".base_layer", ".original_module", ".token_adapter"):
        name = name.replace(wrapper, "")
    return name


def adapter_identity(model: Any, base_identity: str, *, with_embeddings: bool) -> str:
    """Hash an adapter's weights and settings together with its base's identity.

    Args:
        model: wrapped by PEFT.
        base_identity: of what is under it.
        with_embeddings: whether the adapter brought whole embeddings along.
    """
    from peft import get_peft_model_state_dict

    settings = {k: v for k, v in model.peft_config["default"].to_dict().items() if k not in _NOT_ARITHMETIC}
    text = json.dumps([base_identity, settings], sort_keys=True, default=lambda v: sorted(v, key=str))
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    with quiet_peft():
        weights = get_peft_model_state_dict(model, save_embedding_layers=with_embeddings)
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def holds_embeddings(source: ModelSource) -> bool:
    """Whether an adapter's file holds whole embeddings, as PEFT writes them where tokens were added."""
    path = find_file(source.place, ADAPTER_WEIGHTS)
    if path is None or source.read(ADAPTER_CONFIG).get("modules_to_save"):  # by which they are kept anyway
        return False
    with safe_open(path, "pt") as file:
        return any(name.endswith(("embed_tokens.weight", "lm_head.weight", "wte.weight")) for name in file.keys())  # noqa: SIM118


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    """(1, 8, V) logits of a few tokens, or a classifier's (1, labels)."""
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(8, device=next(model.parameters()).device) * 7919 % vocabulary).reshape(1, 8)
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float()


def _untie(model: Any) -> None:
    """Give an adapted layer a matrix of its own where another layer uses the same one."""
    uses: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    for module in model.modules():
        if hasattr(module, "get_delta_weight") and uses.get(id(module.base_layer.weight), 1) > 1:
            shared = module.base_layer.weight
            module.base_layer.weight = torch.nn.Parameter(shared.detach().clone(), requires_grad=shared.requires_grad)


def _tie_as_it_is(model: Any, config: Any) -> None:
    """Say in the configuration whether head and embeddings are still one matrix: else they are tied when loaded."""
    words, head = model.get_input_embeddings(), getattr(model, "get_output_embeddings", lambda: None)()
    if head is None or not config.get_text_config().tie_word_embeddings or head.weight is words.weight:
        return
    if torch.equal(head.weight, words.weight):
        model.tie_weights()
        return
    for each in {id(c): c for c in (config, config.get_text_config())}.values():
        each.tie_word_embeddings = False
