"""Axolotl: the YAML of `axolotl train`. Keys and defaults are those of its schema of 2025 and 2026."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.errors import ConfigError
from prospect.translate.datasets import COLUMNS, entries_places, one_or_all, share_held_out
from prospect.translate.losses import LOSS, beta, loss_of
from prospect.translate.model import MODEL, layers
from prospect.translate.rules import Became, Theirs, Tool, answered, needless, plain, rule, same, without
from prospect.translate.training import NAMED, STARTED, TRAINING, trackers

_ATTENTIONS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
    "flex_attention": "flex_attention",
}
_WARMUP = 0.03
_SERVING = "nothing to set here: of answering, not of training"
_SPEED = "nothing to set here: it changes neither the result nor what is learnt"


def _loss(given: Mapping[str, Any], asked: str) -> str:
    if given.get("process_reward_model"):
        raise ConfigError("process_reward_model: steps of a solution are not scored here. Nearest is reward_model.")
    return loss_of(str(asked or given.get("rl") or ("reward_model" if given.get("reward_model") else "sft")))


def _defaults(given: Mapping[str, Any], loss: str) -> dict[str, Any]:
    weights = {"kto_desirable_weight": 1.0, "kto_undesirable_weight": 1.0} if loss == "kto" else {}
    simpo = {"simpo_gamma": 0.5, "cpo_alpha": 1.0} if loss == "simpo" else {}
    nested = isinstance(given.get("trl"), Mapping) and given["trl"].get("beta") is not None
    scale = {} if nested or loss in ("sft", "bradley_terry") else {"rl_beta": 0.1}
    return {
        **{"micro_batch_size": 1, "gradient_accumulation_steps": 1, "num_epochs": 1, "lr_scheduler": "cosine"},
        **{"sequence_len": 512, "val_set_size": 0.0, "save_total_limit": 4, "save_strategy": "epoch"},
        **({"push_to_hub": True, "hub_private_repo": True} if given.get("hub_model_id") else {}),
        **({} if given.get("warmup_steps") or given.get("warmup_ratio") else {"warmup_ratio": _WARMUP}),
        **weights,
        **simpo,
        **scale,
    }


@rule("micro_batch_size", "gradient_accumulation_steps", "batch_size")
def _batch_size(theirs: Theirs) -> Became:
    """Examples of a step; their batch_size is of one process."""
    micro, steps = theirs.number("micro_batch_size") or 1, theirs.number("gradient_accumulation_steps") or 1
    own = theirs.number("batch_size") or micro * steps
    parts = f"{own:g}" if theirs.given.get("batch_size") else f"{micro:g} x {steps:g}"
    several = "process" if theirs.processes == 1 else "processes"
    note = f"{parts} x {theirs.processes} {several}. Memory is train.max_tokens_per_micro_batch"
    return Became({"train.batch_size": round(own * theirs.processes)}, note)


@rule("datasets")
def _data(theirs: Theirs) -> Became:
    return _places(theirs, "datasets", "data.train")


@rule("test_datasets", "val_set_size")
def _held_out(theirs: Theirs) -> Became:
    if theirs.get("test_datasets"):
        return _places(theirs, "test_datasets", "data.eval")
    return share_held_out(theirs.number("val_set_size"))


def _places(theirs: Theirs, key: str, ours: str) -> Became:
    entries = theirs.get(key)
    if not entries:
        return Became()
    places, missed = entries_places(entries)
    kinds = {str(entry.get("type")) for entry in entries if isinstance(entry, Mapping) and entry.get("type")}
    told = f"type {', '.join(sorted(kinds))}: {COLUMNS}" if kinds else COLUMNS
    note = f"{told}. Not here: {'; '.join(missed)}" if missed else told
    return Became({ours: one_or_all(places)} if places else {}, note, lost=bool(missed))


@rule("adapter", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_linear", "lora_model_dir")
def _adapter(theirs: Theirs) -> Became:
    kind, start = theirs.get("adapter"), theirs.get("lora_model_dir")
    if kind in (None, ""):
        return Became(note="off here too: all weights are trained")
    if kind not in ("lora", "qlora"):
        return Became(note=f"{kind} is not here: all weights are trained, or an adapter (lora)", lost=True)
    if start:
        return Became({"model.name_or_path": str(start), "model.adapter": "continue"}, "it names its base")
    numbers = {"r": theirs.number("lora_r"), "alpha": theirs.number("lora_alpha")}
    targets = None if theirs.on("lora_target_linear") else layers(theirs.get("lora_target_modules"))
    lora: dict[str, Any] = {key: None if value is None else round(value) for key, value in numbers.items()}
    lora |= {"dropout": theirs.number("lora_dropout"), "target_modules": targets}
    settings = {f"model.lora.{key}": value for key, value in plain(lora).items()} or {"model.lora": True}
    return Became(settings)


@rule(*_ATTENTIONS, "attn_implementation")
def _attention(theirs: Theirs) -> Became:
    name = theirs.get("attn_implementation") or next(
        (ours for key, ours in _ATTENTIONS.items() if theirs.on(key)), None
    )
    return Became({"model.attn_implementation": str(name)} if name else {}, "" if name else "Transformers chooses")


@rule("sequence_len", "max_prompt_len")
def _length(theirs: Theirs) -> Became:
    length = theirs.number("sequence_len")
    note = "prompt and completion together; a prompt is never cut here, and a cut completion gets no end token"
    return Became({} if length is None else {"data.max_length": round(length)}, note)


@rule("chat_template", "chat_template_jinja", "default_system_message")
def _template(theirs: Theirs) -> Became:
    system = "; a system prompt stands in the rows" if theirs.on("default_system_message") else ""
    jinja, name = theirs.get("chat_template_jinja"), str(theirs.get("chat_template") or "tokenizer_default")
    if jinja:
        return Became({"data.chat_template": str(jinja)}, system.removeprefix("; "), lost=bool(system))
    own = name == "tokenizer_default"
    note = (
        "the model's own here too"
        if own
        else f"{name}: the model's own is taken; another is a file, data.chat_template"
    )
    return Became(note=note + system, lost=not own or bool(system))


@rule("trl")
def _section(theirs: Theirs) -> Became:
    section = theirs.get("trl")
    section = section if isinstance(section, Mapping) else {}
    others = [key for key, value in section.items() if key != "beta" and value not in (None, False)]
    found = beta.read(Theirs({"beta": section.get("beta")}, loss=theirs.loss))
    note = f"of sampling while it trains, which has a section online: {', '.join(others)}" if others else found.note
    return Became(found.settings, note, lost=bool(others))


@rule("use_wandb", "wandb_project", "use_mlflow", "use_tensorboard", "use_comet")
def _trackers(theirs: Theirs) -> Became:
    wandb = theirs.on("use_wandb") or (theirs.get("use_wandb") is None and theirs.on("wandb_project"))
    asked = [name for name in ("mlflow", "tensorboard", "comet") if theirs.on(f"use_{name}")]
    found = trackers([*(["wandb"] if wandb else []), *asked])
    name = theirs.get("wandb_project")
    return found._replace(note="; ".join(filter(None, [found.note, f"WANDB_PROJECT={name} names it" if name else ""])))


TOOL = Tool(
    name="axolotl",
    title="Axolotl",
    signs=("base_model", "micro_batch_size", "sequence_len", "rl", "num_epochs", "val_set_size", "adapter"),
    loss=_loss,
    defaults=_defaults,
    rules=(
        same("model.name_or_path", "base_model"),
        _adapter,
        _data,
        _held_out,
        _length,
        _template,
        _attention,
        _batch_size,
        _section,
        *LOSS,
        *TRAINING,
        *MODEL,
        _trackers,
        needless("checkpoints are written in steps: train.save_every", "save_first_step"),
        needless("said by rl", "reward_model process_reward_model num_labels"),
        needless(NAMED, "wandb_* mlflow_* hf_mlflow_log_artifacts comet_*"),
        without("not here", "peft_layers_to_transform peft_layers_pattern peft_layer_replication relora*"),
        needless(_SPEED, "lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_on_cpu lora_fan_in_fan_out unsloth_*"),
        needless(_SPEED, "peft_autocast_adapter_dtype peft_ensure_weight_tying flash_attn_* flash_optimum flex_attn_*"),
        needless(
            _SPEED,
            "use_kernels embeddings_skip_upcast experimental_skip_move_to_device gc_steps cut_cross_entropy",
        ),
        needless(_SPEED, "liger_* dpo_use_logits_to_keep profiler_steps* low_cpu_mem_usage llama4_linearized_experts"),
        without("not here: attention of that kind", "xformers_attention s2_attention"),
        without(
            "not here: context and tensor parallelism",
            "sequence_parallel_degree context_parallel_size tensor_parallel_size",
        ),
        needless("of that parallelism", "heads_k_stride ring_attn_func dp_*"),
        without(
            "not here: schedules have no settings of their own",
            "cosine_min_lr_ratio cosine_constant_lr_ratio lr_div_factor",
        ),
        without("not here: schedules have no settings of their own", "lr_quadratic_warmup"),
        without("not here: AdamW has two rates", "adam_beta3 adam_epsilon2 torchdistx_path"),
        needless(
            answered("sample_packing"),
            "sample_packing* eval_sample_packing pad_to_sequence_len multipack_* batch_flattening",
        ),
        needless(answered("sample_packing"), "curriculum_sampling pretrain_multipack_* max_packed_sequence_len"),
        needless(answered("train_on_inputs"), "train_on_inputs roles_to_train train_on_eos"),
        needless(answered("dataset_prepared_path"), "dataset_prepared_path dataset_processes dataset_keep_in_memory"),
        needless(
            answered("dataset_prepared_path"), "skip_prepare_dataset is_preprocess preprocess_iterable streaming*"
        ),
        without(
            "not here: write the rows that you want into a file",
            "dataset_shard_num dataset_shard_idx min_sample_len",
        ),
        without(
            "prospect data inspect finds rows that are there twice; they are trained on as they are",
            "dataset_exact_deduplication",
        ),
        needless("shuffled in every epoch", "shuffle_merged_datasets shuffle_before_merging_datasets"),
        without(
            "not here: pre-training. Nearest is sft, on rows with the column text",
            "pretraining_dataset pretraining_sample_concatenation",
        ),
        needless(
            _SERVING,
            "vllm gradio_* eval_table_size eval_max_new_tokens do_bench_eval bench_* dpo_generate_during_eval",
        ),
        needless("the report has curves of everything", "do_causal_lm_eval eval_causal_lm_metrics"),
        without("not here: stop by hand, with a checkpoint (save_on_stop)", "early_stopping_patience"),
        needless("a loss that is not finite stops the step, and alarms watch the run", "loss_watchdog_*"),
        without(answered("resume_from_checkpoint"), "auto_resume_from_checkpoints"),
        without("not here: the end token is the tokenizer's", "eot_tokens"),
        without("not here: all weights are trained, or an adapter", "unfrozen_parameters lisa_*"),
        needless(answered("tokenizer"), "tokenizer_* processor_type base_model_config model_type type_of_model"),
        needless(STARTED, "world_size ddp use_ray ray_*"),
        needless(
            STARTED,
            "resources_per_worker device device_map",
        ),
        needless("one memory setting: train.max_tokens_per_micro_batch", "max_memory gpu_memory_limit"),
        needless("written whole, for any number of processes", "fsdp_final_state_dict_type"),
        without(
            "not here: plugins of that trainer. A loss of your own is one function: docs/own-loss.md",
            "plugins trainer_cls",
        ),
        needless("data stay here, and a token in the environment (HF_TOKEN)", "push_dataset_to_hub hf_use_auth_token"),
        needless("nothing is read but keys that are known", "strict"),
        needless("counted by the trainer itself", "total_num_tokens total_supervised_tokens axolotl_config_path"),
        without(answered("neftune_noise_alpha"), "noisy_embedding_alpha"),
        without("not here: DPO's loss is of sums over a completion", "dpo_norm_loss"),
        needless("an adapter that is trained on is compared with itself as it was loaded", "rl_adapter_ref_model"),
        needless("merge afterwards: prospect merge RUN -o DIR", "merge_lora merge_method"),
    ),
)
