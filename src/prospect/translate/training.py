"""Rules that several tools share: those of Transformers' TrainingArguments, under whatever name a tool has them."""

from __future__ import annotations

import math

from prospect.translate.rules import Became, Rule, Theirs, answered, listed, needless, rule, same, without

# Reasons that several tools share.
OPTIMIZERS = "not here: AdamW, Adafactor, AdamW in 8 bits (train.optimizer)"
NAMED = "a run is named by its folder, output; projects are named in the tracker's environment (WANDB_PROJECT)"
STARTED = "nothing to set here: how processes are started is torchrun's to say"
_SCHEDULERS = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}
_NEAREST = {
    "cosine_with_restarts": "cosine",
    "cosine_with_min_lr": "cosine",
    "cosine_warmup_with_min_lr": "cosine",
    "inverse_sqrt": "constant",
    "warmup_stable_decay": "constant",
}
_NO = ("no", False)  # which is what YAML makes of no without quotes
_TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")


@rule("per_device_train_batch_size", "per_gpu_train_batch_size", "micro_batch_size", "gradient_accumulation_steps")
def batch_size(theirs: Theirs) -> Became:
    """Examples of a step: those of a device x accumulation x processes."""
    device = theirs.number("per_device_train_batch_size", "per_gpu_train_batch_size", "micro_batch_size") or 1
    steps = theirs.number("gradient_accumulation_steps")
    if steps is None:  # ms-swift's: as many as make 16
        steps = math.ceil(16 / (device * theirs.processes))
    several = "process" if theirs.processes == 1 else "processes"
    note = f"{device:g} x {steps:g} x {theirs.processes} {several}. Memory is train.max_tokens_per_micro_batch"
    return Became({"train.batch_size": round(device * steps * theirs.processes)}, note)


@rule("num_train_epochs", "num_epochs", "max_steps")
def epochs(theirs: Theirs) -> Became:
    """Epochs, or steps in place of them."""
    steps, number = theirs.number("max_steps") or 0, theirs.number("num_train_epochs", "num_epochs")
    if steps > 0:
        return Became({"train.max_steps": round(steps)})
    if number is None:
        return Became()
    note = "" if number == round(number) else "whole epochs only: rounded up; train.max_steps says it more finely"
    return Became({"train.epochs": max(1, math.ceil(number))}, note)


@rule("lr_scheduler_type", "lr_scheduler", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio")
def scheduler(theirs: Theirs) -> Became:
    """Return the schedule with its warm-up."""
    name = str(theirs.get("lr_scheduler_type", "lr_scheduler") or "linear")
    notes = []
    if name not in _SCHEDULERS:
        notes.append(f"{name} is not here; {_NEAREST.get(name, 'linear')} is near")
    if theirs.on("lr_scheduler_kwargs"):
        notes.append("schedules have no settings of their own here")
    warmup = theirs.number("warmup_steps") or theirs.number("warmup_ratio") or 0.0
    if name == "constant" and warmup:
        warmup = 0.0
        notes.append("constant has no warm-up there")
    warmup = round(warmup) if warmup >= 1 else warmup
    ours = _SCHEDULERS.get(name, _NEAREST.get(name, "linear"))
    return Became({"train.scheduler": ours, "train.warmup": warmup}, "; ".join(notes), lost=name not in _SCHEDULERS)


@rule("adam_beta1", "adam_beta2")
def adam_betas(theirs: Theirs) -> Became:
    """AdamW's rates."""
    first, second = theirs.number("adam_beta1"), theirs.number("adam_beta2")
    return Became({"train.adam_betas": [0.9 if first is None else first, 0.999 if second is None else second]})


@rule("adam_epsilon")
def adam_epsilon(theirs: Theirs) -> Became:
    """AdamW's small number."""
    usual = theirs.number("adam_epsilon") in (None, 1e-8)
    return Became(note="that of AdamW here" if usual else "it is always 1e-8 here", lost=not usual)


@rule("optim", "optimizer")
def optimizer(theirs: Theirs) -> Became:
    """AdamW, its kin, or Adafactor."""
    name = str(theirs.get("optim", "optimizer") or "adamw_torch")
    if name.startswith(("adamw_torch", "adamw_hf", "adamw_apex")):
        return Became(note="AdamW here too")
    if name in _OPTIMIZERS:
        return Became({"train.optimizer": _OPTIMIZERS[name]})
    if "adamw" in name:
        return Became(note="AdamW, with its state in 32 bits: the same method at more memory")
    return Became(note=OPTIMIZERS, lost=True)


_OPTIMIZERS = {
    "adafactor": "adafactor",
    **dict.fromkeys(("adamw_8bit", "adamw_bnb_8bit"), "adamw_8bit"),
    "paged_adamw_8bit": "paged_adamw_8bit",
}


@rule("max_grad_norm", "gradient_clipping")
def max_grad_norm(theirs: Theirs) -> Became:
    """Clipping of gradients; 0 turns it off there."""
    value = theirs.number("max_grad_norm", "gradient_clipping")
    if value is None:
        return Became()
    return Became({"train.max_grad_norm": value or math.inf}, "" if value else "0 does not clip there")


@rule("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "pure_bf16", "bfloat16", "float16", "float32")
def precision(theirs: Theirs) -> Became:
    """Arithmetic of the passes."""
    weights = "" if not theirs.on("pure_bf16", "bfloat16", "float16") else "; weights that are trained stay in float32"
    if theirs.on("fp16") or theirs.on("float16"):
        return Became(
            {"train.precision": "bf16"}, f"fp16 is not here; bf16 has its speed without a loss scale{weights}"
        )
    if theirs.get("bf16") == "auto" or theirs.get("bf16", "pure_bf16", "bfloat16", "float32") is None:
        return Became({"train.precision": "auto"}, "bf16 where the GPU has it")
    half = theirs.on("bf16") or theirs.on("pure_bf16") or theirs.on("bfloat16")
    return Became({"train.precision": "bf16" if half else "fp32"}, weights.removeprefix("; "))


@rule("gradient_checkpointing", "disable_gradient_checkpointing", "activation_checkpointing")
def checkpointing(theirs: Theirs) -> Became:
    """Activations that are computed again."""
    disabled = theirs.get("disable_gradient_checkpointing")
    on = not disabled if disabled is not None else theirs.on("gradient_checkpointing", "activation_checkpointing")
    return Became({"train.gradient_checkpointing": bool(on)}, "memory and speed, not the result")


@rule("logging_steps", "logging_strategy", "logging_first_step")
def log_every(theirs: Theirs) -> Became:
    """Lines of metrics."""
    if theirs.get("logging_strategy") in (*_NO, "epoch"):
        return Became(note="metrics are always written by step: train.log_every")
    steps = theirs.number("logging_steps")
    if steps is None or steps < 1:
        return Became(note="every step, as by itself" if steps is None else "a share of the run there; every step here")
    return Became({"train.log_every": round(steps)})


@rule("eval_strategy", "evaluation_strategy", "eval_steps", "evals_per_epoch", "eval_on_start", "eval_delay")
def eval_every(theirs: Theirs) -> Became:
    """How often held-out feedback is looked at."""
    strategy, steps = theirs.get("eval_strategy", "evaluation_strategy"), theirs.number("eval_steps")
    if strategy in _NO:
        return Became(note="evaluated before the first and after the last step, where data.eval is set")
    if strategy == "epoch" or theirs.get("evals_per_epoch") or (steps is not None and steps < 1):
        note = "in steps here: train.eval_every; by itself before the first and after the last step"
        return Became(note=note, lost=True)
    return Became({} if not steps else {"train.eval_every": round(steps)})


@rule("save_strategy", "save_steps", "saves_per_epoch")
def save_every(theirs: Theirs) -> Became:
    """How often a checkpoint is written."""
    strategy, steps = theirs.get("save_strategy"), theirs.number("save_steps")
    if strategy in _NO:
        return Became({"train.save_every": None}, "the finished model is always written")
    if strategy in ("epoch", "best") or theirs.get("saves_per_epoch") or (steps is not None and steps < 1):
        note = "in steps here: train.save_every, 200 by itself; the finished model is always written"
        return Became(note=note, lost=True)
    return Became({} if not steps else {"train.save_every": round(steps)})


@rule("save_total_limit")
def keep_checkpoints(theirs: Theirs) -> Became:
    """How many checkpoints stay."""
    limit = theirs.number("save_total_limit")
    return Became({} if not limit else {"train.keep_checkpoints": max(1, round(limit))})


@rule("seed", "data_seed")
def seed(theirs: Theirs) -> Became:
    """One seed for everything."""
    value = theirs.number("seed", "data_seed")
    note = "one seed here, of shuffling and sampling too" if theirs.get("data_seed") is not None else ""
    return Became({} if value is None else {"train.seed": max(0, round(value))}, note)


def trackers(asked: list[str]) -> Became:
    """Return the trackers that are here, of those that are asked for."""
    wanted = [name for name in map(str, asked) if name not in ("none", "all")]
    known = [name for name in wanted if name in _TRACKERS]
    strange = [name for name in wanted if name not in _TRACKERS]
    notes = [f"{', '.join(strange)} is not here"] if strange else []
    if "all" in asked:
        notes.append("name those you want in train.trackers")
    return Became({"train.trackers": known} if known or not notes else {}, "; ".join(notes))


report_to = Rule(("report_to",), lambda theirs: trackers(listed(theirs.get("report_to"))))


def _sharded(theirs: Theirs) -> Became:
    asked = theirs.get("deepspeed") or theirs.get("fsdp") or theirs.get("fsdp_config")
    if not asked:
        return Became(note="off here too")
    note = "under torchrun; weights, gradients and optimizer are spread, nothing is offloaded to the CPU"
    return Became({"train.parallel": "fsdp"}, note)


sharding = Rule(
    ("deepspeed", "fsdp", "fsdp_config", "fsdp_version", "fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap"),
    _sharded,
)

_SPEED = "nothing to set here: it changes neither the result nor what is learnt"
_MACHINE = "nothing to set here: how processes find each other is torchrun's, accelerate's or srun's to say"
_WRITTEN = "nothing to set here: what is written, and how, is fixed"


@rule("push_to_hub", "hub_model_id", "hub_private_repo", "push_to_hub_model_id", "push_to_hub_organization")
def _push(theirs: Theirs) -> Became:
    if not theirs.on("push_to_hub"):
        return Became(note="off here too")
    repo = str(theirs.get("hub_model_id", "push_to_hub_model_id") or "")
    if theirs.get("push_to_hub_organization") is not None:
        repo = f"{theirs.get('push_to_hub_organization')}/{repo}"
    if repo.count("/") != 1:
        return Became(note="not translated: it names no owner. Write push_to_hub: OWNER/NAME", lost=True)
    public = theirs.get("hub_private_repo") is False
    note = "as there" if theirs.get("hub_private_repo") is not None else "private unless push_to_hub.private is false"
    return Became({"push_to_hub.repo": repo, "push_to_hub.private": not public}, note)


TRAINING: tuple[Rule, ...] = (
    batch_size,
    epochs,
    same("train.learning_rate", "learning_rate", "lr", number=True),
    scheduler,
    same("train.weight_decay", "weight_decay", note="on matrices only here", number=True),
    adam_betas,
    adam_epsilon,
    optimizer,
    max_grad_norm,
    precision,
    checkpointing,
    Rule(("torch_compile",), lambda theirs: Became({"train.compile": theirs.on("torch_compile")})),
    log_every,
    eval_every,
    save_every,
    keep_checkpoints,
    seed,
    report_to,
    sharding,
    same("output", "output_dir", note="it must not hold another run"),
    needless("one memory setting for training and evaluation: train.max_tokens_per_micro_batch", "per_device_eval_*"),
    needless(
        "evaluations are sums over all held-out rows, whatever is looked at together",
        "per_gpu_eval_batch_size eval_batch_size eval_accumulation_steps eval_do_concat_batches",
        "eval_use_gather_object batch_eval_metrics prediction_loss_only include_for_metrics label_names",
        "average_tokens_across_devices",
    ),
    needless(answered("do_train"), "do_train do_eval do_predict"),
    needless(
        "train.max_tokens_per_micro_batch says how much goes through at once; a row that cannot fit is refused early",
        "auto_find_batch_size",
    ),
    needless(answered("dataloader_num_workers"), "dataloader_num_workers dataloader_p* dataloader_m*"),
    needless(answered("dataset_num_proc"), "dataset_num_proc preprocessing_* remove_unused_columns"),
    needless(
        _SPEED,
        "gradient_checkpointing_kwargs activation_checkpointing_kwargs activation_offloading",
        "torch_compile_backend torch_compile_mode torch_empty_cache_steps use_cache jit_mode_eval",
        "pad_to_multiple_of dataloader_in_order ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph",
        "ddp_find_unused_parameters",
    ),
    needless("nothing to set here: products of float32 are not rounded to TF32", "tf32"),
    without(
        "not read: say with --processes how many it starts; DeepSpeed and FSDP are train.parallel: fsdp under torchrun",
        "accelerate_config",
    ),
    needless(_MACHINE, "ddp_backend ddp_timeout local_rank accelerator_config use_cpu no_cuda"),
    needless(
        "nothing to set here: a step holds every row once, the last one of an epoch too",
        "dataloader_drop_last",
    ),
    needless(answered("use_liger_kernel"), "use_liger_kernel liger_kernel_config enable_liger_kernel"),
    needless(answered("packing"), "group_by_length length_column_name train_sampling_strategy"),
    needless(answered("packing"), "packing padding_free neat_packing sortish_sampler"),
    needless(
        _WRITTEN,
        "log_level log_level_replica log_on_each_node disable_tqdm include_num_input_tokens_seen",
        "include_tokens_per_second save_on_each_node save_only_model save_safetensors enable_jit_checkpoint",
        "skip_memory_metrics logging_dir debug",
    ),
    needless(
        NAMED,
        "run_name project trackio_*",
    ),
    needless("a loss that is not finite stops the step and names its rows; none is hidden", "logging_nan_inf_filter"),
    needless("a run resumes to the same numbers, bit for bit on a CPU", "full_determinism ignore_data_skip"),
    without(answered("resume_from_checkpoint"), "resume_from_checkpoint restore_callback_states_from_checkpoint"),
    needless(answered("overwrite_output_dir"), "overwrite_output_dir"),
    _push,
    needless(answered("hub_token"), "hub_token push_to_hub_token"),
    without("not here: the finished model goes to the repository's main branch", "hub_revision"),
    needless("the finished model goes to the hub, once", "hub_strategy hub_always_push"),
    without(answered("optim_args"), "optim_args optim_target_modules"),
    without("not here: the last step's model is kept; the report shows where it was best", "load_best_model_at_end"),
    needless("only of use with load_best_model_at_end", "metric_for_best_model greater_is_better"),
    without(answered("neftune_noise_alpha"), "neftune_noise_alpha"),
    without("not here: losses on pairs have loss.label_smoothing", "label_smoothing_factor"),
    without("not here: context and tensor parallelism", "parallelism_config"),
    without(
        "not here while it trains; prospect generate and prospect benchmark do it on the finished model",
        "predict_with_generate generation_max_length generation_num_beams generation_config",
    ),
)
