"""What every model that is trained has, whatever it writes: weights, an adapter maybe, and its arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from prospect.models.working_copy import WorkingCopy, hold_in_bf16


class TrainedModel:
    """A model that scores completions, and that the optimizer moves.

    Attributes:
        model: the module, wrapped by PEFT where there is an adapter.
        precision: "fp32" or "bf16", of the forward and backward pass.
        identity: hash of the weights it was loaded with, and of what else decides its log-probs.
        has_adapter: whether it has an adapter; of what is trained then nothing else is trained.
        base_identity: the same hash without the adapter; None where no adapter was there when it was loaded.
        value_head: what a loss with `needs_values` asks for the value of each token; None of what has no tokens.
        working: the weights in bfloat16, where they are used in that; None leaves bf16 to autocast.
    """

    model: Any
    precision: str
    identity: str
    has_adapter: bool
    base_identity: str | None
    value_head: Any = None
    working: WorkingCopy | None = None

    def logps(self, batch: Any) -> torch.Tensor:
        """Return log-probs of completions: (N,) nats."""
        raise TypeError(f"{type(self).__name__} must say how it scores a batch")

    def score_tokens(self, batch: Any) -> Any:
        """Return log-probs by token, of completions that are made of tokens."""
        raise TypeError(f"{type(self).__name__} scores completions as a whole")

    def layers(self) -> list[torch.nn.Module]:
        """Return what is put together one by one where weights are sharded, in the order of the model."""
        raise TypeError(f"{type(self).__name__} must say what its layers are")

    def choose_scorer(self) -> None:
        """Try out how log-probs are computed fastest, where the weights are now; by default there is one way."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def arithmetic(self) -> Any:
        """Return the arithmetic of forward passes."""
        if self.working is not None:
            return self.copies_in_use()
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def copies_in_use(self) -> Any:
        """Put the bfloat16 copies of the weights in use where there are any: to generate, or to compute again."""
        return nullcontext() if self.working is None else self.working.in_use()

    def use_copies(self, *, keep_frozen: bool) -> None:
        """Compute in bfloat16 copies of float32 weights.

        Args:
            keep_frozen: whether weights that are not trained stay float32 beside their copies, because they will be
                moved or written; else they are held in bfloat16 only.
        """
        if not keep_frozen:
            hold_in_bf16(self.model)
        self.working = WorkingCopy(self.model)

    def weights_moved(self) -> None:
        """Receive the notice that the optimizer has moved the weights; a fused one leaves no trace on them."""
        self._cast_again(self.trainable().values())

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Return what the optimizer moves, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def merged_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every trained weight of the model by name; of an adapter, the weight it adapts with the adapter added."""
        adapted = [(name, module) for name, module in self.model.named_modules() if hasattr(module, "get_delta_weight")]
        for name, module in adapted:
            for adapter in module.active_adapters:
                yield f"{name}.base_layer.weight", module.base_layer.weight + module.get_delta_weight(adapter)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not any(name.startswith(f"{prefix}.") for prefix, _ in adapted):
                yield name, parameter

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Give the model as it was before the adapter."""
        with self.model.disable_adapter():
            yield

    @contextmanager
    def with_weights(self, others: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Give the model with other values in some parameters, exchanged in place and back again.

        In place, and behind autograd's back: what a forward pass has kept for its backward pass is the same memory,
        which then holds what it held; and sharded weights are gathered from that memory.
        """
        parameters = dict(self.model.named_parameters())
        own = {name: parameters[name].data.clone() for name in others}
        try:
            for name, values in others.items():
                parameters[name].data.copy_(values)
            self._cast_again(parameters[name] for name in others)
            yield
        finally:
            for name, values in own.items():
                parameters[name].data.copy_(values)
            self._cast_again(parameters[name] for name in others)

    def _cast_again(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        if self.working is not None:
            self.working.changed(parameters)
