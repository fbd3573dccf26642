"""ms-swift: the command line of `swift rlhf` and `swift sft`, or its YAML and JSON. Keys and defaults of 3.11."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prospect.translate.datasets import COLUMNS, one_or_all, share_held_out
from prospect.translate.losses import LOSS, loss_of
from prospect.translate.model import MODEL, layers, weights_in
from prospect.translate.rules import Became, Rule, Theirs, Tool, answered, listed, needless, plain, rule, same, without
from prospect.translate.training import OPTIMIZERS, STARTED, TRAINING

_LORA_ALONE = "not here: all weights are trained, or an adapter (lora)"
_SERVING = "nothing to set here: of answering, not of training"
_SAMPLING = "of losses that sample while they train, which have a section online"
_MEDIA = "of models that look and listen, which are not trained here"


def _loss(given: Mapping[str, Any], asked: str) -> str:
    method = str(given.get("rlhf_type") or {"rlhf": "dpo"}.get(asked, asked) or "sft")
    return loss_of(method, listed(given.get("loss_type")) if method in ("dpo", "kto", "cpo") else [])


def _defaults(given: Mapping[str, Any], loss: str) -> dict[str, Any]:
    lora = str(given.get("train_type") or given.get("tuner_type") or "lora") == "lora"
    adapter = {"train_type": "lora", "lora_rank": 8, "lora_alpha": 32, "lora_dropout": 0.05}
    weights = {"desirable_weight": 1.0, "undesirable_weight": 1.0} if loss == "kto" else {}
    beta = {} if loss in ("sft", "bradley_terry") else {"beta": 2.0 if loss == "simpo" else 0.1}
    simpo = {"simpo_gamma": 1.0, "cpo_alpha": 1.0} if loss == "simpo" else {"cpo_alpha": 1.0} if loss == "cpo" else {}
    return {
        **{"per_device_train_batch_size": 1, "num_train_epochs": 3, "learning_rate": 1e-4 if lora else 1e-5},
        **{"lr_scheduler_type": "cosine", "warmup_ratio": 0.0, "weight_decay": 0.1, "adam_beta1": 0.9},
        **{"adam_beta2": 0.95, "gradient_checkpointing": True, "logging_steps": 5, "save_steps": 500},
        "split_dataset_ratio": 0.0,
        **(adapter if lora else {}),
        **weights,
        **beta,
        **simpo,
    }


def _places(value: Any) -> tuple[list[str], list[str]]:
    """Return the places of `id_or_path:subset#count`, and what of that is not done here."""
    places, missed = [], []
    names = value if isinstance(value, list) else [] if value is None else str(value).split()
    for name in map(str, names):
        rest, _, count = name.partition("#")
        path, _, subset = rest.partition(":") if not Path(rest).exists() else (rest, "", "")
        places.append(path)
        missed += [f"{count} rows of {path}"] * bool(count) + [f"the subset {subset} of {path}"] * bool(subset)
    return places, missed


@rule("dataset")
def _data(theirs: Theirs) -> Became:
    places, missed = _places(theirs.get("dataset"))
    hub = "" if theirs.on("use_hf") else "; names are looked up on Hugging Face's hub, and not on ModelScope"
    note = f"{COLUMNS}{hub}" + (f". Not here: {'; '.join(missed)}" if missed else "")
    return Became({"data.train": one_or_all(places)} if places else {}, note, lost=bool(missed))


@rule("val_dataset", "split_dataset_ratio")
def _held_out(theirs: Theirs) -> Became:
    places, missed = _places(theirs.get("val_dataset"))
    if places:
        return Became({"data.eval": one_or_all(places)}, "; ".join(missed), lost=bool(missed))
    return share_held_out(theirs.number("split_dataset_ratio"))


@rule("train_type", "tuner_type", "lora_rank", "lora_alpha", "lora_dropout", "target_modules", "adapters")
def _adapter(theirs: Theirs) -> Became:
    kind, adapters = str(theirs.get("train_type", "tuner_type") or "lora"), listed(theirs.get("adapters"))
    if kind not in ("lora", "full"):
        return Became(note=f"{kind}: {_LORA_ALONE.removeprefix('not here: ')}", lost=True)
    if adapters:
        note = "the adapter names its base, and is trained on" + "; only the first is taken" * (len(adapters) > 1)
        return Became({"model.name_or_path": str(adapters[0]), "model.adapter": "continue"}, note)
    if kind == "full":
        return Became(note="all weights are trained, as by itself")
    targets = layers(theirs.get("target_modules"))
    lora = {
        "r": round(theirs.number("lora_rank") or 8),
        "alpha": round(theirs.number("lora_alpha") or 32),
        "dropout": theirs.number("lora_dropout"),
        "target_modules": targets,
    }
    return Became({f"model.lora.{key}": value for key, value in plain(lora).items()})


@rule("max_length", "truncation_strategy")
def _length(theirs: Theirs) -> Became:
    length, strategy = theirs.number("max_length"), theirs.get("truncation_strategy") or "delete"
    note = f"{strategy} there; here a longer completion is cut, and a row whose prompt leaves no room is refused"
    return Became({} if length is None else {"data.max_length": round(length)}, note)


@rule("template", "use_chat_template", "template_backend")
def _template(theirs: Theirs) -> Became:
    return Became(note="the model's own chat template is taken; another is a file, data.chat_template")


TOOL = Tool(
    name="ms-swift",
    title="ms-swift",
    signs=("rlhf_type", "train_type", "tuner_type", "model", "split_dataset_ratio", "lora_rank", "target_modules"),
    loss=_loss,
    defaults=_defaults,
    rules=(
        same("model.name_or_path", "model", note="on Hugging Face's hub, where it is no folder"),
        _adapter,
        _data,
        _held_out,
        _length,
        _template,
        without("not here: a system prompt stands in the rows", "system"),
        *LOSS,
        *TRAINING,
        *MODEL,
        same("reference.name_or_path", "ref_model"),
        same("reference.name_or_path", "ref_adapters"),
        Rule(("torch_dtype",), lambda theirs: weights_in(theirs.get("torch_dtype"))),
        needless("an adapter is trained in float32", "lora_dtype"),
        without(_LORA_ALONE, "freeze_parameters* trainable_parameters* lisa_* fourier_* boft_* vera_*"),
        without(_LORA_ALONE, "adalora_* reft_* llamapro_*"),
        without(OPTIMIZERS, "use_galore"),
        needless("only of use with the optimizer of that name", "galore_*"),
        needless("nothing to set here: PEFT", "tuner_backend"),
        needless(answered("packing"), "packing_* lazy_tokenize cached_dataset padding_side streaming"),
        needless(answered("dataset_num_proc"), "load_from_cache_file download_mode shuffle_buffer_size"),
        needless("shuffled in every epoch", "dataset_shuffle train_dataloader_shuffle val_dataset_shuffle"),
        without("not here: all rows of all files, once an epoch", "interleave_prob stopping_strategy"),
        without("columns are renamed in the file, or by prospect data import --map", "columns custom_dataset_info"),
        without("not here: code of your own that the trainer loads", "external_plugins custom_register_path"),
        needless("a row that cannot be read stops the run, with its place", "strict ignore_args_error"),
        Rule(
            ("loss_scale",),
            lambda theirs: (
                Became(note="as here: the last completion")
                if theirs.get("loss_scale") in (None, "last_round", "default")
                else Became(note="here every token of the last completion counts alike", lost=True)
            ),
        ),
        needless("tools are rendered by the model's chat template", "agent_template response_prefix"),
        without("not here: a language model is trained, to answer", "task_type num_labels problem_type"),
        needless("Hugging Face's hub, always; keys stay in the environment", "use_hf hub_token check_model"),
        needless(STARTED, "device_map max_memory use_ray"),
        needless(STARTED, "ray_exp_name device_groups"),
        without("not here: DeepSpeed, context and tensor parallelism", "deepspeed_autotp_size zero_hpz_partition_size"),
        without("not here: context and tensor parallelism", "sequence_parallel_size"),
        without(answered("resume_from_checkpoint"), "resume_only_model load_args load_data_args"),
        needless(
            "a run's folder is its own: no versions in it",
            "add_version create_checkpoint_symlink safe_serialization",
        ),
        needless("a run's folder is its own: no versions in it", "max_shard_size use_flash_ckpt"),
        without("not here: stop by hand, with a checkpoint (save_on_stop)", "early_stop_interval max_epochs"),
        without("prospect benchmark does it on the finished model", "eval_use_evalscope"),
        needless("only of use with evalscope", "eval_dataset* eval_limit eval_generation_config"),
        needless("the report has curves of everything", "acc_strategy metric enable_channel_loss"),
        needless(answered("use_liger_kernel"), "use_logits_to_keep vit_gradient_checkpointing"),
        needless("of a tracker that is not here", "swanlab_*"),
        needless("a name for self-cognition data", "model_name model_author"),
        needless(_MEDIA, "freeze_llm freeze_vit freeze_aligner max_pixels norm_bbox"),
        needless(_SERVING, "max_new_tokens temperature top_k top_p repetition_penalty num_beams stream"),
        needless(_SERVING, "stop_words logprobs top_logprobs vllm_* sglang_* lmdeploy_* infer_backend"),
        needless("merge afterwards: prospect merge RUN -o DIR", "merge_lora"),
        needless(_SAMPLING, "max_completion_length num_generations reward_* teacher_* num_ppo_epochs whiten_rewards"),
        needless(_SAMPLING, "kl_* cliprange* vf_coef gamma lam num_mini_batches local_rollout_* use_vllm"),
        needless(_SAMPLING, "num_sample_generations missing_eos_penalty lmbda sft_alpha seq_kd log_completions"),
        needless(_SAMPLING, "offload_* generation_batch_size steps_per_generation ds3_gather_for_generation"),
        needless(_SAMPLING, "num_iterations epsilon* tau_* dynamic_sample max_resample_times overlong_filter"),
        needless(_SAMPLING, "delta importance_sampling_level advantage_estimator scale_rewards move_model_batches"),
        needless(_SAMPLING, "multi_turn_scheduler max_turns top_entropy_quantile log_entropy rollout_* cosine_*"),
        needless(_SAMPLING, "repetition_* soft_* async_generate sleep_level completion_length_limit_scope"),
    ),
)
