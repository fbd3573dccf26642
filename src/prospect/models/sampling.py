"""Prompts -> sampled completions, with a stream of random numbers per prompt.

A prompt's completion depends on the model, the seed, the prompt and the sample's number, and on nothing else:
not on what else is asked in the same call, nor in which order, nor on the batch size. So a model before and
after training answers one prompt with the same random numbers, and an evaluation of 100 prompts is a part of
that of 500. (Floating point is the limit: other neighbours mean other padding, and a sum rounded otherwise in
its last bit can change a draw exactly at a boundary, about once in a million tokens.)

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from prospect import progress
from prospect.data.render import encode_prompt, end_token_ids, make_renderer
from prospect.errors import ConfigError, ModelError
from prospect.feedback.chat.renderer import ChatRenderer
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.chat.thoughts import read_opening
from prospect.feedback.records import Text
from prospect.models.decoding import decode
from prospect.models.modes import evaluating, uncompiled

LOWEST_TEMPERATURE = 1e-6  # logits divided by less could leave the range of float32
_FIRST = (8, 128, 2048)  # how many tokens are ordered before the whole vocabulary is
_MARGIN = 1e-5  # float32 sums of probabilities in another order differ by less
_LONGEST_SHOWN = 60  # characters of a prompt in a message

Progress = Callable[[int, int], None]
"""Told after each batch how many completions are done, and of how many."""

Drawn = Callable[[int, int], None]
"""Told the number of a completion and each token that is drawn for it, for a while beyond its end as well."""

Heard = Callable[[int, str], None]
"""Told after each token the number of a completion and its text so far; what it raises ends the generation."""


class Generated(NamedTuple):
    """One completion.

    Attributes:
        text: the completion without special tokens; after a plain prompt, with the space it may begin with.
        tokens: how many tokens were generated, the end token counted.
        finished: whether it ended with an end token; false where the limit cut it.
        ids: the tokens themselves, the end token with them; empty where only the text was kept.
        opened: the think tag that the prompt ends with, so that the completion begins in thoughts; else "".
        logps: the log-prob of each of `ids`, nats: log softmax(logits / temperature) over the whole vocabulary, before
            `top_p` and `top_k` leave tokens out; 0 at temperature 0, where nothing is drawn.
    """

    text: str
    tokens: int
    finished: bool
    ids: tuple[int, ...] = ()
    opened: str = ""
    logps: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn from the model's distribution over the next one.

    Attributes:
        temperature: divides the logits; 0 takes the most probable token.
        top_p: keep the most probable tokens that together hold this share, at least one; 1 keeps all.
        top_k: keep this many of the most probable tokens; 0 keeps all.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature == 0 or self.temperature >= LOWEST_TEMPERATURE):
            raise ConfigError(
                f"temperature is {self.temperature}; expected 0 (greedy) or more, at least {LOWEST_TEMPERATURE:g}."
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; expected more than 0 and at most 1 (1 keeps every token).")
        if not self.top_k >= 0:
            raise ConfigError(f"top_k is {self.top_k}; expected 0 (keeps every token) or more.")


@dataclass(frozen=True, slots=True)
class _Row:
    """One completion to generate, the `number`th of what is asked: sample `sample` of the prompt with the ids `ids`."""

    number: int
    sample: int
    ids: list[int]


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Text],
    *,
    samples_per_prompt: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 0.8,
    top_p: float = 0.95,
    top_k: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress | None = None,
    rendering: Rendering | None = None,
) -> list[list[Generated]]:
    """Return `samples_per_prompt` completions of every prompt, in the prompts' order.

    A token is drawn with probability p_i / sum(kept p), p = softmax(logits / temperature) in float32, among
    the `top_k` most probable tokens and of those the fewest that hold `top_p` of the mass.

    Two equal prompts of one call get equal completions; ask for two samples of one prompt to have different
    ones. The model is put into eval mode, and given back in the mode it had.

    Args:
        model: a causal language model of Transformers, or a PEFT one.
        tokenizer: its tokenizer.
        prompts: plain strings, or conversations, which go through the chat template.
        samples_per_prompt: completions of each prompt.
        max_new_tokens: where a completion is cut, in tokens.
        temperature: 0 is greedy.
        top_p: see `Sampling`.
        top_k: see `Sampling`.
        seed: another seed, other completions.
        batch_size: completions generated together; changes speed and memory, never a completion.
        progress: see `Progress`.
        rendering: how prompts become text.

    Raises:
        ConfigError: a setting is out of its range.
        UnrenderableError: the chat template refuses a conversation.
        ModelError: a conversation without chat template, prompt and completion exceed the model's context, or the
            model's logits are not finite.
    """
    _check_counts(samples_per_prompt=samples_per_prompt)
    asked = [(prompt, sample) for prompt in prompts for sample in range(samples_per_prompt)]
    found: dict[int, Generated] = {}
    each = generate_each(
        model,
        tokenizer,
        asked,
        Sampling(temperature, top_p, top_k),
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        rendering=rendering,
    )
    for number, completion in each:
        found[number] = completion
        if progress is not None and (len(found) % batch_size == 0 or len(found) == len(asked)):
            progress(len(found), len(asked))
    return [[found[i * samples_per_prompt + s] for s in range(samples_per_prompt)] for i in range(len(prompts))]


def generate_each(
    model: Any,
    tokenizer: Any,
    asked: Sequence[tuple[Text, int]],
    sampling: Sampling,
    *,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    rendering: Rendering | None = None,
    heard: Heard | None = None,
) -> Iterator[tuple[int, Generated]]:
    """Yield the number of a completion that is asked for and the completion, as soon as its batch is done.

    Args:
        model: as in `generate`, and so is what it refuses.
        tokenizer: its tokenizer.
        asked: prompts, each with the number of the sample that is wanted of it.
        sampling: how tokens are drawn.
        max_new_tokens: where a completion is cut, in tokens.
        seed: another seed, other completions.
        batch_size: completions generated together.
        rendering: how prompts become text.
        heard: see `Heard`.
    """
    prompts = {id(prompt): prompt for prompt, _ in asked}  # samples of one prompt are encoded once
    renderer = make_renderer(tokenizer, rendering)
    encoded = {
        name: encode_prompt(tokenizer, prompt, None, renderer, where=f"prompt {number}")
        for number, (name, prompt) in enumerate(prompts.items(), start=1)
    }

    def name_of(number: int) -> str:
        prompt = asked[number][0]
        return f"{list(prompts).index(id(prompt)) + 1} ({_shortened(prompt)})"

    wanted = [(encoded[id(prompt)], sample) for prompt, sample in asked]
    ends = end_ids(model, tokenizer, renderer)

    def read(number: int, ids: list[int], logps: list[float]) -> Generated:
        return _read(tokenizer, wanted[number][0], ids, logps, ends, plain=not renderer.is_chat(asked[number][0]))

    so_far: dict[int, list[int]] = {}

    def drawn(number: int, token: int) -> None:
        ids = so_far.setdefault(number, [])
        if heard is not None and (not ids or ids[-1] not in ends):  # rows that have ended are drawn for a while
            ids.append(token)
            heard(number, read(number, ids, []).text)

    each = generate_ids(
        model,
        wanted,
        sampling,
        ends,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        name_of=name_of,
        drawn=None if heard is None else drawn,
    )
    for number, ids, logps in each:
        yield number, read(number, ids, logps)


def generate_ids(
    model: Any,
    asked: Sequence[tuple[list[int], int]],
    sampling: Sampling,
    ends: list[int],
    *,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    name_of: Callable[[int], str],
    drawn: Drawn | None = None,
) -> Iterator[tuple[int, list[int], list[float]]]:
    """Yield the number of a completion that is asked for, its tokens and the log-prob of each; see `Generated`.

    Args:
        model: as in `generate`, and so is what it refuses.
        asked: the ids of prompts, each with the number of the sample that is wanted of it.
        sampling: how tokens are drawn.
        ends: tokens that end a completion; see `end_ids`.
        max_new_tokens: where a completion is cut, in tokens.
        seed: another seed, other completions.
        batch_size: completions generated together.
        name_of: what messages call the prompt of the completion with this number.
        drawn: see `Drawn`.
    """
    _check_counts(max_new_tokens=max_new_tokens, batch_size=batch_size)
    _check_context(model, [ids for ids, _ in asked], max_new_tokens)
    rows = [_Row(number, sample, ids) for number, (ids, sample) in enumerate(asked)]
    # The longest first: padding is least, and what does not fit into memory fails at once and not at the end.
    rows.sort(key=lambda row: len(row.ids), reverse=True)
    with evaluating(model), uncompiled(model):
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            try:
                completions = _complete(model, batch, sampling, ends, max_new_tokens, seed, drawn)
            except _NotFiniteError as error:
                raise ModelError(
                    f"the model's logits are not finite at token {error.step + 1} of its completion of prompt "
                    f"{name_of(batch[error.row].number)}. Its weights are damaged or too large for their number "
                    "format: load another checkpoint, or the same one as float32."
                ) from None
            for row, (ids, logps) in zip(batch, completions, strict=True):
                yield row.number, ids, logps
            if drawn is None:  # who is told of every token knows how far it is
                progress.count(start + len(batch), len(rows), "completions")


def _complete(
    model: Any,
    batch: Sequence[_Row],
    sampling: Sampling,
    ends: list[int],
    max_new_tokens: int,
    seed: int,
    drawn: Drawn | None,
) -> list[tuple[list[int], list[float]]]:
    """Return the generated ids of each row, up to and with its end token, and the log-prob of each."""
    prompts = list({tuple(row.ids): row.ids for row in batch}.values())
    places = {tuple(ids): place for place, ids in enumerate(prompts)}
    draws = torch.tensor(np.stack([_uniform_draws(seed, row, max_new_tokens) for row in batch])).to(model.device)

    def draw(logits: Tensor, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        # A token may be forbidden, with -inf; a row of nothing but that, NaN or +inf gives no distribution.
        broken = ~logits.amax(-1).isfinite()
        if bool(broken.any()):
            raise _NotFiniteError(int(rows[broken][0]), step)
        tokens, logps = draw_tokens(logits, draws[rows, step], sampling)
        if drawn is not None:
            for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
                drawn(batch[row].number, token)
        return tokens, logps

    return decode(model, prompts, [places[tuple(row.ids)] for row in batch], draw, ends, max_new_tokens)


class _NotFiniteError(Exception):
    """A row of a batch has logits of which no distribution can be made, at a step from 0."""

    def __init__(self, row: int, step: int) -> None:
        super().__init__()
        self.row, self.step = row, step


def draw_tokens(logits: Tensor, draw: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return the token that each row draws, the first whose cumulative probability exceeds `draw`, and its log-prob.

    Tokens are ordered by falling probability, as `top_k` and `top_p` need it; equal ones by their ids. Most rows draw
    one of the few most probable tokens, so the whole vocabulary is sorted only for the others.

    Args:
        logits: (N, V), any float type.
        draw: (N,) uniform in [0, 1).
        sampling: temperature, top_p and top_k.

    Returns:
        Token ids (N,), and their log-probs (N,), nats; see `Generated.logps`.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1), torch.zeros(len(logits), device=logits.device)
    probs = torch.softmax(logits.float() / sampling.temperature, -1)
    chosen = torch.empty(len(probs), dtype=torch.long, device=probs.device)
    open_rows = torch.arange(len(probs), device=probs.device)
    for size in _FIRST:
        if probs.shape[1] <= 16 * size or not len(open_rows):  # a short vocabulary is sorted as fast
            break
        chosen[open_rows], sure = _draw_from_first(probs[open_rows], draw[open_rows], sampling, size)
        open_rows = open_rows[~sure]
    if len(open_rows):
        ordered = probs[open_rows].sort(descending=True, stable=True)
        chosen[open_rows] = _draw_from(*ordered, draw[open_rows], sampling, None)[0]
    return chosen, probs.gather(1, chosen[:, None])[:, 0].log()


def _draw_from_first(probs: Tensor, draw: Tensor, sampling: Sampling, size: int) -> tuple[Tensor, Tensor]:
    """Draw from the `size` most probable tokens, and tell which draws the others cannot change; see `_draw_from`."""
    ids = probs.topk(size + 1).indices.sort(-1).values  # equal ones in the order of their ids, which topk has not
    first, order = probs.gather(1, ids).sort(descending=True, stable=True)
    return _draw_from(first[:, :-1], ids.gather(1, order)[:, :-1], draw, sampling, first[:, -1])


def _draw_from(
    probs: Tensor, order: Tensor, draw: Tensor, sampling: Sampling, rest: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Draw from probabilities (N, M) in falling order, and tell which draws the tokens left out cannot change.

    Args:
        probs: those of all tokens, or of the most probable ones.
        order: their ids, (N, M).
        draw: (N,) uniform in [0, 1).
        sampling: top_p and top_k.
        rest: (N,), the most probable token left out; None if there is none.

    Returns:
        Token ids (N,), and bool (N,): false where the draw depends on tokens left out, or lies on a boundary.
    """
    sure = torch.ones(len(probs), dtype=torch.bool, device=probs.device)
    whole = rest is None
    if sampling.top_k and (rest is None or sampling.top_k <= probs.shape[1]):
        probs, order, whole = probs[:, : sampling.top_k], order[:, : sampling.top_k], True
        if rest is not None:
            sure &= probs[:, -1] > rest  # an equal one left out could come first
        probs = probs / probs.sum(-1, keepdim=True)
    elif sampling.top_k:
        return order[:, 0].clone(), ~sure
    cumulative = probs.cumsum(-1)
    if sampling.top_p < 1:
        before = cumulative - probs
        kept = before < sampling.top_p  # a token stays while those before it hold less than top_p
        if rest is not None:
            sure &= (before - sampling.top_p).abs().amin(-1) > _MARGIN
            if not whole:
                sure &= ~kept[:, -1] & (probs[:, -1] > rest)
        probs = probs * kept
        cumulative = probs.cumsum(-1)
    total = cumulative[:, -1:] if whole or sampling.top_p < 1 else torch.ones_like(cumulative[:, -1:])
    target = draw[:, None].float() * total
    # In float32 a draw next to 1 may reach the total itself, which no sum exceeds: then the last one kept.
    place = (cumulative <= target).sum(-1).minimum((probs > 0).sum(-1) - 1)
    if rest is not None:
        sure &= (cumulative - target).abs().amin(-1) > _MARGIN
        if not whole:
            sure &= (target[:, 0] < cumulative[:, -1]) & (probs.gather(1, place[:, None])[:, 0] > rest)
    return order.gather(1, place[:, None])[:, 0], sure


def _uniform_draws(seed: int, row: _Row, count: int) -> np.ndarray:
    """Return one number in [0, 1) per token to come: a function of seed, prompt ids and sample alone."""
    name = f"{seed}|{row.sample}|{','.join(map(str, row.ids))}".encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key)).random(count, dtype=np.float32)


def _read(
    tokenizer: Any, prompt_ids: list[int], ids: list[int], logps: list[float], ends: list[int], *, plain: bool
) -> Generated:
    """Return the completion as text."""
    text = _decode(tokenizer, ids)
    if plain:
        # Tokenizers of the SentencePiece family drop the first token's space, which here separates two words.
        before, whole = _decode(tokenizer, prompt_ids), _decode(tokenizer, prompt_ids + ids)
        text = whole.removeprefix(before) if whole.startswith(before) else text
    # The last tokens are enough for a tag and the white space after it.
    opened = read_opening(tokenizer.decode(prompt_ids[-16:], clean_up_tokenization_spaces=False)).tag
    return Generated(text, len(ids), bool(ids) and ids[-1] in ends, tuple(ids), opened, tuple(logps))


def _shortened(prompt: Text) -> str:
    """Return the end of a prompt, by which prompts of one beginning differ."""
    text = prompt if isinstance(prompt, str) else prompt[-1].content if prompt else ""
    text = " ".join(text.split())
    return f'"{text}"' if len(text) <= _LONGEST_SHOWN else f'"...{text[-_LONGEST_SHOWN:]}"'


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def end_ids(model: Any, tokenizer: Any, renderer: ChatRenderer) -> list[int]:
    """Return every token that ends a completion: the tokenizer's, the template's, the checkpoint's own."""
    own = getattr(model.generation_config, "eos_token_id", None)
    listed = own if isinstance(own, list | tuple) else [own]
    return sorted({*end_token_ids(tokenizer, renderer), *(i for i in listed if i is not None)})


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name} is {count}; expected a whole number of at least 1.")


def _check_context(model: Any, encoded: Sequence[list[int]], max_new_tokens: int) -> None:
    """Refuse what the model has no positions for, before anything is generated."""
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max(map(len, encoded), default=0)
    if encoded and context is not None and longest + max_new_tokens > context:
        raise ModelError(
            f"the longest prompt has {longest} tokens and max_new_tokens is {max_new_tokens}, but the model "
            f"has only {context} positions (max_position_embeddings). Lower max_new_tokens or cut the prompt."
        )
