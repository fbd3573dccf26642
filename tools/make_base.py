"""Makes the demo's base model: `python tools/make_base.py [--output DIR]`, about ten minutes.

A byte-level BPE tokenizer with a small chat template, and a Llama of 1.1 million parameters, are trained
on the support desk's old log (`support_log.py`), good and bad replies alike, with plain PyTorch. Every draw is
seeded, so the same machine and versions make the same files. What is committed under
`src/prospect/demo/base/` was made by this script.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from base_training import bytes_of, descend, say, write_in_halves
from prospect.demo.base import BASE, load_base
from prospect.demo.rubric import passes
from prospect.demo.world import REPLY_TOKENS, Inquiry, held_out_prompts
from prospect.models.sampling import generate
from prospect.training.memory.allocator import keep_freed_memory
from support_log import support_log

SEED = 0
LOG_SIZE = 40_000
VOCABULARY = 640  # nearly every word of the world is one token; more would be parameters without use
STEPS = 1_600  # copying an order number is learnt between step 700 and 1,000; the rest makes it reliable
BATCH_SIZE = 32
LEARNING_RATE = 3e-3  # the peak; models this small want much
WARMUP = 100

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('the roles are user and assistant, not ' + message['role']) }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>")


def main(argv: Sequence[str] | None = None) -> None:
    """Train tokenizer and model, write them, and print what they are."""
    parser = argparse.ArgumentParser(description="Make the base model of `prospect demo`.")
    parser.add_argument("--output", type=Path, default=BASE, metavar="DIR", help="where to write model and tokenizer")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps (default: %(default)s)")
    arguments = parser.parse_args(argv)

    keep_freed_memory()
    # One thread: sums have one order whatever the machine, and no thread waits for a core that others use.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    log = list(support_log(LOG_SIZE, SEED))
    tokenizer = train_tokenizer(text for inquiry, reply in log for text in (inquiry.message, reply))
    model = make_model(tokenizer)
    train(model, encode(tokenizer, log), arguments.steps)
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    write_in_halves(arguments.output)
    say(describe(arguments.output))


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE whose digits stand alone: an order number can be copied digit by digit."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    pad, begin, end, _, _ = SPECIAL
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, bpe.token_to_id(begin))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=begin,
        eos_token=end,
        pad_token=pad,
        extra_special_tokens=list(SPECIAL[3:]),
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: Any) -> LlamaForCausalLM:
    """Return an untrained Llama: three layers, for copying takes two; wide rather than deep, for speed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=3,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: Any, log: Sequence[tuple[Inquiry, str]]) -> list[tuple[list[int], int]]:
    """Return each conversation's ids, and how many of them are the prompt's."""
    prompts = [_render(tokenizer, [_turn("user", inquiry.message)], True) for inquiry, _ in log]
    replies = [reply + tokenizer.eos_token for _, reply in log]
    heads = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    tails = tokenizer(replies, add_special_tokens=False)["input_ids"]
    return [(head + tail, len(head)) for head, tail in zip(heads, tails, strict=True)]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _render(tokenizer: Any, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)


def train(model: LlamaForCausalLM, rows: Sequence[tuple[list[int], int]], steps: int) -> None:
    """Minimise the cross-entropy of the replies' tokens, under AdamW with warm-up and a cosine to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)

    def loss_of_a_batch() -> Tensor:
        ids, labels = _batch(rows, torch.randint(len(rows), (BATCH_SIZE,)).tolist())
        # No attention mask: padding is on the right, where a causal model's tokens cannot see it.
        loss: Tensor = model(input_ids=ids, labels=labels, use_cache=False).loss
        return loss

    descend(model, optimizer, loss_of_a_batch, steps=steps, warmup=WARMUP)


def _batch(rows: Sequence[tuple[list[int], int]], chosen: list[int]) -> tuple[Tensor, Tensor]:
    """Return ids and labels (N, T); a label of -100 is not scored: prompts and padding."""
    width = max(len(rows[i][0]) for i in chosen)
    ids, labels = torch.zeros(len(chosen), width, dtype=torch.long), torch.full((len(chosen), width), -100)
    for place, i in enumerate(chosen):
        row, prompt = torch.tensor(rows[i][0]), rows[i][1]
        ids[place, : len(row)] = row
        labels[place, prompt : len(row)] = row[prompt:]
    return ids, labels


def describe(output: Path) -> str:
    """Return what was made: parameters, bytes on disk, share of sampled replies that pass the rubric."""
    model, tokenizer = load_base(output)
    inquiries = held_out_prompts(300)
    prompts = [inquiry.prompt for inquiry in inquiries]
    replies = generate(model, tokenizer, prompts, max_new_tokens=REPLY_TOKENS, batch_size=128, seed=SEED)
    passed = sum(passes(inquiry, reply.text) for inquiry, [reply] in zip(inquiries, replies, strict=True))
    size = bytes_of(output)
    return (
        f"{output}: {model.num_parameters():,} parameters, {len(tokenizer)} tokens, {size / 1e6:.2f} MB; "
        f"{passed / len(inquiries):.1%} of {len(inquiries)} replies to held-out prompts pass the rubric."
    )


if __name__ == "__main__":
    main()
