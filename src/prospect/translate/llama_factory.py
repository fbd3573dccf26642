"""LLaMA-Factory: the YAML or JSON of `llamafactory-cli train`, or its command line. Keys and defaults of 0.9.4."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prospect.translate.datasets import COLUMNS, one_or_all, share_held_out
from prospect.translate.losses import LOSS, loss_of
from prospect.translate.model import MODEL, layers
from prospect.translate.reading import read_config
from prospect.translate.rules import Became, Rule, Theirs, Tool, answered, listed, needless, plain, rule, same, without
from prospect.translate.training import OPTIMIZERS, STARTED, TRAINING, trackers

_INFO = "dataset_info.json"
_INFERENCE = "nothing to set here: of answering and exporting, not of training"


def _loss(given: Mapping[str, Any], asked: str) -> str:
    stage = str(asked or given.get("stage") or "sft")
    return loss_of(stage, listed(given.get("pref_loss")) if stage == "dpo" else [])


def _defaults(given: Mapping[str, Any], loss: str) -> dict[str, Any]:
    lora = str(given.get("finetuning_type") or "lora") == "lora"
    rank = given.get("lora_rank") or 8
    adapter = {"finetuning_type": "lora", "lora_rank": rank, "lora_alpha": 2 * int(rank), "lora_dropout": 0.0}
    weights = {"kto_chosen_weight": 1.0, "kto_rejected_weight": 1.0} if loss == "kto" else {}
    return {
        **{"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_train_epochs": 3},
        **{"learning_rate": 5e-5, "lr_scheduler_type": "linear", "warmup_steps": 0, "cutoff_len": 2048},
        **{"val_size": 0.0, "disable_gradient_checkpointing": False, "bf16": False, "save_steps": 500},
        **{"pref_beta": 0.1 if loss not in ("sft", "bradley_terry") else None, "dataset_dir": "data"},
        **({"simpo_gamma": 0.5} if loss == "simpo" else {}),
        **(adapter if lora else {}),
        **weights,
    }


@rule("dataset", "dataset_dir")
def _data(theirs: Theirs) -> Became:
    places, notes = _places(theirs, "dataset")
    return Became({"data.train": one_or_all(places)} if places else {}, "; ".join(notes))


@rule("eval_dataset", "val_size")
def _held_out(theirs: Theirs) -> Became:
    places, notes = _places(theirs, "eval_dataset")
    if places:
        return Became({"data.eval": one_or_all(places)}, "; ".join(notes))
    return share_held_out(theirs.number("val_size"))


def _places(theirs: Theirs, key: str) -> tuple[list[str], list[str]]:
    """Return the files and hub datasets behind names that a dataset_info.json explains."""
    names = [str(name) for name in listed(theirs.get(key))]
    if not names:
        return [], []
    folder = str(theirs.get("dataset_dir"))
    info = _info(theirs, folder)
    places = [_place(name, info.get(name), folder) for name in names]
    known = all(name in info for name in names)
    return places, [COLUMNS if known else f"there is no {_INFO} that explains the name: write where its file is"]


def _info(theirs: Theirs, folder: str) -> Mapping[str, Any]:
    for start in (Path(), theirs.folder):
        path = start / folder / _INFO
        if path.is_file():
            return read_config(path)
    return {}


def _place(name: str, entry: Any, folder: str) -> str:
    if isinstance(entry, Mapping):
        hub, split = entry.get("hf_hub_url"), entry.get("split")
        if hub:
            return f"{hub}:{split}" if split and split != "train" else str(hub)
        if entry.get("file_name"):
            return str(Path(folder) / str(entry["file_name"]))
    return str(Path(folder) / f"{name}.json")


@rule("finetuning_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_target", "adapter_name_or_path")
def _adapter(theirs: Theirs) -> Became:
    kind, adapters = str(theirs.get("finetuning_type") or "lora"), listed(theirs.get("adapter_name_or_path"))
    if kind not in ("lora", "full"):
        return Became(note=f"{kind} is not here: all weights are trained, or an adapter (lora)", lost=True)
    start: dict[str, Any] = {"model.name_or_path": str(adapters[0])} if adapters else {}
    note = "only the first adapter is taken" if len(adapters) > 1 else ""
    if kind == "full":
        return Became({**start, **({"model.adapter": "merge"} if adapters else {})}, note or "all weights are trained")
    if adapters and not theirs.on("create_new_adapter"):
        return Became({**start, "model.adapter": "continue"}, note or "the adapter names its base, and is trained on")
    rank = theirs.number("lora_rank") or 8
    alpha = theirs.number("lora_alpha") or 2 * rank
    targets = layers(theirs.get("lora_target"))
    lora = {
        "r": round(rank),
        "alpha": round(alpha),
        "dropout": theirs.number("lora_dropout"),
        "target_modules": targets,
    }
    return Became({**start, **{f"model.lora.{key}": value for key, value in plain(lora).items()}}, note)


@rule("cutoff_len")
def _length(theirs: Theirs) -> Became:
    length = theirs.number("cutoff_len")
    note = "a prompt is never cut here (data.overlong_prompts), and a cut completion gets no end token"
    return Became({} if length is None else {"data.max_length": round(length)}, note)


@rule("template", "default_system")
def _template(theirs: Theirs) -> Became:
    system = "; a system prompt stands in the rows" if theirs.on("default_system") else ""
    why = f"the model's own chat template is taken; another is a file, data.chat_template{system}"
    return Became(note=why, lost=bool(system))


def _trackers(theirs: Theirs) -> Became:
    return trackers(["swanlab"]) if theirs.on("use_swanlab") else Became(note="off here too")


TOOL = Tool(
    name="llama-factory",
    title="LLaMA-Factory",
    signs=("stage", "finetuning_type", "cutoff_len", "dataset_dir", "lora_rank", "pref_beta", "template"),
    loss=_loss,
    defaults=_defaults,
    rules=(
        same("model.name_or_path", "model_name_or_path"),
        _adapter,
        _data,
        _held_out,
        _length,
        _template,
        *LOSS,
        *TRAINING,
        *MODEL,
        same("reference.name_or_path", "ref_model"),
        same("reference.name_or_path", "ref_model_adapters"),
        same("data.template_arguments.enable_thinking", "enable_thinking", note="where the model's template reads it"),
        Rule(("use_swanlab",), _trackers),
        needless("of a tracker that is not here", "swanlab_*"),
        without("not here: DPO with a term of BCO", "pref_bco_weight"),
        without("not here: layers are trained all, or by an adapter", "freeze_* use_llama_pro oft_* module_dropout"),
        needless("said with adapter_name_or_path, whose base the adapter names", "create_new_adapter adapter_folder"),
        without(OPTIMIZERS, "use_galore use_apollo use_badam use_adam_mini use_muon"),
        needless("only of use with the optimizer of that name", "galore_* apollo_* badam_*"),
        without("not here: rewards and PPO have a section online", "reward_model reward_model_*"),
        needless("of PPO alone, which has a section online", "ppo_*"),
        needless(answered("train_on_prompt"), "train_on_prompt mask_history ignore_pad_token_for_loss"),
        without("not here: cut the file, or name a part of a hub dataset (owner/name:train[:1000])", "max_samples"),
        without("not here: all rows of all files, once an epoch", "mix_strategy interleave_probs"),
        needless(answered("overwrite_cache"), "overwrite_cache streaming buffer_size tokenized_path"),
        needless(answered("overwrite_cache"), "data_shared_file_system cache_dir media_dir"),
        needless("shuffled in every epoch", "disable_shuffling"),
        needless("tools are rendered by the model's chat template", "tool_format"),
        needless("the report has curves of everything, evaluation and speed among it", "plot_loss compute_accuracy"),
        needless("the report has curves of everything", "include_effective_tokens_per_second eval_on_each_dataset"),
        without("not here: stop by hand, with a checkpoint (save_on_stop)", "early_stopping_steps"),
        needless(answered("use_unsloth"), "use_unsloth use_unsloth_gc use_reentrant_gc use_v1_kernels"),
        needless("trained weights are held in float32", "upcast_layernorm upcast_lmhead_output low_cpu_mem_usage"),
        needless(answered("tokenizer"), "use_fast_tokenizer"),
        needless("keys stay in the environment (HF_TOKEN)", "hf_hub_token ms_hub_token om_hub_token"),
        needless(_INFERENCE, "infer_* offload_folder use_kv_cache vllm_* sglang_* export_*"),
        needless(_INFERENCE, "eval_num_beams do_sample temperature top_p top_k num_beams"),
        needless(_INFERENCE, "max_length max_new_tokens repetition_penalty length_penalty"),
        needless(_INFERENCE, "skip_special_tokens"),
        needless(STARTED, "ray_* resources_per_worker"),
        needless(STARTED, "placement_strategy"),
        without("not here: another engine of training", "use_mca use_kt"),
        needless("of that engine", "kt_* cpu_infer chunk_size mode"),
        needless("of models that look and listen, which are not trained here", "image_* video_* crop_to_patches"),
        needless("of models that look and listen, which are not trained here", "audio_* use_audio_in_video"),
        needless("parameters are counted by the dry run", "print_param_status"),
    ),
)
