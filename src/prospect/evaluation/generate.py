"""Prompts in a file -> completions in a file, by a model from disk; `prospect.models.sampling` does the sampling."""

from __future__ import annotations

from pathlib import Path

from prospect.feedback import Demonstration, load_prompts, write_jsonl
from prospect.feedback.records import Message, Text
from prospect.models.loading import load_trained
from prospect.models.sampling import Generated, generate


def generate_file(
    model: str,
    prompts: str | Path,
    output: str | Path,
    *,
    samples_per_prompt: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
) -> int:
    """Samples completions of every prompt of a file and writes them as rows of `prompt, completion, finished`.

    The rows load as demonstrations, and as thumbs once somebody adds a `label`.

    Args:
        model: folder or hub name, of a whole model or of a PEFT adapter.
        prompts: rows with a column `prompt`.
        output: a .jsonl file, written whole or not at all.
        samples_per_prompt: completions of each prompt.
        max_new_tokens: where a completion is cut; it is then written with `finished: false`.
        temperature: 0 is greedy.
        top_p: see `prospect.models.sampling.Sampling`.
        seed: another seed, other completions.
        batch_size: speed and memory, never the result.

    Returns:
        How many completions were written.
    """
    asked = load_prompts(prompts)
    policy, tokenizer = load_trained(model)
    answers = generate(
        policy,
        tokenizer,
        asked,
        samples_per_prompt=samples_per_prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        batch_size=batch_size,
    )
    rows = [
        _as_row(prompt, answer, f"{i}-{j}")
        for i, (prompt, samples) in enumerate(zip(asked, answers, strict=True))
        for j, answer in enumerate(samples)
    ]
    return write_jsonl(rows, output)


def _as_row(prompt: Text, answer: Generated, name: str) -> Demonstration:
    completion: Text = answer.text if isinstance(prompt, str) else (Message("assistant", answer.text),)
    return Demonstration(prompt=prompt, completion=completion, id=name, where=name, finished=answer.finished)
