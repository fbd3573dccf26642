"""The recipe: every setting of a run, with its default and its reason; unknown keys are refused.

YAML goes in, the resolved YAML comes out in the run directory, and that one runs again as it is.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from prospect import yaml_text
from prospect.errors import ConfigError
from prospect.outputs import output_folder
from prospect.peers import explain_key, explain_loss


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("switch", "Input should not be true or false")
    return value


def _section_or_switch(value: Any) -> Any:
    """Read true as a section with its defaults and false as none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


class Section(BaseModel):
    """Keys of a recipe; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_assignment=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_switches(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true where a number is meant: pydantic would read `save_every: true` as 1.

        A section that may be left out can be switched on, with its defaults, and off.
        """
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = (annotation, *get_args(annotation))
        if type(None) in kinds and _section_of(annotation) is not None:
            return _section_or_switch(value)
        return value if bool in kinds else _no_switch(value)


def _number_in_words(value: Any) -> Any:
    """Read `1e-4`, which YAML 1.1 takes for a string for want of a dot, as the number that was meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _expanded(value: Any) -> Any:
    """Return the name of a folder with `~` as the home folder; refuse an empty one."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise PydanticCustomError("empty", "Input should be the name of a folder")
    return os.path.expanduser(value)  # noqa: PTH111 - unlike Path.expanduser it leaves ~somebody as it is


AnySection = TypeVar("AnySection", bound="Section")
Folder = Annotated[str, AfterValidator(_expanded)]


def _date_in_words(value: Any) -> Any:
    """Refuse a number, which pydantic would read as seconds since 1970."""
    if isinstance(value, int | float):
        raise PydanticCustomError("date", "Input should be a date, such as 2026-11-21 or 2026-11-21T09:30:00")
    return value


Number = Annotated[float, BeforeValidator(_number_in_words)]
AnyNumber = Annotated[Any, BeforeValidator(_number_in_words)]
"""Any value; `1e-4` is a number."""
DecayRate = Annotated[Number, Field(ge=0.0, lt=1.0)]


class LoraSettings(Section):
    """Low-rank adapters instead of full weights; the reference is then the model with its adapter off."""

    model_config = ConfigDict(extra="allow")  # PEFT's other options, checked against the installed one's

    r: int = Field(default=16, ge=1)
    """Rank of the adapter."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the adapter's output is multiplied by alpha / r."""
    dropout: Number = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapter. Keep it 0 unless the run overfits: it makes log-ratios noisy."""
    target_modules: list[str] | str | None = None
    """Names of the layers to adapt; null means all linear layers but the head."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) instead, so that a high rank learns no slower (rsLoRA, arXiv 2312.03732)."""
    use_dora: bool = False
    """Learn the length of each row of a weight apart from its direction (DoRA, arXiv 2402.09353): slower, often better
    at low ranks."""
    modules_to_save: list[str] | None = None
    """Names of modules that are trained whole beside the adapter, such as lm_head, and saved with it."""
    rank_pattern: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Ranks of single layers, by name or regular expression; the others have r."""
    alpha_pattern: dict[str, Annotated[int, Field(ge=1)]] = {}
    """The same of alpha."""
    layers_to_transform: list[int] | int | None = None
    """Numbers of the layers of the model that are adapted, from 0; null adapts all."""

    @property
    def options(self) -> dict[str, Any]:
        """What is passed to PEFT by its own name: all that is set, but for the settings that have another name here."""
        return self.model_dump(exclude={"r", "alpha", "dropout", "target_modules"}, exclude_defaults=True)


class ModelSettings(Section):
    """Which model is aligned."""

    name_or_path: str
    """A folder that Transformers can load, a run directory, an adapter's folder, a .gguf file or a folder that
    holds one, or a hub name (docs/models.md). A pipeline that diffusers can load makes images."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """How frozen weights are held. Trained weights are always float32: at learning rates of alignment a
    bfloat16 weight does not move at all."""
    quantization: Literal["int8", "nf4"] | None = None
    """How frozen weights under an adapter are held by bitsandbytes: a byte (int8) or half a byte (nf4) each, the head
    and the embeddings as dtype says, which is the arithmetic too. The reference is the same quantised model with its
    adapter off."""
    attn_implementation: str | None = None
    """Attention of Transformers (sdpa, flash_attention_2, eager); null lets Transformers choose."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run. It stays off unless you ask for it."""
    lora: LoraSettings | None = None
    """Adapter settings, or true for their defaults; null trains all weights, or the adapter that name_or_path names."""
    adapter: Literal["continue", "merge"] | None = None
    """Where name_or_path names an adapter. continue: train it on, as it is, and compare with it as it was loaded.
    merge: fold it into its base first, and train a fresh adapter (lora) or all weights. null: merge where lora is
    set, else continue."""

    @property
    def trains_adapter(self) -> bool:
        """Whether an adapter is trained, a fresh one or one that was there."""
        return self.lora is not None or self.adapter == "continue"


class DataSettings(Section):
    """Which feedback, and how it is cut."""

    train: str | list[str]
    """Path, glob, list of those, or hub dataset (owner/name:split)."""
    eval: Annotated[str | list[str] | int | float | None, BeforeValidator(_number_in_words)] = 0.1
    """Held-out feedback: a path, a share of the prompts (0.1), a number of prompts (200), or null for none. A
    share or number is split off by prompt, never by row."""
    max_length: int | None = Field(default=None, ge=2)
    """Prompt and completion together, in tokens; a longer completion is cut and gets no end token. null means
    the model's context, at most 2048."""
    overlong_prompts: Literal["error", "drop"] = "error"
    """What happens to rows whose prompt leaves no room for a completion."""
    end_token: bool = True
    """Whether completions end with the end token. false where the log holds completions that were cut short;
    single rows say so by `finished: false`."""
    label_map: dict[Any, bool] | None = None
    """Your label values to true (desirable) or false."""
    class_weights: Literal["auto", "none"] = "auto"
    """auto: where a loss has desirable_weight and undesirable_weight and the recipe sets neither, they are
    chosen so that lambda_D n_D / (lambda_U n_U) lies in [1, 4/3] (arXiv 2402.01306, section 4.2). none: the
    loss's own defaults."""
    allow_one_class: bool = False
    """Whether a loss on thumbs may train on thumbs of one kind alone."""
    desirable_share: Number | None = Field(default=None, gt=0.0, lt=1.0)
    """Losses on thumbs: the share of desirable rows in every step, which are drawn from the feedback to that end; rows
    of the rarer class come up more than once an epoch. class_weights: auto then weighs the classes alike. null takes
    each row once."""
    resolution: int | None = Field(default=None, ge=1)
    """Images: side of a square image in pixels; others are brought to about as many pixels at the nearest aspect. null
    takes the model's own."""
    allow_imbalance: bool = False
    """Images: whether undesirable rows may pull more than desirable ones (lambda_D n_D < lambda_U n_U), which a
    denoiser meets by making noise of everything."""
    chat_template: str | None = None
    """The chat template of conversations: a file, the text itself, or the name of one of the tokenizer's several; null
    takes the tokenizer's own. It is saved with the model."""
    template_arguments: dict[str, Any] = {}
    """What the chat template is told beside the turns, such as enable_thinking or date_string. One that it does not
    read is refused."""
    plain_as_chat: bool = False
    """Whether rows of plain text go through the chat template, the prompt as a user turn and the completion as the
    answer; else they are continued as they are."""
    system_role: Literal["keep", "fold", "drop"] = "keep"
    """What becomes of system turns. fold: their text stands before the next user turn's, for templates without a system
    role (Gemma, the first Mistral). drop: they are left out."""
    thoughts: Literal["score", "drop"] = "score"
    """What becomes of the thoughts of a completion, in `<think>` before the answer or in the turn's reasoning_content.
    score: they are learnt like the answer. drop: they are left out."""
    unrenderable: Literal["refuse", "drop"] = "refuse"
    """What happens to rows that the chat template cannot render. drop: they are left out and counted by reason."""
    template_date: Annotated[datetime | None, BeforeValidator(_date_in_words)] = None
    """The date, and time, that a template which prints it is told; null means when the run starts, and is filled in
    then, so that it is the same on resume."""


class HumanlineSettings(Section):
    """Token log-ratios are clipped before the loss sees them, as people overlook what is too unlikely (Humanline)."""

    low: Number = Field(default=-1.0, le=0.0, allow_inf_nan=False)
    """Lower end, nats."""
    high: Number = Field(default=1.5, ge=0.0, allow_inf_nan=False)
    """Upper end, nats."""


class LossSettings(BaseModel):
    """Which loss; every other key is one of its hyperparameters, checked against its signature."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    name: str = "kto"
    """A registered loss (`prospect losses` lists them) or my_file.py:my_loss."""
    sft_weight: Annotated[Number, BeforeValidator(_no_switch)] = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Adds this many times the sft loss of the step's desirable (chosen, best) completions. For every loss that
    compares completions."""
    official_beta: Annotated[Number | None, BeforeValidator(_no_switch)] = Field(
        default=None, gt=0.0, allow_inf_nan=False
    )
    """Images, in place of beta: --beta_dpo of Diffusion-KTO's script (losses on thumbs) or Diffusion-DPO's (pairs),
    such as 5000. It becomes beta in nats."""
    humanline: Annotated[HumanlineSettings | None, BeforeValidator(_section_or_switch)] = None
    """Clip token log-ratios: true, or a section with low and high. For every loss that has a reference; unless
    reference.sync says otherwise, the reference is then set to the policy every 12 steps."""

    @field_validator("name")
    @classmethod
    def _read_name(cls, name: str) -> str:
        """Read KTO as kto; refuse a loss that only other trainers call so, with ours."""
        if ".py:" in name:
            return name
        explained = explain_loss(name)
        if explained is not None:
            raise PydanticCustomError("peer", "{text}", {"text": explained[0].upper() + explained[1:]})
        return name.lower()

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Every key that is the loss's own."""
        return {key: _number_in_words(value) for key, value in (self.model_extra or {}).items()}


class SyncSettings(Section):
    """The reference follows the policy: mix * policy + (1 - mix) * reference takes its place (arXiv 2404.09656)."""

    every: int = Field(default=512, ge=0)
    """Optimizer steps between two updates of the reference; 0 never."""
    mix: Number = Field(default=0.6, gt=0.0, le=1.0)
    """The policy's share; 1 sets the reference to the policy."""


class ReferenceSettings(Section):
    """What the policy is compared with."""

    kind: Literal["auto", "frozen", "adapter_off"] = "auto"
    """frozen: a second copy of the starting model. adapter_off: the policy without its adapter, at no memory
    (LoRA only).
    auto: adapter_off with a fresh adapter; with one that is trained on, the policy with the adapter as it was loaded,
    at the memory of the adapter; else frozen. Losses without a reference ignore it."""
    name_or_path: str | None = None
    """Another model, run or adapter to compare with, named as in model.name_or_path, with the policy's vocabulary. null
    compares with the model that the run starts from. Rewards then need not be 0 before the first step."""
    cache: Annotated[bool | str, AfterValidator(_expanded)] = True
    """Keep reference log-probs by row: true inside the run directory, a folder to share them between runs,
    false never. A reference that follows the policy, and one that is asked for every token, is not kept."""
    sync: SyncSettings | None = None
    """Let the reference follow the policy; null keeps it as it is (but see loss.humanline)."""

    @property
    def follows(self) -> bool:
        """Whether the policy moves it."""
        return self.sync is not None and self.sync.every > 0


class ReferencePointSettings(Section):
    """How z0, the reference point of KTO and its kin, is estimated (docs/reference-point.md)."""

    kind: Literal["step", "micro_batch", "sampled", "matched"] = "step"
    """step: from each prompt with another prompt's completion, over the whole optimizer step, so that memory settings
    cannot change the result. micro_batch: over each micro-batch, as other trainers do; for comparison only. sampled:
    from completions that the policy writes to prompts of the step, which estimates KL(policy || reference) whatever
    the feedback holds, and costs their generation. matched: from the step's own rows, as Diffusion-KTO's script does;
    for comparison only. Evaluations on held-out feedback take step in any case."""
    every: int = Field(default=4, ge=1)
    """Steps from one sampled estimate to the next; those between keep it. At alignment's learning rates the KL moves
    little in 4 steps."""
    completions: int = Field(default=16, ge=2)
    """Completions of a sampled estimate, dealt out over the step's prompts."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Where such a completion is cut, in tokens; z0 is then the KL of the beginnings. null means the longest completion
    of the training feedback."""


class TrainSettings(Section):
    """How it is trained."""

    batch_size: int = Field(default=32, ge=1)
    """Examples per optimizer step (a pair is one). This is statistics; memory is
    max_tokens_per_micro_batch."""
    max_tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Tokens, padding included, that go through the model at once. It changes memory and speed, never the result (but
    for `reference_point: micro_batch`). null means 1024 on a CPU, whose caches like it, and 16384 on a GPU, or the
    longest example where that is longer."""
    images_per_micro_batch: int | None = Field(default=None, ge=1)
    """Images that go through the model at once: memory and speed, never the result. null means 8 on a CPU and 4 on a
    GPU."""
    prompt_dropout: Number | None = Field(default=None, ge=0.0, lt=1.0)
    """Share of the examples whose prompt an image model is not told in a step, so that guidance, which compares with
    no prompt, keeps its meaning. null means 0.2, as in Diffusion-KTO and Diffusion-DPO, and 0 where the model knows
    classes alone or has guidance built in (Flux)."""
    noise_levels: Literal["uniform", "shifted"] | None = None
    """How an image model's noise levels are drawn: all alike, or as flow models (SD3, Flux) were trained: logit-normal,
    shifted as their scheduler says. null means shifted for those and uniform for all others."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the feedback."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, in place of epochs."""
    learning_rate: Number | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Peak learning rate; null takes the loss's own (kto 5e-6, dpo 5e-7, sft 2e-5)."""
    scheduler: Literal["cosine", "linear", "constant"] = "linear"
    """How the learning rate falls after warm-up; cosine and linear end at 0."""
    warmup: Number = Field(default=0.1, ge=0.0, allow_inf_nan=False)
    """Below 1 a share of the steps, from 1 on a number of steps, over which the learning rate rises from
    0."""
    optimizer: Literal["adamw", "adafactor", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """adafactor: Transformers', which keeps a number by row and by column in place of two by weight; its learning rate
    is absolute, as AdamW's. adamw_8bit: bitsandbytes', whose moments take a byte each. paged_adamw_8bit: the same, in
    memory that a GPU moves out when it is full. All resume bit for bit."""
    weight_decay: Number = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Of the optimizer, apart from the gradient; on matrices only."""
    adam_betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """AdamW's decay rates of the two moments."""
    max_grad_norm: Number = Field(default=1.0, gt=0.0)
    """Gradients are scaled down to this norm."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third more time for much less memory."""
    compile: bool = False
    """Compile the model's layers with torch.compile: minutes at the start, for faster steps on a GPU."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several processes (torchrun, accelerate launch, srun) share the work. ddp: each holds all weights. fsdp:
    weights, gradients and optimizer are spread over them, for models that do not fit. One process does neither."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where models compute. auto: an NVIDIA or AMD GPU (cuda), Apple's (mps) or another accelerator that PyTorch finds,
    else the CPU. A device that is not there is refused."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward and backward pass; auto is bf16 on a GPU that has it and, for models that are wide
    enough, on a processor that multiplies it in hardware; else fp32. Log-probs are summed in fp32 in any case."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of shuffling, pairing, dropout and sampling."""
    log_every: int = Field(default=1, ge=1)
    """Steps between lines of metrics."""
    eval_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations on held-out feedback; null means before the first and after the last step."""
    save_every: int | None = Field(default=200, ge=1)
    """Steps between checkpoints; null means none but the finished model."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many checkpoints stay."""
    save_on_stop: bool = True
    """Write a checkpoint when SIGINT (Ctrl-C) or SIGTERM stops the run, at the end of the step it is in."""
    samples: int = Field(default=8, ge=0)
    """Held-out prompts from which the policy writes, or draws, at every evaluation, for the report."""
    sample_tokens: int = Field(default=64, ge=1)
    """Length of those samples, in tokens."""
    sample_steps: int = Field(default=20, ge=1)
    """Noise levels that the scheduler steps through for each of them, where they are images."""
    trackers: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = []
    """Dashboards that get the metrics too, each an optional install. The run directory is always written."""


class OnlineSettings(Section):
    """Learn while sampling: the policy answers prompts, a judge scores the answers, and steps are made on those."""

    prompts: str | list[str] | None = None
    """Prompts that are answered: rows with a prompt, as paths, globs or a hub dataset. null takes data.train."""
    judge: str
    """Who scores an answer: verifier:..., reward:MODEL or FILE.py:NAME (docs/evaluating.md); it must give scores."""
    target: str = "target"
    """The column of the prompts' file that holds right answers, for verifiers."""
    prompts_per_rollout: int = Field(default=32, ge=1)
    """How many prompts are answered before the next steps are made."""
    samples_per_prompt: int = Field(default=4, ge=1)
    """Answers to each of them."""
    epochs: int = Field(default=1, ge=1)
    """Passes over a rollout's answers, in steps of train.batch_size examples. From the second step on they are not
    quite the policy's own; a clip is for that."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Where an answer is cut, in tokens."""
    temperature: Number = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    """Of the sampling. Losses on sampled tokens need 1: the policy's log-probs are those of temperature 1."""
    top_p: Number = Field(default=1.0, gt=0.0, le=1.0)
    """Of the sampling. Losses on sampled tokens need 1, for what it leaves out has another probability."""
    top_k: int = Field(default=0, ge=0)
    """Of the sampling; 0 keeps all tokens, which losses on sampled tokens need."""
    sampled_together: int = Field(default=64, ge=1)
    """Answers that are written side by side: speed and memory."""
    missing_end: Literal["penalty", "drop"] = "penalty"
    """What becomes of answers that max_new_tokens cut. drop: they are left out."""
    penalty: Number = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    """What is taken from the score of an answer that was cut."""
    threshold: Number | Literal["equal", "median", "prompt_median"] = 0.5
    """Losses on thumbs: the score from which on an answer gets a thumb up. equal: 1 is up, 0 down, others are refused.
    median, prompt_median: above the median of the rollout, or of the prompt's own answers; what is on it gets none."""
    reduction: Literal["tokens", "rows", "length"] | None = None
    """What weighs the same in a step. tokens: each token (DAPO), the default. rows: each answer, its tokens share that
    (GRPO's paper). length: the sum over an answer's tokens divided by max_new_tokens (Dr. GRPO)."""
    scale: Literal["group", "batch", "none"] = "group"
    """What advantages over the prompt's other answers are divided by: the deviation of the prompt's scores (GRPO), that
    of the rollout's, or nothing (Dr. GRPO)."""
    gamma: Number = Field(default=1.0, ge=0.0, le=1.0)
    """Discount of what comes later, for losses with a value head."""
    gae_lambda: Number = Field(default=0.95, ge=0.0, le=1.0)
    """Of the advantage estimates of losses with a value head: 1 trusts what came, 0 the values."""
    whiten: bool = True
    """Whether advantages of losses with a value head get mean 0 and variance 1 over all tokens of the rollout."""
    kl: Number | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """How much a nat of KL to the reference takes from the score: of ppo token by token, of others at the end. null:
    0.05 for ppo and rloo, 0 for others (grpo has loss.beta, losses on thumbs and pairs their own beta)."""
    kl_target: Number | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """The KL aimed at, in nats per answer: `kl` is then raised while it is above, and lowered while it is below."""
    kl_horizon: int = Field(default=10_000, ge=1)
    """Answers over which `kl` can change by a fifth of itself."""


def _repository(value: str) -> str:
    """Refuse what names no repository of somebody."""
    owner, _, name = value.partition("/")
    if not (owner and name) or "/" in name or set(value) & set(" \\:~"):
        raise PydanticCustomError("repository", "Input should be OWNER/NAME, the name of a repository on the hub")
    return value


class PushSettings(Section):
    """The finished model goes to the hub: its weights, tokenizer, configuration and card, and nothing else."""

    repo: Annotated[str, AfterValidator(_repository)]
    """OWNER/NAME. It is made if it is not there."""
    private: bool = True
    """Whether nobody else may see it. A repository that is there and public is then refused."""


# Sections that may be written as what they name: `loss: kto`, `model: my/model`, `push_to_hub: me/aligned`.
_NAMED: Mapping[str, str] = {
    "loss": "name",
    "model": "name_or_path",
    "reference_point": "kind",
    "push_to_hub": "repo",
}


def named_section(key: str, value: Any) -> Any:
    """Return a section that was written as a bare name as the section that it names."""
    return {_NAMED[key]: value} if key in _NAMED and isinstance(value, str) else value


def _prompts_as_data(values: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe that samples its data with its prompts as data.train, and nothing held out unless it is named."""
    online, data = values.get("online"), values.get("data", {})
    if not isinstance(online, dict) or not isinstance(data, dict):
        return values
    prompts, train = online.get("prompts"), data.get("train")
    if prompts is not None and train is not None and prompts != train:
        raise ConfigError(
            f"data.train is {train!r}, and the answers that are learnt from are those to online.prompts, {prompts!r}. "
            "Leave data.train out."
        )
    if prompts is None and train is None:
        return values
    named = {"train": prompts if train is None else train, "eval": data.get("eval")}
    return {**values, "data": {**data, **named}, "online": {**online, "prompts": named["train"]}}


class Config(Section):
    """A whole recipe."""

    model: ModelSettings
    """Which model is aligned."""
    data: DataSettings
    """Which feedback."""
    loss: LossSettings = Field(default_factory=LossSettings)
    """Which loss, with its hyperparameters."""
    reference: ReferenceSettings = Field(default_factory=ReferenceSettings)
    """What the policy is compared with."""
    reference_point: ReferencePointSettings = Field(default_factory=ReferencePointSettings)
    """How z0 is estimated."""
    train: TrainSettings = Field(default_factory=TrainSettings)
    """How it is trained."""
    online: OnlineSettings | None = None
    """Learn from the policy's own answers, sampled while it trains; null trains on the feedback of data.train."""
    output: Folder
    """The run directory."""
    push_to_hub: PushSettings | None = None
    """Where the finished model goes, or OWNER/NAME for short; null keeps it here."""

    @model_validator(mode="before")
    @classmethod
    def _sections_may_be_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return _prompts_as_data({key: named_section(key, value) for key, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved recipe as plain values, ready for YAML."""
        return self.model_dump(mode="json")


def load_config(
    source: str | Path | Mapping[str, Any] | Config, overrides: Sequence[str] = (), *, where: str = "recipe"
) -> Config:
    """Read and check a recipe.

    Args:
        source: a YAML file, a mapping, or a config.
        overrides: `key.path=value` strings, the value read as YAML; later ones win.
        where: what a mapping is called in messages.

    Raises:
        ConfigError: what is wrong, at which key, and the nearest key that exists.
    """
    if isinstance(source, Config):
        values = source.as_dict()
    elif isinstance(source, Mapping):
        values = dict(source)
    else:
        values, where = read_yaml(Path(source)), str(source)
    for override in overrides:
        values = apply_override(values, override)
    config = read_section(Config, values, where)
    # Any may be the loss's own, or PEFT's, but for those that other trainers call so.
    open_keys = {"loss": config.loss.hyperparameters, "model.lora": (config.model.lora or LoraSettings()).model_extra}
    for section, names in open_keys.items():
        for name in names or ():
            explained = explain_key(name)
            if explained is not None and explained != f"here it is {section}.{name}":
                raise ConfigError(f"{where}: unknown key {section}.{name}; {explained}.")
    return config


def read_section(kind: type[AnySection], values: Mapping[str, Any], where: str) -> AnySection:
    """Return the settings in a mapping.

    Args:
        kind: a whole recipe.
        values: what it holds.
        where: what it is called in messages.

    Raises:
        ConfigError: what is wrong, at which key, and the nearest key that exists.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(where, error.errors(), kind))) from None


def read_yaml(path: Path, what: str = "recipe", keys: str = "model, data, loss, output") -> dict[str, Any]:
    """Read a recipe, or what else is written in the same form, as it is written, unchecked."""
    values = yaml_text.read_file(path, what)
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"holds {type(values).__name__}"
        raise ConfigError(f"{path}: {found}; expected keys such as {keys}.")
    return values


def apply_override(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Give a copy of a nested mapping with what `key.path=value` says, the value read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected key=value, for instance --set train.learning_rate=1e-5.")
    return set_key(values, key, yaml_text.parse(text, f"--set {override}", key.split("."), lines=False))


def check_places(config: Config) -> None:
    """Refuse, before anything is computed, folders in which the run could not write.

    Raises:
        OutputError: `output` or `reference.cache` is such a folder.
    """
    output_folder(config.output)
    if isinstance(config.reference.cache, str):
        output_folder(config.reference.cache)


def set_key(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Give a copy of a nested mapping with `a.b.c` set.

    A section that was a bare name (`loss: kto`) becomes a mapping first.
    """
    head, _, rest = key.partition(".")
    copy = dict(values)
    if not rest:
        copy[head] = value
        return copy
    inner = named_section(head, copy.get(head))
    copy[head] = set_key(inner if isinstance(inner, Mapping) else {}, rest, value)
    return copy


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as one of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


_LONGEST_SHOWN = 200  # characters of a value in a message
# What pydantic puts into a location for the arms of a union; no key of a recipe.
_UNION_ARMS = {"str", "int", "float", "bool", "list[str]"}


def _explain(where: str, details: Sequence[Any], root: type[BaseModel]) -> list[str]:
    """One line for each key that is wrong; what a union's arms say of one key becomes one sentence."""
    lines: dict[str, str] = {}
    for detail in details:
        location = [str(part) for part in detail["loc"]]
        if detail["type"] == "extra_forbidden":
            key = ".".join(location)
            lines[key] = f"{where}: unknown key {key}{_suggest(location, root)}"
            continue
        key = ".".join(p for p in location if p not in _UNION_ARMS and not p.startswith("function-")) or "recipe"
        message = detail["msg"][0].lower() + detail["msg"][1:]
        if detail["type"] == "missing":
            lines[key] = f"{where}: {key} is missing; it has no default."
        elif key in lines:
            lines[key] = f"{lines[key][:-1]} or {message.removeprefix('input should be ')}."
        else:
            lines[key] = f"{where}: {key} is {_shown(detail['input'])}; {message}."
    return list(lines.values())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _suggest(location: Sequence[str], root: type[BaseModel]) -> str:
    name = location[-1]
    explained = explain_key(name)
    if explained is not None:
        return f"; {explained}."
    keys = all_keys(root)
    siblings = [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == ".".join(location[:-1])]
    near = difflib.get_close_matches(name, siblings, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    elsewhere = [key for key in keys if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"; it belongs at {elsewhere[0]}."
    return f". Known here: {', '.join(siblings)}."


def all_keys(root: type[BaseModel] = Config) -> list[str]:
    """Every key of a recipe, dotted, in order."""

    def walk(section: type[BaseModel], prefix: str) -> list[str]:
        keys = []
        for name, field in section.model_fields.items():
            keys.append(prefix + name)
            inner = _section_of(field.annotation)
            if inner is not None:
                keys += walk(inner, f"{prefix}{name}.")
        return keys

    return walk(root, "")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
