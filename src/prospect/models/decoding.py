"""The decoding loop: each prompt is read once for all its samples, and rows that have ended leave the batch.

Shapes: R rows (samples), P prompts, T positions, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

# A cache copies what it keeps when rows leave; below this share of the rows that were there it is worth it.
_STILL_WORTH_KEEPING = 0.8

_OPTIONAL = ("position_ids", "past_key_values", "logits_to_keep")

Draw = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Called with logits (R, V), the rows' numbers (R,) and the step from 0; returns tokens and log-probs, (R,)."""


@torch.no_grad()
def decode(
    model: Any, prompts: Sequence[list[int]], owners: Sequence[int], draw: Draw, ends: Collection[int], limit: int
) -> list[tuple[list[int], list[float]]]:
    """Return the ids that each row draws, up to and with its end token, at most `limit` of them, with their log-probs.

    Args:
        model: a causal language model in eval mode.
        prompts: ids, each prompt once; none may be empty.
        owners: of each row, which prompt it continues.
        draw: chooses tokens.
        ends: tokens that end a row.
        limit: most tokens of a row.
    """
    state = _State(model, prompts)
    prompt_of = torch.tensor(owners, device=model.device)
    logits = state.read_prompts()[prompt_of]
    state.select(prompt_of)
    rows = torch.arange(len(owners), device=model.device)
    open_rows = torch.ones(len(owners), dtype=torch.bool, device=model.device)
    ending = torch.tensor(sorted(ends), device=model.device)
    steps = []
    for step in range(limit):
        tokens, logps = draw(logits, rows, step)
        steps.append((rows, tokens, logps, open_rows))
        open_rows = open_rows & ~torch.isin(tokens, ending)
        left = int(open_rows.sum())
        if not left or step + 1 == limit:
            break
        if left <= _STILL_WORTH_KEEPING * len(rows):
            keep = open_rows.nonzero()[:, 0]
            state.select(keep)
            rows, tokens, open_rows = rows[keep], tokens[keep], open_rows[keep]
        logits = state.advance(tokens)
    return _by_row(steps, len(owners))


def _by_row(steps: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], count: int) -> list[tuple[list[int], list[float]]]:
    """Return tokens and log-probs of each row; a step has rows, tokens, log-probs and which rows were open, (R,)."""
    drawn: list[tuple[list[int], list[float]]] = [([], []) for _ in range(count)]
    rows, tokens, logps, was_open = (torch.cat(parts) for parts in zip(*steps, strict=True))
    kept = was_open.nonzero()[:, 0]
    for row, token, logp in zip(*(x[kept].tolist() for x in (rows, tokens, logps)), strict=True):
        drawn[row][0].append(token)
        drawn[row][1].append(logp)
    return drawn


class _State:
    """What the model has read of each row: cached keys and values, or the ids where it has no cache."""

    def __init__(self, model: Any, prompts: Sequence[list[int]]) -> None:
        width = max(map(len, prompts))
        device = model.device
        self.model = model
        self.ids = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
        self.mask = mask if bool((mask == 0).any()) else None  # without padding attention needs none
        self.lengths = mask.sum(1)
        self.accepts = _accepted(model)
        self.cache = _new_cache(model) if "past_key_values" in self.accepts else None

    def read_prompts(self) -> Tensor:
        """Return the logits (P, V) after each prompt."""
        logits = self._read_all()
        if self.cache is not None:
            for number, layer in enumerate(self.cache.layers):
                if type(layer) is DynamicLayer and layer.is_initialized:
                    self.cache.layers[number] = _GrowingLayer(layer)
        return logits

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in this order; a row may be there several times."""
        self.ids, self.lengths = self.ids[rows], self.lengths[rows]
        self.mask = None if self.mask is None else self.mask[rows]
        if self.cache is not None:
            self.cache.reorder_cache(rows)

    def advance(self, tokens: Tensor) -> Tensor:
        """Read one more token of each row, (R,), and return the logits (R, V) after it."""
        self.ids = torch.cat([self.ids, tokens[:, None]], 1)
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        positions = self.lengths[:, None]
        self.lengths = self.lengths + 1
        if self.cache is not None:
            return self._forward(tokens[:, None], positions)
        return self._read_all()

    def _read_all(self) -> Tensor:
        """Read every token that there is; positions count from a row's first token, not from its padding."""
        width = self.ids.shape[1]
        positions = torch.arange(width, device=self.ids.device) - (width - self.lengths[:, None])
        return self._forward(self.ids, positions.clamp(min=0))

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        given = {"position_ids": positions, "past_key_values": self.cache, "logits_to_keep": 1}
        if "output_router_logits" in self.accepts:
            given["output_router_logits"] = False  # their loss wants the logits of all positions
        known = {name: value for name, value in given.items() if name in self.accepts and value is not None}
        output = self.model(input_ids=ids, attention_mask=self.mask, use_cache=self.cache is not None, **known)
        return output.logits[:, -1]


def _accepted(model: Any) -> Collection[str]:
    """Return which of the optional arguments the model's forward takes."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    parameters = inspect.signature(inner.forward).parameters
    if "past_key_values" in parameters or "cache_params" in parameters:
        return parameters.keys()
    passes_on = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return _OPTIONAL if passes_on else parameters.keys()  # a wrapper around the model's own


def _new_cache(model: Any) -> DynamicCache:
    return DynamicCache(config=model.config.get_text_config(decoder=True))


class _GrowingLayer(DynamicLayer):
    """Keys and values (R, heads, T, size) in memory with room for more: a token is written, and nothing is copied.

    The library's layer copies all of itself for each token.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self._room: tuple[Tensor, Tensor] = (layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new positions and return all."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        if end > self._room[0].shape[-2]:
            self._room = (self._grown(self.keys, end), self._grown(self.values, end))
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[..., start:end, :] = new
        self.keys, self.values = (room[..., :end, :] for room in self._room)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Go on with these rows, in this order."""
        super().reorder_cache(beam_idx)
        self._room = (self.keys, self.values)

    @staticmethod
    def _grown(kept: Tensor, needed: int) -> Tensor:
        room = kept.new_empty(*kept.shape[:-2], needed + max(32, needed // 2), kept.shape[-1])
        room[..., : kept.shape[-2], :] = kept
        return room
