"""The model that is trained: loading (full or LoRA), scoring, saving."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prospect.atomic import atomic_directory, write_text
from prospect.config import Config, LoraSettings, ModelSettings
from prospect.data.batch import Batch
from prospect.errors import ConfigError, ModelError
from prospect.models.logps import Scorer, choose_scorer, token_logps

DEFAULT_MAX_LENGTH = 2048  # the longest row where neither recipe nor model sets a limit


@dataclass
class Policy:
    """A causal language model with its tokenizer, ready to score completions.

    Attributes:
        model: the Transformers model, wrapped by PEFT where there is an adapter.
        tokenizer: its tokenizer.
        scorer: how log-probs are computed; see `choose_scorer`.
        precision: "fp32" or "bf16", of the forward and backward pass.
        identity: hash of the weights it was loaded with, without adapter, and of what else decides its
            log-probs.
        has_adapter: whether only an adapter is trained.
    """

    model: Any
    tokenizer: Any
    scorer: Scorer
    precision: str
    identity: str
    has_adapter: bool

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def logps(self, batch: Batch) -> torch.Tensor:
        """Log-probs of completions: float32 (N,) nats, summed over completion tokens."""
        batch = batch.to(self.device)
        bf16 = torch.autocast(self.device.type, dtype=torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with bf16:
            return token_logps(self.model, batch, self.scorer).sum(1)

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """What the optimizer moves, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The model as it was before the adapter."""
        with self.model.disable_adapter():
            yield

    def save(self, path: Path, card: str) -> None:
        """Writes model (or adapter), tokenizer, chat template and model card, all or nothing."""
        with atomic_directory(path) as temporary:
            self.model.save_pretrained(temporary, safe_serialization=True)
            self.tokenizer.save_pretrained(temporary)
            write_text(temporary / "README.md", card)


def load_tokenizer(settings: ModelSettings) -> Any:
    """Loads the tokenizer that lies with the model.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoTokenizer

    name = existing_model(settings.name_or_path)
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=settings.trust_remote_code)
    except Exception as error:  # Transformers raises half a dozen kinds here, some without a message
        raise ModelError(
            f"{name}: no tokenizer could be loaded ({_first_line(error)}). A model folder needs "
            "tokenizer.json and tokenizer_config.json beside its weights: save it with "
            "tokenizer.save_pretrained(folder)."
        ) from error


def load_model_config(settings: ModelSettings) -> Any:
    """Loads the model's own configuration, without its weights.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoConfig

    name = existing_model(settings.name_or_path)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=settings.trust_remote_code)
    except Exception as error:  # as above
        raise ModelError(
            f"{name}: the model's configuration could not be read ({_first_line(error)}). A model folder needs "
            "config.json beside its weights: save it with model.save_pretrained(folder)."
        ) from error


def load_policy(config: Config, tokenizer: Any, device: torch.device | None = None) -> Policy:
    """Loads the model of a recipe, ready to train.

    Dropout of the model is off: it would make policy and reference differ before the first step. LoRA's own
    dropout, where the recipe asks for it, is on.

    Raises:
        ModelError: no such model, or a checkpoint that lacks weights.
        ConfigError: settings that do not go together.
    """
    settings = config.model
    device = device or default_device()
    precision = resolve_precision(config.train.precision, device)
    if settings.lora is None and settings.dtype != "float32":
        raise ConfigError(
            f"model.dtype is {settings.dtype} and all weights are trained; at alignment's learning rates "
            "they would not move. Use train.precision: bf16 for speed, or model.lora to train an adapter on "
            "frozen half-precision weights."
        )
    model = load_causal_lm(settings).to(device)
    identity = weights_identity(model, precision)
    if settings.lora is not None:
        model = _add_adapter(model, settings.lora)
    if config.train.gradient_checkpointing:  # after the adapter, which puts every layer in evaluation mode
        _enable_gradient_checkpointing(model)
    return Policy(model, tokenizer, choose_scorer(model), precision, identity, settings.lora is not None)


def load_causal_lm(settings: ModelSettings) -> Any:
    """Loads a Transformers causal LM in evaluation mode, refusing one with weights missing."""
    from transformers import AutoModelForCausalLM

    name = existing_model(settings.name_or_path)
    options: dict[str, Any] = {
        "dtype": getattr(torch, settings.dtype),
        "trust_remote_code": settings.trust_remote_code,
    }
    if settings.attn_implementation is not None:
        options["attn_implementation"] = settings.attn_implementation
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as error:  # as above
        raise ModelError(
            f"{name}: the model could not be loaded ({_first_line(error)}). It must be a causal language "
            "model with config.json and safetensors weights."
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{name}: {len(missing)} weights are missing from the checkpoint, {missing[0]} for one, and "
            "would be random. Is it an adapter, or a model of another kind?"
        )
    return model.eval()


# Settings of a model's configuration that say where it came from or how it is run, not what it computes.
_NOT_ARITHMETIC = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}


def weights_identity(model: Any, precision: str) -> str:
    """Hashes every weight with its name, shape and dtype, the model's configuration, and the arithmetic.

    The configuration counts: the same weights with another rotary base or softcap are another model.
    """
    settings = {key: value for key, value in model.config.to_diff_dict().items() if key not in _NOT_ARITHMETIC}
    text = json.dumps([precision, settings], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def default_device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turns "auto" into bf16 on a GPU that has it, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def resolve_max_length(asked: int | None, model_config: Any) -> int:
    """The longest row: what the recipe asks, within what the model can read.

    Raises:
        ConfigError: more is asked than the model's context.
    """
    context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    if asked is None:
        return min(context or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)
    if context is not None and asked > context:
        raise ConfigError(
            f"data.max_length is {asked} and the model reads {context} tokens at most. Lower it to {context}."
        )
    return asked


def _add_adapter(model: Any, settings: LoraSettings) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # PEFT reads an attribute that Transformers has renamed; nothing that a user could mend.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            wrapped = get_peft_model(model, config).eval()
    except ValueError as error:
        raise ConfigError(f"model.lora.target_modules: {_first_line(error)}") from error
    for name, module in wrapped.named_modules():
        if "lora_dropout" in name:
            module.train()
    return wrapped


def _enable_gradient_checkpointing(model: Any) -> None:
    from transformers.modeling_layers import GradientCheckpointingLayer

    if not model.supports_gradient_checkpointing:
        raise ConfigError(f"train.gradient_checkpointing: {type(model).__name__} does not support it. Set it to false.")
    # Renamed in Transformers 5.2x; both take the same first argument.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # Layers recompute only in training mode, which would also switch their dropout on: so the flag is set on
    # the layers themselves and not on what is inside them. A layer that drops out by itself keeps the rate as
    # a number (OPT does), and it is set to 0.
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
            for name, value in vars(module).items():
                if "dropout" in name and isinstance(value, float):
                    setattr(module, name, 0.0)


def existing_model(name: str) -> str:
    """A local path must exist: a mistyped one would be looked up on the hub, with a puzzling answer."""
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    path = Path(name).expanduser()
    if looks_local and not path.is_dir():
        raise ModelError(f"{name}: there is no such model folder.")
    return str(path) if path.is_dir() else name


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def load_trained(name: str) -> tuple[Any, Any]:
    """Loads a model to generate with, a whole one or an adapter on its base, and its tokenizer.

    Raises:
        ModelError: there is none, or weights are missing.
    """
    settings = ModelSettings(name_or_path=name)
    tokenizer = load_tokenizer(settings)
    adapter = Path(name).expanduser() / "adapter_config.json"
    if not adapter.exists():
        return load_causal_lm(settings).to(default_device()), tokenizer
    from peft import PeftModel

    base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
    model = load_causal_lm(ModelSettings(name_or_path=base))
    return PeftModel.from_pretrained(model, str(adapter.parent)).to(default_device()).eval(), tokenizer
