"""The output layer and its log-softmax, a few tokens at a time: hidden states to log-probs of target tokens.

Letters: M scored tokens, H hidden, V vocabulary, R tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from prospect.models.in_place import add_to, sum_of

IN_CACHE = 2**18  # numbers: 1 MiB of float32, the second cache of one core, of which each thread has one


class Shaping(NamedTuple):
    """What a family does to its logits before the softmax: `cap * tanh(scale * logits / cap)`.

    Attributes:
        scale: a factor.
        cap: no logit leaves (-cap, cap); None where there is none.
    """

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> Shaping:
        """Read from a model's configuration; a name that is missing here is found out by `choose_scorer`."""
        scale = 1.0
        for factor in ("logit_scale", "lm_head_multiplier"):  # Cohere; Falcon-H1
            scale *= getattr(config, factor, None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
        caps = (getattr(config, name, None) for name in ("final_logit_softcapping", "logits_soft_cap"))
        return cls(scale, next(filter(None, caps), None))  # Gemma; RecurrentGemma


def head_logps(
    head: Any,
    forward: Callable[[torch.Tensor], torch.Tensor],
    hidden: torch.Tensor,
    targets: torch.Tensor,
    shaping: Shaping,
    rows: int,
) -> torch.Tensor:
    """Log-prob of each target: `shaped(head(hidden))[target] - logsumexp(shaped(head(hidden)))`.

    Args:
        head: the output layer. An ordinary linear one goes the fast way; any other (with an adapter, quantised,
            parametrised) is called chunk by chunk, and again in the backward pass.
        forward: its own forward function.
        hidden: (M, H).
        targets: int64 (M,), token ids.
        shaping: what comes between logits and softmax.
        rows: tokens whose logits may be held at once, R.

    Returns:
        (M,) nats, float32 (float64 for float64 weights).
    """
    if not _is_plain_linear(head, forward):
        return _module_logps(forward, hidden, targets, shaping, rows)
    return linear_logps(hidden, head.weight, head.bias, targets, shaping, rows)


def linear_logps(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    shaping: Shaping,
    rows: int,
) -> torch.Tensor:
    """Return the same for a linear head of weight (V, H) and bias (V,), with its gradient worked out by hand."""
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    grad = torch.is_grad_enabled()  # inside the function it is always off
    return _LinearLogps.apply(hidden, weight, bias, targets, shaping, rows, dtype, grad)


class _LinearLogps(torch.autograd.Function):
    """Three ways to the gradient, all with the same values.

    A head that is not trained: the gradient of the hidden states, up to one number per token, is computed with the
    values, while the chunk is there; (M, H) is kept. A trained one: where all logits fit into one chunk, what is left
    of them is kept; else nothing, and the backward pass computes each chunk again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        shaping: Shaping,
        rows: int,
        dtype: torch.dtype,
        grad: bool,
    ) -> torch.Tensor:
        ctx.shaping, ctx.rows, ctx.dtype = shaping, rows, dtype
        trained = any(ctx.needs_input_grad[1:3])
        ctx.ready = grad and ctx.needs_input_grad[0] and not trained
        ctx.kept = grad and trained and len(hidden) <= rows
        logps = torch.empty(len(hidden), dtype=_wide(dtype), device=hidden.device)
        slope = torch.empty_like(hidden) if ctx.ready else None
        kept: tuple[torch.Tensor, ...] = ()
        with torch.autocast(hidden.device.type, enabled=False):
            linear = _Linear.cast(weight, bias, dtype)
            for part in _parts(len(hidden), rows):
                own = hidden[part].to(dtype)
                logps[part], left = _forward_chunk(linear, own, targets[part], shaping, ctx.ready or ctx.kept)
                if slope is not None:
                    derivative, factor = left
                    slope[part] = (derivative @ linear.weight) * (factor * shaping.scale)
                elif ctx.kept:
                    kept = left
        ctx.save_for_backward(*((slope,) if slope is not None else (hidden, weight, bias, targets, *kept)))
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.ready:
            (slope,) = ctx.saved_tensors
            return slope * grad.unsqueeze(1).to(slope.dtype), *[None] * 7
        hidden, weight, bias, targets, *kept = ctx.saved_tensors
        grad = grad.unsqueeze(1) * ctx.shaping.scale
        totals = _Gradients(hidden, weight, bias, ctx.needs_input_grad)
        with torch.autocast(hidden.device.type, enabled=False):
            linear = _Linear.cast(weight, bias, ctx.dtype)
            for part in _parts(len(hidden), ctx.rows):
                own = hidden[part].to(ctx.dtype)
                if ctx.kept:
                    derivative, factor = kept
                else:
                    derivative, factor = _forward_chunk(linear, own, targets[part], ctx.shaping, grad=True)[1]
                totals.add(part, linear, own, derivative, (factor * grad[part]).to(ctx.dtype))
        return *totals.of_inputs(), *[None] * 5


class _Linear(NamedTuple):
    """A linear layer in the dtype of its arithmetic."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def cast(cls, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> _Linear:
        return cls(weight.to(dtype), None if bias is None else bias.to(dtype))

    def logits(self, hidden: torch.Tensor, scale: float) -> torch.Tensor:
        """(R, H) to (R, V), scaled; memory of the caller's own, to be written over."""
        start = hidden.new_zeros(1) if self.bias is None else self.bias
        return torch.addmm(start, hidden, self.weight.t(), beta=0 if self.bias is None else scale, alpha=scale)


class _Left(NamedTuple):
    """What a chunk leaves: exp(logits - their maximum) (R, V), their sums (R, 1), the slope of the cap (R, V)."""

    exponentials: torch.Tensor
    total: torch.Tensor
    cap_slope: torch.Tensor | None

    def derivative(self, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient by the scaled logits, (R, V) times (R, 1); writes over the exponentials.

        The sums stay outside: dividing the products with hidden states and weights by them is H / V of the work.
        """
        return self._by_total(targets), -1 / self.total

    def narrow_derivative(self, targets: torch.Tensor, out: torch.Tensor) -> None:
        """Write the gradient's negative, in half precision.

        There the sums could overflow, and the division comes with the cast for nothing.
        """
        torch.div(self._by_total(targets), self.total, out=out)

    def _by_total(self, targets: torch.Tensor) -> torch.Tensor:
        left = self.exponentials.scatter_add_(1, targets.unsqueeze(1), -self.total)
        return left if self.cap_slope is None else left.mul_(self.cap_slope)


def _forward_chunk(
    linear: _Linear, hidden: torch.Tensor, targets: torch.Tensor, shaping: Shaping, grad: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Log-probs (R,) and, where wanted, the gradient by the scaled logits: (R, V) times (R, 1).

    Both are made in the memory of the logits; with a cap's gradient in twice that. Logits in half precision are widened
    a few rows at a time, on a CPU as many as its cache holds.
    """
    logits = linear.logits(hidden, shaping.scale)
    if logits.dtype == _wide(logits.dtype):
        logps, left = _softmax(logits, targets, shaping, grad)
        return logps, left.derivative(targets) if grad else ()
    logps = torch.empty(len(hidden), dtype=_wide(logits.dtype), device=hidden.device)
    cached = IN_CACHE * torch.get_num_threads() // logits.shape[1]
    at_once = max(1, cached) if hidden.device.type == "cpu" else len(hidden)
    for part in _parts(len(hidden), at_once):
        logps[part], left = _softmax(logits[part].to(logps.dtype), targets[part], shaping, grad)
        if grad:
            left.narrow_derivative(targets[part], out=logits[part])
    return logps, (logits, -torch.ones_like(logps).unsqueeze(1)) if grad else ()


def _softmax(logits: torch.Tensor, targets: torch.Tensor, shaping: Shaping, grad: bool) -> tuple[torch.Tensor, _Left]:
    """Log-probs (R,) and what is left of the logits, which are written over."""
    cap_slope = None
    if shaping.cap is not None:
        logits.div_(shaping.cap).tanh_()
        cap_slope = logits.square().neg_().add_(1) if grad else None
        logits.mul_(shaping.cap)
    target = logits.gather(1, targets.unsqueeze(1))
    top = logits.amax(1, keepdim=True)
    exponentials = logits.sub_(top).exp_()
    total = exponentials.sum(1, keepdim=True)
    return (target - top - total.log()).squeeze(1), _Left(exponentials, total, cap_slope)


class _Gradients:
    """Sums over chunks of the gradients that are wanted, of hidden states, weight and bias."""

    def __init__(
        self, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, wanted: tuple[bool, ...]
    ) -> None:
        self._like = (hidden, weight, bias)
        self._wanted = wanted
        self._hidden = torch.empty_like(hidden) if wanted[0] else None
        self._in_place = sum_of(weight) if wanted[1] else None
        self._weight = self._in_place
        self._bias: torch.Tensor | None = None

    def add(
        self, part: slice, linear: _Linear, hidden: torch.Tensor, derivative: torch.Tensor, factor: torch.Tensor
    ) -> None:
        """Accumulate a chunk whose logits have the gradient `derivative` (R, V) times `factor` (R, 1)."""
        if self._hidden is not None:
            self._hidden[part] = (derivative @ linear.weight).mul_(factor)
        if self._wanted[1]:
            self._weight = _plus_product(self._weight, derivative.t(), hidden * factor)
        if self._wanted[2]:
            self._bias = _plus_product(self._bias, derivative.t(), factor)

    def of_inputs(self) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """In the inputs' own dtypes; None for a weight whose gradient was added to `.grad` in place."""
        weight = None if self._weight is None or self._in_place is not None else self._weight.to(self._like[1].dtype)
        bias = None if self._bias is None or self._like[2] is None else self._bias[:, 0].to(self._like[2].dtype)
        return self._hidden, weight, bias


def _plus_product(total: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Add a @ b to a sum that is kept in float32, so that many chunks lose no more to rounding than one."""
    if total is None:
        return a @ b
    total = total.to(_wide(total.dtype))
    if total.dtype == a.dtype:
        return total.addmm_(a, b)
    add_to(total, a @ b)
    return total


def _module_logps(
    forward: Callable[[torch.Tensor], torch.Tensor],
    hidden: torch.Tensor,
    targets: torch.Tensor,
    shaping: Shaping,
    rows: int,
) -> torch.Tensor:
    """For any head: autograd works out the gradient, and computes each chunk again where there are several."""

    def chunk(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return gather_logps(shape_logits(forward(hidden), shaping), targets)

    if len(hidden) <= rows:
        return chunk(hidden, targets)
    inputs = [(hidden[part], targets[part]) for part in _parts(len(hidden), rows)]
    if not torch.is_grad_enabled():
        return torch.cat([chunk(h, t) for h, t in inputs])
    return torch.cat([checkpoint(chunk, h, t, use_reentrant=False) for h, t in inputs])


def shape_logits(logits: torch.Tensor, shaping: Shaping) -> torch.Tensor:
    """Apply a family's scale and cap in float32 or wider."""
    logits = logits.to(_wide(logits.dtype)) * shaping.scale
    return logits if shaping.cap is None else shaping.cap * torch.tanh(logits / shaping.cap)


def gather_logps(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(M, V) and (M,) to (M,) nats."""
    return logits.gather(1, targets.unsqueeze(1)).squeeze(1) - logits.logsumexp(1)


def _is_plain_linear(head: Any, forward: Callable[..., torch.Tensor]) -> bool:
    """Whether calling it is `hidden @ weight.T + bias`; `fully_shard` makes a subclass, which is still that."""
    own = getattr(forward, "__func__", None) is torch.nn.Linear.forward
    return own and type(head.weight) in (torch.Tensor, torch.nn.Parameter)


def _parts(count: int, rows: int) -> Iterator[slice]:
    """Cut `count` rows into as few chunks of at most `rows` as can be, of almost equal length."""
    length = -(-count // max(1, -(-count // rows)))
    for start in range(0, count, max(1, length)):
        yield slice(start, start + length)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums and exponentials: float32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)
