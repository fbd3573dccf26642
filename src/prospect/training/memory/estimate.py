"""How much memory a run will take, before it is paid for: nothing is loaded and nothing is computed.

A micro-batch is walked through forward and backward with tensors that have shapes and no numbers, and what is alive at
once is counted. On a CPU the total is the process's peak resident memory as `time -v` and a container's limit see it,
libraries and data included; on a GPU it is what PyTorch allocates there. How close it comes is measured by
benchmarks/estimates.py.

Letters: N rows, T tokens, M scored tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prospect.config import ModelSettings
from prospect.data.batch import Example, flatten
from prospect.models import logps
from prospect.models.adapter_files import put_shape_on
from prospect.models.adapters import add_adapter, enable_gradient_checkpointing
from prospect.models.device import default_device
from prospect.models.head import Shaping, linear_logps
from prospect.models.loading import first_line, load_model_config
from prospect.models.precision import Arithmetic, arithmetic_of_run, resolve_precision
from prospect.models.quantization import saved_by_quantization
from prospect.models.reference import kind_of_reference
from prospect.models.working_copy import WorkingCopy, hold_in_bf16
from prospect.training.memory.allocator import caches_small_blocks
from prospect.training.memory.image_walk import denoiser_shape, image_scorer, largest_images
from prospect.training.online import has_reference
from prospect.training.prepare import Prepared
from prospect.training.text_medium import SAMPLED_TOGETHER

PARTS = ("libraries", "weights", "gradients", "optimizer", "reference", "activations")

# The process before the model is there, where the system does not say it: Python, PyTorch for CPUs, Transformers.
_LIBRARIES = 400e6
# What small things take.
_SMALL_THINGS = 15_000_000
# Room that a CPU's heap loses between blocks, as a share of what comes and goes within a step. Where glibc caches small
# blocks (see allocator.py) its heap falls to pieces, with adapters most of all. Measured by benchmarks/estimates.py.
_GAPS, _GAPS_BESIDE_CACHES, _GAPS_OF_ADAPTERS_BESIDE_CACHES = 0.4, 0.7, 1.5
_GAPS_ON_A_GPU = 0.1
# Of bitsandbytes: numbers that share a scale, and the smallest weight whose moments are held in 8 bits.
_BLOCK, _SMALLEST_IN_8_BITS = 256, 4096
# Steps looked at for the largest micro-batch: they are drawn alike, and that of the longest row is looked up apart.
_STEPS_SEEN = 50


class Shape(NamedTuple):
    """A micro-batch: N rows, the T tokens of the longest, and the M tokens that are scored."""

    rows: int
    longest: int
    scored: int


def estimate_memory(prepared: Prepared) -> dict[str, Any]:
    """Bytes by part.

    Returns:
        `parameters`, `trainable_parameters`, the `micro_batch` that was walked through as `[rows, longest]`, or of
        images as `[rows, width, height]`, and bytes:
        `libraries` (0 on a GPU), `weights`, `gradients`, `optimizer`, `reference`, `activations` and their `total`.
        activations is everything that comes and goes within a step: what is kept for the backward pass, logits,
        temporary gradients, and the gaps that they leave in the heap; or the keys and values of completions that are
        sampled for z0 before the gradient is taken, if they are more. Where the model's own code needs numbers (it
        branches on what a tensor holds), `activations` and `total` are None and `unknown` says why; a probe measures.
    """
    device = default_device()
    shape: Any = largest_images(prepared) if prepared.pipeline is not None else largest_micro_batch(prepared)
    model = _build(prepared)
    with FakeTensorMode(), torch.device(device):
        _give_shapes(model, device)
        working = _working_copy(model, prepared, device)
        parameters = list(model.parameters())
        trained = [p for p in parameters if p.requires_grad]
        walk, unknown = _walk_if_possible(model, prepared, shape, device, working)
        peak = max(walk.peak, _sampling_bytes(prepared)) if walk else 0
    weights = _bytes(parameters) - saved_by_quantization(model, prepared.config.model)
    gradients = _bytes(trained)
    second = weights if working is None or prepared.config.reference.follows else sum(2 * p.numel() for p in parameters)
    parts: dict[str, int | None] = {
        # The walk has brought in what training brings in, and holds nothing else of any size.
        "libraries": resident_bytes() + _SMALL_THINGS if device.type == "cpu" else 0,
        "weights": weights + (working.bytes if working is not None else 0),
        "gradients": gradients,
        "optimizer": _state_bytes(prepared.config.train.optimizer, trained),
        "reference": _reference_bytes(prepared, second, gradients),
        "activations": _with_gaps(peak, device, adapter=len(trained) < len(parameters)) if walk else None,
    }
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in trained),
        "micro_batch": list(shape if prepared.pipeline is not None else shape[:2]),
        **parts,
        "total": sum(size or 0 for size in parts.values()) if walk else None,
        **({"unknown": unknown} if unknown else {}),
    }


def largest_micro_batch(prepared: Prepared) -> Shape:
    """Return the micro-batch with most tokens, padding included; of those the one with most scored tokens."""
    steps = [examples for _, examples in prepared.plan.steps(0, min(prepared.plan.steps_per_epoch, _STEPS_SEEN))]
    steps.append(prepared.plan.hardest_step())
    shapes = [_shape(group) for examples in steps for group in prepared.groups(examples)]
    largest = max(shape.rows * shape.longest for shape in shapes)
    close = [shape for shape in shapes if shape.rows * shape.longest >= 0.9 * largest]
    return max(close, key=lambda shape: (shape.scored, shape.rows * shape.longest))


def resident_bytes() -> int:
    """Return what the process holds in memory now, as far as the system says it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        import resource

        return pages * resource.getpagesize()
    except (OSError, ImportError, ValueError):  # no Linux
        return int(_LIBRARIES)


def _shape(group: list[Example]) -> Shape:
    rows = flatten(group)
    return Shape(len(rows), max(row.length for row in rows), sum(len(row.completion_ids) for row in rows))


def _reference_bytes(prepared: Prepared, weights: int, trained: int) -> int:
    """Return what the reference holds: a second model, another one, a second adapter, or nothing."""
    settings, model = prepared.config.reference, prepared.config.model
    if not has_reference(prepared.config, prepared.loss):
        return 0
    kind = kind_of_reference(settings, has_adapter=model.trains_adapter, was_there=model.adapter == "continue")
    if kind == "named" and prepared.pipeline is None:
        other = model.model_copy(update={"name_or_path": settings.name_or_path, "lora": None, "adapter": None})
        return _bytes(_architecture(other).parameters())
    return {"frozen": weights, "named": weights, "adapter_as_loaded": trained, "adapter_off": 0}[kind]


def _sampling_bytes(prepared: Prepared) -> int:
    """Return what is held while completions are drawn for z0: keys and values, with room to grow, and logits."""
    settings = prepared.config.reference_point
    if settings.kind != "sampled":
        return 0
    config = load_model_config(prepared.config.model).get_text_config()
    rows = min(settings.completions, SAMPLED_TOGETHER)
    length = max(len(row.prompt_ids) for row in flatten(prepared.train.examples)) + (settings.max_new_tokens or 0)
    heads = getattr(config, "num_attention_heads", None) or 1  # one without attention keeps a state, which is less
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    cached = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * size
    # float32; a half more is kept free for tokens to come, and logits, their probabilities and their order are there.
    return int(4 * rows * (1.5 * length * cached + 3 * config.vocab_size))


def _state_bytes(optimizer: str, trained: Iterable[torch.Tensor]) -> int:
    """Return what an optimizer keeps of each weight: two numbers, two bytes with a scale, or rows and columns."""
    if optimizer == "adafactor":
        shapes = [p.shape for p in trained]
        return sum(4 * s.numel() // s[-1] + 4 * s.numel() // s[-2] if len(s) > 1 else 4 * s.numel() for s in shapes)
    by_weight = 2 * (1 + 4 / _BLOCK) if "8bit" in optimizer else None
    small = _SMALLEST_IN_8_BITS if by_weight else 0
    return int(sum(p.numel() * (by_weight if by_weight and p.numel() >= small else 8) for p in trained))


def _bytes(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() * p.dtype.itemsize for p in parameters)


def _build(prepared: Prepared) -> Any:
    """Return the policy's architecture without its weights."""
    if prepared.pipeline is not None:
        return denoiser_shape(prepared, prepared.pipeline)
    settings = prepared.config.model
    model = _architecture(settings)
    with torch.device("meta"):
        if settings.adapter == "continue":
            model = put_shape_on(model, prepared.source)
        elif settings.lora is not None:
            model = add_adapter(model, settings.lora)
    if prepared.config.train.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    return model


def _architecture(settings: ModelSettings) -> Any:
    """Return a model's architecture without its weights; adapters are folded in, and take no place."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            load_model_config(settings),
            dtype=getattr(torch, settings.dtype),
            trust_remote_code=settings.trust_remote_code,
        ).eval()


def _give_shapes(model: Any, device: torch.device) -> None:
    """Turn weights on no device into weights without numbers on this one; PEFT cannot start with those."""
    made: dict[int, torch.Tensor] = {}  # a weight that is there twice, as of a tied head, stays one
    for module in model.modules():
        for name, old in [*module._parameters.items()]:
            if old is not None:
                new = torch.empty(old.shape, dtype=old.dtype, device=device)
                module._parameters[name] = made.setdefault(id(old), torch.nn.Parameter(new, old.requires_grad))
        for name, old in [*module._buffers.items()]:
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype, device=device)


def _walk_if_possible(
    model: Any, prepared: Prepared, shape: Any, device: torch.device, working: WorkingCopy | None
) -> tuple[_Live | None, str | None]:
    """Return what the walk counted, or why there was none."""
    try:
        return _walk(model, prepared, shape, device, working), None
    except Exception as error:  # models bring their own code, and any of it may ask a tensor for its numbers
        return None, first_line(error)


def _with_gaps(peak: int, device: torch.device, *, adapter: bool) -> int:
    """Return what the process takes for so many bytes that are alive at once."""
    if device.type != "cpu":
        return int(peak * (1 + _GAPS_ON_A_GPU))
    beside_caches = _GAPS_OF_ADAPTERS_BESIDE_CACHES if adapter else _GAPS_BESIDE_CACHES
    return int(peak * (1 + (beside_caches if caches_small_blocks() else _GAPS)))


def _working_copy(model: Any, prepared: Prepared, device: torch.device) -> WorkingCopy | None:
    """Return the bfloat16 copies that the run computes in, where it does, with frozen weights as it holds them."""
    if not _arithmetic(prepared, device).in_copies:
        return None
    if not prepared.config.reference.follows:
        hold_in_bf16(model)
    return WorkingCopy(model)


def _arithmetic(prepared: Prepared, device: torch.device) -> Arithmetic:
    if prepared.pipeline is not None:
        return Arithmetic(resolve_precision(prepared.config.train.precision, device), in_copies=False)
    return arithmetic_of_run(prepared.config, device)


def _walk(model: Any, prepared: Prepared, shape: Any, device: torch.device, working: WorkingCopy | None) -> _Live:
    """Return what comes and goes within a step, beside weights, gradients, optimizer and reference."""
    arithmetic: Any = nullcontext()
    if working is not None:
        arithmetic = working.in_use()
    elif _arithmetic(prepared, device).precision == "bf16":
        arithmetic = torch.autocast(device.type, dtype=torch.bfloat16)
    score = _scorer(model, prepared, shape)
    for parameter in model.parameters():
        if parameter.requires_grad:  # as in every micro-batch of a step but the first
            parameter.grad = torch.empty_like(parameter)
    with _counting() as live:
        with arithmetic:
            scores = score()
            if prepared.loss.needs_reference:
                with torch.no_grad():
                    score()
        with nullcontext() if working is None else working.in_use():  # layers that are recomputed see the copies too
            scores.sum().backward()
    return live


def _scorer(model: Any, prepared: Prepared, shape: Any) -> Callable[[], torch.Tensor]:
    """Return what scores a micro-batch of this shape."""
    if prepared.pipeline is not None:
        return image_scorer(model, prepared.pipeline, shape)
    ids = torch.zeros(shape.rows, shape.longest, dtype=torch.int64)
    return lambda: _scores(model, ids, shape.scored, prepared.loss.reward_model)


def _scores(model: Any, ids: torch.Tensor, scored: int, reward_model: bool) -> torch.Tensor:
    """Log-probs (M,) as `models.logps` makes them, of the first M positions: which ones they are costs the same."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
    if reward_model:
        return hidden[:, -1]
    head = causal.get_output_embeddings()
    rows = max(1, logps.CHUNK_LOGITS // causal.config.get_text_config().vocab_size)
    hidden, targets = hidden.flatten(0, 1)[:scored], ids.flatten()[:scored]
    return linear_logps(hidden, head.weight, getattr(head, "bias", None), targets, Shaping(), rows)


@contextmanager
def _counting() -> Iterator[_Live]:
    """Count the memory of every tensor made within."""
    live = _Live()
    with live:
        yield live


class _Live(TorchDispatchMode):
    """Sees every operation, and knows how many bytes are alive.

    Attributes:
        peak: the most there ever was, in bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in inputs:
                self._hold(leaf.untyped_storage())
        return result

    def _hold(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._sizes:
            return
        self._sizes[key] = size
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)
