"""Prompts -> sampled completions, by the model's own `generate` and a stream of random numbers per prompt.

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
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from prospect import progress
from prospect.data.render import encode_prompt, end_token_ids, make_renderer
from prospect.errors import ConfigError, ModelError
from prospect.feedback.chat.renderer import ChatRenderer
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.chat.thoughts import read_opening
from prospect.feedback.records import Text
from prospect.models.modes import evaluating

LOWEST_TEMPERATURE = 1e-6  # logits divided by less could leave the range of float32
_LONGEST_SHOWN = 60  # characters of a prompt in a message

Progress = Callable[[int, int], None]
"""Told after each batch how many completions are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One completion.

    Attributes:
        text: the completion without special tokens; after a plain prompt, with the space it may begin with.
        tokens: how many tokens were generated, the end token counted.
        finished: whether it ended with an end token; false where the limit cut it.
        ids: the tokens themselves, the end token with them; empty where only the text was kept.
        opened: the think tag that the prompt ends with, so that the completion begins in thoughts; else "".
        logps: the log-prob of each of `ids`, nats: log softmax(logits / temperature) over the whole vocabulary, before
            `top_p` and `top_k` leave tokens out; 0 at temperature 0, where nothing is drawn. Not compared: other
            neighbours in a batch round their last bit otherwise.
    """

    text: str
    tokens: int
    finished: bool
    ids: tuple[int, ...] = ()
    opened: str = ""
    logps: tuple[float, ...] = field(default=(), compare=False)


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
    """
    _check_counts(max_new_tokens=max_new_tokens, batch_size=batch_size)
    prompts = {id(prompt): prompt for prompt, _ in asked}  # samples of one prompt are encoded once
    renderer = make_renderer(tokenizer, rendering)
    encoded = {
        name: encode_prompt(tokenizer, prompt, None, renderer, where=f"prompt {number}")
        for number, (name, prompt) in enumerate(prompts.items(), start=1)
    }
    _check_context(model, list(encoded.values()), max_new_tokens)
    rows = [_Row(number, sample, encoded[id(prompt)]) for number, (prompt, sample) in enumerate(asked)]
    # The longest first: padding is least, and what does not fit into memory fails at once and not at the end.
    rows.sort(key=lambda row: len(row.ids), reverse=True)
    ends = _end_ids(model, tokenizer, renderer)
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            try:
                completions = _complete(model, batch, sampling, ends, max_new_tokens, seed)
            except _NotFiniteError as error:
                prompt = asked[batch[error.row].number][0]
                raise ModelError(
                    f"the model's logits are not finite at token {error.step + 1} of its completion of prompt "
                    f"{list(prompts).index(id(prompt)) + 1} ({_shortened(prompt)}). Its weights are damaged or too "
                    "large for their number format: load another checkpoint, or the same one as float32."
                ) from None
            for row, (ids, logps) in zip(batch, completions, strict=True):
                prompt = asked[row.number][0]
                yield row.number, _read(tokenizer, row.ids, ids, logps, ends, plain=not renderer.is_chat(prompt))
            progress.count(start + len(batch), len(rows), "completions")


def _complete(
    model: Any, batch: Sequence[_Row], sampling: Sampling, ends: list[int], max_new_tokens: int, seed: int
) -> list[tuple[list[int], list[float]]]:
    """Return the generated ids of each row, up to and with its end token, and the log-prob of each."""
    width = max(len(row.ids) for row in batch)
    pad = ends[0] if ends else 0  # any id will do where the attention mask is 0
    ids = [[pad] * (width - len(row.ids)) + row.ids for row in batch]
    mask = [[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in batch]
    draws = torch.tensor(np.stack([_uniform_draws(seed, row, max_new_tokens) for row in batch]))
    draw = _Draw(sampling, draws.to(model.device), width)
    output = model.generate(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=_greedy(max_new_tokens, pad, ends),
        logits_processor=[draw],
    )
    completions = [_until_end(row, ends) for row in output[:, width:].tolist()]
    logps = torch.stack(draw.logps, 1).tolist()
    return [(ids, row[: len(ids)]) for ids, row in zip(completions, logps, strict=True)]


def _greedy(max_new_tokens: int, pad: int, ends: list[int]) -> GenerationConfig:
    """Return what leaves every choice to `_Draw`: a checkpoint's own settings fill only what is not named here."""
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        typical_p=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        num_return_sequences=1,
        return_dict_in_generate=False,
        use_cache=True,
        pad_token_id=pad,
        eos_token_id=ends or None,
    )


class _NotFiniteError(Exception):
    """A row of a batch has logits of which no distribution can be made, at a step from 0."""

    def __init__(self, row: int, step: int) -> None:
        super().__init__()
        self.row, self.step = row, step


class _Draw:
    """A logits processor that draws each row's next token with the row's own random number.

    It returns scores that leave the drawn token alone, so that `generate` can only take it.

    Attributes:
        logps: for each step, the log-probs (N,) of the tokens drawn; see `Generated`.
    """

    def __init__(self, sampling: Sampling, draws: Tensor, prompt_width: int) -> None:
        self.sampling = sampling
        self.draws = draws  # (N, tokens) in [0, 1)
        self.prompt_width = prompt_width
        self.logps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self.prompt_width
        # A token may be forbidden, with -inf; a row of nothing but that, NaN or +inf gives no distribution.
        broken = ~scores.amax(-1).isfinite()
        if bool(broken.any()):
            raise _NotFiniteError(int(broken.nonzero()[0]), step)
        draw = self.draws[:, step]
        chosen = draw_tokens(scores, draw, self.sampling)
        self.logps.append(drawn_logps(scores, chosen, self.sampling.temperature))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)


def draw_tokens(logits: Tensor, draw: Tensor, sampling: Sampling) -> Tensor:
    """Return the token that each row draws: the first whose cumulative probability exceeds `draw`.

    Tokens are lined up by falling probability, as `top_k` and `top_p` need it.

    Args:
        logits: (N, V), any float type.
        draw: (N,) uniform in [0, 1).
        sampling: temperature, top_p and top_k.

    Returns:
        (N,) token ids.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probs, order = torch.softmax(logits.float() / sampling.temperature, -1).sort(descending=True, stable=True)
    if sampling.top_k:
        probs, order = probs[:, : sampling.top_k], order[:, : sampling.top_k]
        probs = probs / probs.sum(-1, keepdim=True)
    cumulative = probs.cumsum(-1)
    probs = probs * (cumulative - probs < sampling.top_p)  # a token stays while those before it hold less than top_p
    cumulative = probs.cumsum(-1)
    target = draw[:, None].float() * cumulative[:, -1:]
    # In float32 a draw next to 1 may reach the total itself, which no sum exceeds: then the last one kept.
    place = (cumulative <= target).sum(-1).minimum((probs > 0).sum(-1) - 1)
    return order.gather(1, place[:, None])[:, 0]


def drawn_logps(logits: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """Return log softmax(logits / temperature) of the chosen tokens, float32 (N,); see `Generated.logps`."""
    if temperature == 0:
        return torch.zeros(len(chosen), device=logits.device)
    scaled = logits.float() / temperature
    return scaled.gather(1, chosen[:, None])[:, 0] - scaled.logsumexp(1)


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


def _until_end(ids: list[int], ends: list[int]) -> list[int]:
    """Cut the padding that follows a row's end token."""
    end = next((i for i, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: end + 1]


def _end_ids(model: Any, tokenizer: Any, renderer: ChatRenderer) -> list[int]:
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
