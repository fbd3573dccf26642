"""Other trainers' words -> ours, so that a recipe or a command that is carried over fails with the answer.

The words are those of TRL, LLaMA-Factory, Axolotl, ms-swift, HALOs and Unsloth: of their recipes and command lines, of
their losses, and of their commands. What has no counterpart here says what to do instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_BUDGET = "train.max_tokens_per_micro_batch"
_LORA = "model.lora: true (leave it out to train all weights)"
_CHAT_TEMPLATE = "data.chat_template (by itself the one that comes with the model)"

# Their key -> ours; `key: value` where a value is meant too, and what is to be known in brackets.
PEERS_NAMES: Mapping[str, str] = {
    # steps and memory
    "per_device_train_batch_size": f"train.batch_size (examples per step) and {_BUDGET} (memory)",
    "train_batch_size": "train.batch_size",
    "global_batch_size": "train.batch_size",
    "per_device_eval_batch_size": _BUDGET,
    "eval_batch_size": _BUDGET,
    "micro_batch_size": _BUDGET,
    "gradient_accumulation_steps": "train.batch_size (it is the whole step, and is cut into micro-batches by itself)",
    "num_train_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "n_epochs": "train.epochs",
    "lr": "train.learning_rate",
    "lr_scheduler_type": "train.scheduler",
    "lr_scheduler": "train.scheduler",
    "warmup_ratio": "train.warmup (below 1 it is a share)",
    "warmup_steps": "train.warmup (from 1 on it is a number of steps)",
    "adam_beta1": "train.adam_betas",
    "adam_beta2": "train.adam_betas",
    "gradient_clipping": "train.max_grad_norm",
    "data_seed": "train.seed",
    "logging_steps": "train.log_every",
    "eval_steps": "train.eval_every",
    "eval_strategy": "train.eval_every",
    "evaluation_strategy": "train.eval_every",
    "save_steps": "train.save_every",
    "save_strategy": "train.save_every",
    "saves_per_epoch": "train.save_every",
    "evals_per_epoch": "train.eval_every",
    "save_total_limit": "train.keep_checkpoints",
    "bf16": "train.precision: bf16",
    "fp16": "train.precision: bf16",
    "mixed_precision": "train.precision",
    "torch_compile": "train.compile",
    "deepspeed": "train.parallel: fsdp",
    "fsdp": "train.parallel: fsdp",
    "fsdp_config": "train.parallel: fsdp",
    "fsdp_version": "train.parallel: fsdp",
    "report_to": "train.trackers",
    "use_wandb": "train.trackers",
    "wandb_project": "train.trackers (the environment variable WANDB_PROJECT names the project)",
    "output_dir": "output",
    # data
    "dataset": "data.train",
    "datasets": "data.train",
    "dataset_name": "data.train",
    "train_dataset": "data.train",
    "train_file": "data.train",
    "eval_dataset": "data.eval",
    "val_dataset": "data.eval",
    "test_datasets": "data.eval",
    "val_size": "data.eval",
    "val_set_size": "data.eval",
    "split_dataset_ratio": "data.eval",
    "cutoff_len": "data.max_length",
    "sequence_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "max_seq_len": "data.max_length",
    "max_prompt_length": "data.max_length (prompt and completion together)",
    "template": _CHAT_TEMPLATE,
    "chat_template_path": _CHAT_TEMPLATE,
    "chat_template_jinja": _CHAT_TEMPLATE,
    "chat_template_kwargs": "data.template_arguments",
    "enable_thinking": "data.template_arguments",
    # the loss
    "rl": "loss.name",
    "stage": "loss.name",
    "rlhf_type": "loss.name",
    "loss_type": "loss.name",
    "pref_loss": "loss.name",
    "rl_beta": "loss.beta",
    "pref_beta": "loss.beta",
    "dpo_beta": "loss.beta",
    "beta": "loss.beta",
    "desirable_weight": "loss.desirable_weight",
    "undesirable_weight": "loss.undesirable_weight",
    "kto_desirable_weight": "loss.desirable_weight",
    "kto_undesirable_weight": "loss.undesirable_weight",
    "kto_chosen_weight": "loss.desirable_weight",
    "kto_rejected_weight": "loss.undesirable_weight",
    "dpo_label_smoothing": "loss.label_smoothing",
    "simpo_gamma": "loss.gamma",
    "cpo_alpha": "loss.alpha",
    "pref_ftx": "loss.sft_weight",
    "rpo_alpha": "loss.sft_weight",
    # sampling while it trains
    "num_generations": "online.samples_per_prompt",
    "rloo_k": "online.samples_per_prompt",
    "reward_funcs": "online.judge (FILE.py:NAME of a verifier is verifier:python:FILE.py:NAME)",
    "reward_model": "online.judge: reward",
    "reward_model_path": "online.judge: reward",
    "num_iterations": "online.epochs",
    "num_ppo_epochs": "online.epochs",
    "ppo_epochs": "online.epochs",
    "max_new_tokens": "online.max_new_tokens",
    "response_length": "online.max_new_tokens",
    "max_completion_length": "data.max_length (prompt and completion together; sampled ones: online.max_new_tokens)",
    "scale_rewards": "online.scale",
    "whiten_advantages": "online.whiten",
    "missing_eos_penalty": "online.penalty",
    "mask_truncated_completions": "online.missing_end: drop",
    "kl_coef": "online.kl",
    "init_kl_coef": "online.kl",
    "target_kl": "online.kl_target",
    "epsilon": "loss.clip_low",
    "epsilon_high": "loss.clip_high",
    "cliprange": "loss.clip_low",
    "cliprange_value": "loss.value_clip",
    "vf_coef": "loss.value_weight",
    # the model and its reference
    "model_name_or_path": "model.name_or_path",
    "model_name": "model.name_or_path",
    "model_id": "model.name_or_path",
    "base_model": "model.name_or_path",
    "adapter_name_or_path": "model.name_or_path (an adapter's folder)",
    "lora_model_dir": "model.name_or_path (an adapter's folder)",
    "optim": "train.optimizer",
    "optimizer": "train.optimizer",
    "load_in_4bit": "model.quantization: nf4",
    "load_in_8bit": "model.quantization: int8",
    "quantization_bit": "model.quantization (int8 or nf4)",
    "quant_bits": "model.quantization (int8 or nf4)",
    "torch_dtype": "model.dtype",
    "attn_impl": "model.attn_implementation",
    "flash_attn": "model.attn_implementation: flash_attention_2",
    "flash_attention": "model.attn_implementation: flash_attention_2",
    "use_peft": "model.lora: true",
    "use_lora": "model.lora: true",
    "peft_config": "model.lora",
    "adapter": _LORA,
    "finetuning_type": _LORA,
    "train_type": _LORA,
    "tuner_type": _LORA,
    "lora_r": "model.lora.r",
    "lora_rank": "model.lora.r",
    "lora_alpha": "model.lora.alpha",
    "lora_dropout": "model.lora.dropout",
    "lora_target": "model.lora.target_modules",
    "lora_target_modules": "model.lora.target_modules",
    "ref_model": "reference.name_or_path (by itself the model that training starts from)",
    "ref_model_name_or_path": "reference.name_or_path (by itself the model that training starts from)",
    "precompute_ref_log_probs": "reference.cache",
    "sync_ref_model": "reference.sync",
    "hub_model_id": "push_to_hub: OWNER/NAME",
    "hub_private_repo": "push_to_hub.private (true by itself)",
    "ref_model_sync_steps": "reference.sync.every",
    "ref_model_mixup_alpha": "reference.sync.mix",
}

_PADDING = "not needed here: the rows of a step are sorted by length and cut by tokens, so there is little padding"
_COMPLETIONS = "nothing to set here: only completions are scored"
_READING = "nothing to set here: files are read and encoded once, before the first step"
_SERVED = "not here: what is sampled while it trains (online) comes from the policy in memory"
_TRAINING = "nothing to set here: prospect train trains, and evaluates where data.eval is set"
_LOGITS = "nothing to set here: logits of the whole vocabulary are never held"

# Their key -> why there is none here, and what to do.
WITHOUT_COUNTERPART: Mapping[str, str] = {
    **dict.fromkeys(("packing", "sample_packing", "neat_packing", "eval_sample_packing", "padding_free"), _PADDING),
    **dict.fromkeys(("pad_to_sequence_len", "group_by_length"), _PADDING),
    "optim_args": "not here: train.adam_betas and train.weight_decay are all that can be set of an optimizer",
    **dict.fromkeys(("train_on_inputs", "train_on_prompt", "mask_history", "assistant_only_loss"), _COMPLETIONS),
    **dict.fromkeys(("completion_only_loss", "roles_to_train"), _COMPLETIONS),
    **dict.fromkeys(("dataset_num_proc", "preprocessing_num_workers", "dataloader_num_workers"), _READING),
    **dict.fromkeys(("remove_unused_columns", "overwrite_cache", "dataset_prepared_path"), _READING),
    **dict.fromkeys(("use_vllm", "vllm_mode"), _SERVED),
    **dict.fromkeys(("use_liger_kernel", "liger_kernel", "use_unsloth"), _LOGITS),
    **dict.fromkeys(("do_train", "do_eval"), _TRAINING),
    "overwrite_output_dir": "not here: a run is never overwritten. Choose another output, or remove the folder",
    "resume_from_checkpoint": "no key here: prospect train RECIPE --resume goes on from the last checkpoint",
    "neftune_noise_alpha": "not here. Leave it out",
    "hub_token": "never in a recipe: hf auth login, or HF_TOKEN in the environment",
    "tokenizer": "nothing to set here: the tokenizer is the model's",
    "tokenizer_name_or_path": "nothing to set here: the tokenizer is the model's",
}

_SAMPLES = (
    "there is no such method here. Nearest are the losses that sample while they train, grpo, ppo and rloo, and dpo "
    "with an online section in the recipe"
)

# Their loss -> ours, in lower case.
PEERS_LOSSES: Mapping[str, str] = {
    "sigmoid": "dpo",
    "robust": "robust_dpo",
    "kto_pair": "kto",
    "bco_unpaired": "bco",
    "rm": "bradley_terry",
    "reward": "bradley_terry",
    "reward_modeling": "bradley_terry",
    "slic_hf": "slic",
    "dpo_positive": "dpop",
    "finetune": "sft",
    "full": "sft",
    "reinforce": "rloo",
    "bnpo": "grpo",
}
LOSSES_WITHOUT_COUNTERPART: Mapping[str, str] = {
    **dict.fromkeys(("nash_md", "xpo"), _SAMPLES),
    "online_dpo": "there is no such loss here: it is dpo with an online section in the recipe",
    "online_kto": "there is no such loss here: it is kto with an online section in the recipe",
    "dapo": "there is no such loss here: it is grpo with clip_high: 0.28",
    "dr_grpo": "there is no such loss here: it is grpo with online.scale: none and online.reduction: length",
    **dict.fromkeys(("aot", "aot_pair", "aot_unpaired"), "there is no such loss here. Nearest is dpo, on pairs"),
    "gkd": "there is no such method here: a teacher is followed by its completions alone. Nearest is sft, on those",
    "pt": "there is no such method here. Nearest is sft, on rows with the column text",
}

_SERVE = "nothing: serve the folder model/ of a run with vLLM, llama.cpp or Transformers"
_TRAIN = "prospect train {loss} --model MODEL --data FILE"
# Their command -> ours.
PEERS_COMMANDS: Mapping[str, str] = {
    **{loss: _TRAIN.format(loss=loss) for loss in ("kto", "dpo", "sft", "orpo", "simpo", "cpo", "ipo", "bco")},
    **{name: _TRAIN.format(loss="bradley_terry") for name in ("rm", "reward")},
    **dict.fromkeys(("rlhf", "finetune", "fine-tune"), _TRAIN.format(loss="kto")),
    **dict.fromkeys(("merge-lora", "merge_lora", "merge_adapter"), "prospect merge RUN_OR_ADAPTER -o DIR"),
    **dict.fromkeys(("infer", "inference", "predict", "sample"), "prospect generate MODEL --prompts FILE -o FILE"),
    **dict.fromkeys(("eval", "test"), "prospect evaluate MODEL --data FILE, or prospect benchmark MODEL --tasks A,B"),
    **dict.fromkeys(("lm_eval", "lm-eval", "benchmarks"), "prospect benchmark MODEL --tasks A,B"),
    **dict.fromkeys(("judge", "winrate", "win-rate"), "prospect contest MODEL --against OTHER --judge J"),
    **dict.fromkeys(("chat", "deploy", "api", "webchat", "webui", "web-ui"), "prospect serve --model RUN_OR_MODEL"),
    **dict.fromkeys(("preprocess", "dataset"), "prospect train RECIPE --dry-run, which shows what would be trained on"),
}

_KEY = re.compile(r"(?P<key>[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)(?:: (?P<value>\w+))?")


def explain_key(name: str) -> str | None:
    """Return what another trainer's key is here, as the end of a sentence; None for a word that is not theirs."""
    return f"here it is {PEERS_NAMES[name]}" if name in PEERS_NAMES else WITHOUT_COUNTERPART.get(name)


def explain_loss(name: str) -> str | None:
    """Return what another trainer's loss is here, as the end of a sentence; None for a name that is not theirs."""
    name = name.lower().replace("-", "_")
    return f"here it is {PEERS_LOSSES[name]}" if name in PEERS_LOSSES else LOSSES_WITHOUT_COUNTERPART.get(name)


def setting_of(name: str) -> tuple[str, str] | None:
    """Return our key for another trainer's, and the value that is meant (VALUE where it is theirs to say)."""
    found = _KEY.match(PEERS_NAMES[name]) if name in PEERS_NAMES else None
    return None if found is None else (found["key"], found["value"] or "VALUE")
