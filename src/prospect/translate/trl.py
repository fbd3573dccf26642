"""TRL: the YAML of `trl kto --config`, or its command line. Keys and defaults are those of TRL 1.16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.errors import ConfigError
from prospect.translate.datasets import COLUMNS, entries_places, files_of_split, one_or_all, place, share_held_out
from prospect.translate.losses import LOSS, loss_of
from prospect.translate.model import MODEL, layers, weights_in
from prospect.translate.rules import Became, Rule, Theirs, Tool, answered, listed, needless, plain, rule, same, without
from prospect.translate.training import TRAINING

_KTO_KEYS = ("desirable_weight", "undesirable_weight")
_SFT_KEYS = ("packing", "completion_only_loss", "assistant_only_loss", "dataset_text_field", "eval_packing")
_RATES = {"sft": 2e-5, "bradley_terry": 1e-4}


def _loss(given: Mapping[str, Any], asked: str) -> str:
    kinds = [kind for kind in listed(given.get("loss_type")) if kind != "nll"]
    if asked:
        return loss_of(asked, [] if asked == "sft" else kinds)
    if any(key in given for key in _KTO_KEYS) or kinds in (["kto"], ["apo_zero_unpaired"]):
        return loss_of("kto", kinds)
    if kinds:
        return loss_of("dpo", kinds)
    if any(key in given for key in _SFT_KEYS):
        return "sft"
    raise ConfigError(
        "the file does not say which of TRL's trainers reads it: write the command, prospect translate "
        '"trl kto --config FILE", or say the method: --method kto (dpo, sft, reward).'
    )


def _defaults(given: Mapping[str, Any], loss: str) -> dict[str, Any]:
    lora = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05} if given.get("use_peft") else {}
    beta = {} if loss in ("sft", "bradley_terry") else {"beta": 0.1}
    weights = {"desirable_weight": 1.0, "undesirable_weight": 1.0} if loss == "kto" else {}
    smoothing = {"label_smoothing": 0.0} if loss == "robust_dpo" else {}
    return {
        **{"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_train_epochs": 3},
        **{"learning_rate": _RATES.get(loss, 1e-6), "lr_scheduler_type": "linear", "warmup_steps": 0},
        **{"max_length": 1024, "gradient_checkpointing": True, "logging_steps": 10, "eval_strategy": "no"},
        **{"dataset_test_split": "test", "save_steps": 500, **lora, **beta, **weights, **smoothing},
    }


@rule("dataset_name", "datasets", "dataset_train_split", "dataset_config")
def _data(theirs: Theirs) -> Became:
    entries = theirs.get("datasets")
    if entries:
        places, missed = entries_places(entries)
    elif theirs.get("dataset_name") is None:
        return Became()
    else:
        places, missed = [place(str(theirs.get("dataset_name")), theirs.get("dataset_train_split"))], []
    if theirs.on("dataset_config"):
        missed.append(f"dataset_config {theirs.get('dataset_config')}")
    note = f"not here: {', '.join(missed)}" if missed else COLUMNS
    return Became({"data.train": one_or_all(places)} if places else {}, note, lost=bool(missed))


@rule("dataset_test_split", "test_split_size")
def _held_out(theirs: Theirs) -> Became:
    name, size = theirs.get("dataset_name"), theirs.number("test_split_size")
    strategy = theirs.get("eval_strategy", "evaluation_strategy")
    if size or strategy in (None, "no", False):
        return share_held_out(size)
    split = str(theirs.get("dataset_test_split") or "test")
    if files := files_of_split(theirs.get("datasets"), split):
        return Became({"data.eval": one_or_all(files)})
    if name is None:
        return share_held_out(None)
    ours = place(str(name), split)
    if ours == name and split != "train":
        return Became({"data.eval": 0.1}, f"the split {split} of {name} is no file that is known: a share in its place")
    return Became({"data.eval": ours})


@rule("use_peft", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
def _lora(theirs: Theirs) -> Became:
    if not theirs.on("use_peft"):
        return Became(note="off here too: all weights are trained")
    r, alpha = theirs.number("lora_r") or 16, theirs.number("lora_alpha") or 32
    targets = layers(theirs.get("lora_target_modules"))
    lora = {"r": round(r), "alpha": round(alpha), "dropout": theirs.number("lora_dropout"), "target_modules": targets}
    note = ""
    if theirs.get("lora_target_modules") is None:
        note = "no layers are named: here all linear ones but the head, there those that PEFT picks (q_proj, v_proj)"
    return Became({f"model.lora.{key}": value for key, value in plain(lora).items()}, note)


@rule("max_length", "max_seq_length", "max_prompt_length", "max_completion_length")
def _length(theirs: Theirs) -> Became:
    length = theirs.number("max_length", "max_seq_length")
    parts = [theirs.number(key) for key in ("max_prompt_length", "max_completion_length")]
    if "max_length" not in theirs.given and all(parts):
        length = sum(part or 0 for part in parts)
    note = "prompt and completion together; a prompt is never cut here, and a cut completion gets no end token"
    return Became({"data.max_length": None if length is None else round(length)}, note)


TOOL = Tool(
    name="trl",
    title="TRL",
    signs=("dataset_name", "use_peft", "dataset_train_split", "dataset_test_split", "lora_target_modules"),
    loss=_loss,
    defaults=_defaults,
    rules=(
        same("model.name_or_path", "model_name_or_path"),
        _data,
        _held_out,
        _length,
        _lora,
        *LOSS,
        *TRAINING,
        *MODEL,
        same("reference.name_or_path", "ref_model", "ref_model_name_or_path"),
        Rule(("dtype", "torch_dtype"), lambda theirs: weights_in(theirs.get("dtype", "torch_dtype"))),
        same("data.chat_template", "chat_template_path", note="a file of a template, or its text; no model's folder"),
        same("data.template_arguments", "chat_template_kwargs"),
        needless("an adapter of a language model, always", "lora_task_type"),
        needless(answered("completion_only_loss"), "completion_only_loss assistant_only_loss"),
        needless("a row's plain text is in the column text", "dataset_text_field"),
        without("not here: rows are encoded in one way", "dataset_kwargs"),
        Rule(
            ("truncation_mode",),
            lambda theirs: (
                Became(note="as here: the completion's end is cut")
                if theirs.get("truncation_mode") in (None, "keep_start")
                else Became(note="here the completion's end is cut, and a prompt never", lost=True)
            ),
        ),
        needless("held-out prompts are answered at every evaluation: train.samples", "generate_during_eval"),
        without("not here: losses that have no reference are orpo, cpo, simpo", "reference_free"),
        needless("of older versions; nothing to set here", "label_pad_token_id padding_value is_encoder_decoder"),
        needless(answered("packing"), "packing_strategy eval_packing"),
        needless("shuffled in every epoch", "shuffle_dataset"),
        needless(answered("dataset_num_proc"), "dataset_streaming streaming ignore_bias_buffers"),
    ),
)
