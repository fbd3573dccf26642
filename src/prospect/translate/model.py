"""Rules that several tools share: the model, its adapter, the reference."""

from __future__ import annotations

from typing import Any

from prospect.translate.rules import Became, Rule, Theirs, listed, needless, rule, same, without


@rule("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps")
def _sync(theirs: Theirs) -> Became:
    if not theirs.on("sync_ref_model"):
        return Became(note="off here too")
    every, mix = theirs.number("ref_model_sync_steps") or 512, theirs.number("ref_model_mixup_alpha") or 0.6
    return Became({"reference.sync.every": round(every), "reference.sync.mix": mix})


@rule("attn_implementation", "attn_impl", "flash_attn")
def attention(theirs: Theirs) -> Became:
    """Return the attention, under Transformers' name."""
    name = theirs.get("attn_implementation", "attn_impl", "flash_attn")
    if name in (None, "auto"):
        return Became(note="Transformers chooses, as by itself")
    return Became({"model.attn_implementation": _ATTENTION.get(str(name), str(name))})


_ATTENTION = {
    **dict.fromkeys(("fa2", "flash_attn", "True"), "flash_attention_2"),
    "fa3": "flash_attention_3",
    "disabled": "eager",
}


def weights_in(name: Any) -> Became:
    """Return what becomes of the type in which weights are loaded."""
    name = str(name).removeprefix("torch.")
    if name not in ("float32", "bfloat16", "float16"):
        return Became(note="frozen weights are held in float32 unless model.dtype says bfloat16")
    return Became({"model.dtype": name}, "of frozen weights; those that are trained are held in float32")


_EVERY_LAYER = ("all", "all-linear", "all_linear")
"""How configs say "every linear layer but the head"."""


def layers(value: Any) -> list[str] | str | None:
    """Return the layers that get an adapter as `model.lora.target_modules` has them."""
    names = [str(name) for name in listed(value)]
    if not names or any(name in _EVERY_LAYER for name in names):
        return None
    return names


@rule("init_weights", "peft_init_lora_weights", "init_lora_weights")
def _first_weights(theirs: Theirs) -> Became:
    usual = theirs.get("init_weights", "peft_init_lora_weights", "init_lora_weights") in (None, True, "true")
    return Became(note="as here: an adapter starts at zero", lost=not usual)


@rule("load_in_4bit", "load_in_8bit", "quantization_bit", "quant_bits")
def _quantization(theirs: Theirs) -> Became:
    bits = theirs.number("quantization_bit", "quant_bits")
    bits = 4 if theirs.on("load_in_4bit") else 8 if theirs.on("load_in_8bit") else bits
    if not bits:
        return Became(note="off here too")
    if bits not in (4, 8):
        return Became(note="not here: 8 or 4 bits", lost=True)
    return Became({"model.quantization": "nf4" if bits == 4 else "int8"}, "under an adapter, by bitsandbytes")


@rule("use_dora", "peft_use_dora", "use_rslora", "peft_use_rslora")
def _adapter_kind(theirs: Theirs) -> Became:
    kinds = ("use_dora", "use_rslora")
    return Became({f"model.lora.{kind}": True for kind in kinds if theirs.on(kind, f"peft_{kind}")})


MODEL: tuple[Rule, ...] = (
    attention,
    same("model.trust_remote_code", "trust_remote_code", note="code of the model's folder runs on your machine"),
    _sync,
    _first_weights,
    needless("kept by row by itself (reference.cache)", "precompute_ref_log_probs precompute_ref_batch_size"),
    _quantization,
    without(
        "not here: frozen weights are held in 8 or 4 bits by bitsandbytes", "quant_method gptq fp8 qat quantization"
    ),
    without("not here: the reference is the quantised model with its adapter off", "ref_model_quantization_bit"),
    needless("only of use with quantised weights", "bnb_* use_bnb_nested_quant quantization_* double_quantization"),
    needless("only of use with quantised weights", "fp8_* hqq_axis qlora_sharded_model_loading model_quantization_*"),
    _adapter_kind,
    same("model.lora.modules_to_save", "modules_to_save", "lora_modules_to_save", "additional_target"),
    without(
        "not translated: model.lora takes it by PEFT's own name",
        "lora_target_parameters target_parameters target_regex lora_bias peft_layer* peft_trainable_token_indices",
    ),
    without("not here", "relora* peft"),
    without("not here: an adapter starts at zero", "pissa_init loftq_config lora_ga_* jagged_restart_*"),
    needless("only of use with pissa_init", "pissa_*"),
    without("not here: one learning rate for all weights", "loraplus_lr_ratio lorap_lr_ratio lr_groups vit_lr"),
    without("not here: one learning rate for all weights", "aligner_lr embedding_lr embedding_lr_scale"),
    needless("only of use with loraplus_lr_ratio", "loraplus_lr_embedding"),
    without("not here: name a folder that holds that revision", "model_revision revision_of_model ref_model_revision"),
    without("not here: the model is taken as it is", "rope_scaling model_init_kwargs model_config model_kwargs"),
    without("not here: the model is taken as it is", "overrides_of_model_* use_pose pose_* max_model_len shift_attn"),
    without("not here: the model is taken as it is", "mixture_of_depths train_from_scratch"),
    without("not here: the model's vocabulary stays as it is", "resize_vocab add_tokens add_special_tokens tokens"),
    without("not here: the model's vocabulary stays as it is", "new_special_tokens_config split_special_tokens"),
    without("not here: the model's vocabulary stays as it is", "special_tokens added_tokens_overrides eot_tokens"),
    without("not here: the model's vocabulary stays as it is", "resize_token_embeddings_to_32x shrink_embeddings"),
    without("not here: the model's vocabulary stays as it is", "new_special_tokens eos_token pad_token"),
    needless("only of use with new tokens", "init_special_tokens mean_resizing_embeddings fix_untrained_tokens"),
    needless(
        "the kind of model is found in its folder", "model_type type_of_model cls_model_config is_*_derived_model"
    ),
    needless("the kind of model is found in its folder", "ref_model_type init_strategy local_repo_path"),
)
