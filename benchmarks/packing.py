"""What it would be worth to put rows one behind the other (packing), beside rows of about one length side by side.

    python benchmarks/packing.py [--data gsm8k pairs] [--budgets 1024 4096] [--repeats 5]

A step of SFT is 8 rows, of `gsm8k_solutions` or the chosen ones of `oasst_pairs`; the model a Llama of 15 million
parameters with random weights, float32. `rows` is the engine: sorted by length, cut by tokens, at most 10 % padding.
`packed` fills rows of the budget with whole rows, whose positions begin anew; Transformers makes the mask of them that
hides rows from each other. Loss and gradients are compared first, then a gradient pass of each is timed by turns, in
seconds of the processor on one thread, so that other programs beside it count little.
Needs the folder `../shared`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from shared_prompts import LONGEST, SHAPE, VOCABULARY, read_lines, train_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from prospect.data.batch import Row, collate, flatten
from prospect.data.loader import micro_batches
from prospect.models.logps import score_hidden
from prospect.training.memory.allocator import keep_freed_memory

ROWS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=["gsm8k", "pairs"], default=["gsm8k", "pairs"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[1024, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=4096, **SHAPE))
    print("| data | tokens of a micro-batch | padding of rows | packed: speed (lowest to highest) | differ by |")
    print("|---|---|---|---|---|")
    for name in options.data:
        rows = read_rows(name, tokenizer)
        for budget in options.budgets:
            tokens = {way: sum(ids.numel() for ids, *_ in pieces(rows, budget, way)) for way in ("rows", "packed")}
            padding = 1 - tokens["packed"] / tokens["rows"]
            off = compare(model, rows, budget)
            ratios = []
            for _ in range(options.repeats):
                seconds = {way: timed(model, rows, budget, way) for way in ("rows", "packed")}
                ratios.append(seconds["rows"] / seconds["packed"])
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(
                f"| {name} | {budget} | {padding:.1%} | {statistics.median(ratios):.2f} ({spread}) | {off:.0e} |",
                flush=True,
            )


def read_rows(name: str, tokenizer: Any) -> list[Row]:
    """A step: rows drawn from a file, cut at LONGEST."""
    lines = [line for line in read_lines(name) if line.get("label", True)]
    order = np.random.default_rng(0).permutation(len(lines))[:ROWS]
    found = []
    for i in order:
        prompt = np.array(tokenizer.encode(lines[i]["prompt"]).ids[: LONGEST // 2], dtype=np.int32)
        text = lines[i].get("completion") or lines[i]["chosen"]
        ids = np.array(tokenizer.encode(text).ids[: LONGEST - len(prompt)], dtype=np.int32)
        found.append(Row(prompt, ids, prompt_key=str(i), id=str(i), desirable=True))
    return found


def pieces(rows: Sequence[Row], budget: int, way: str) -> Iterator[tuple[torch.Tensor, torch.Tensor, Any]]:
    """Micro-batches: ids (N, T), which are scored (N, T), and, of packed rows, positions (1, T)."""
    if way == "rows":
        for group in micro_batches([(row,) for row in rows], budget):
            batch = collate(flatten(group))
            yield batch.ids, batch.completion, None
        return
    bins: list[list[Row]] = []
    for row in sorted(rows, key=lambda r: -r.length):  # first fit, the longest first
        place = next((b for b in bins if sum(r.length for r in b) + row.length <= budget), None)
        bins.append([row]) if place is None else place.append(row)
    for packed in bins:
        batches = [collate([row]) for row in packed]
        yield (
            torch.cat([batch.ids for batch in batches], 1),
            torch.cat([batch.completion for batch in batches], 1),
            torch.cat([torch.arange(row.length) for row in packed]).unsqueeze(0),
        )


def gradient(model: Any, rows: Sequence[Row], budget: int, way: str) -> float:
    """The loss of SFT, with its gradient in the weights."""
    model.zero_grad()
    scored, total = sum(len(row.completion_ids) for row in rows), 0.0
    for ids, completion, positions in pieces(rows, budget, way):
        named = {} if positions is None else {"position_ids": positions}
        add = model.register_forward_pre_hook(lambda _, a, k, n=named: (a, {**k, **n}), with_kwargs=True)
        loss = -score_hidden(model, ids, completion[:, 1:])[0].sum() / scored
        add.remove()
        loss.backward()
        total += float(loss.detach())
    return total


def compare(model: Any, rows: Sequence[Row], budget: int) -> float:
    """Largest difference of a gradient, as a share of the largest one, or of the loss."""
    loss = gradient(model, rows, budget, "rows")
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    off = abs(gradient(model, rows, budget, "packed") / loss - 1)
    for name, p in model.named_parameters():
        off = max(off, float((p.grad - wanted[name]).abs().max() / wanted[name].abs().max()))
    return off


def timed(model: Any, rows: Sequence[Row], budget: int, way: str) -> float:
    """Seconds of the processor that a gradient pass takes."""
    begun = time.process_time()
    gradient(model, rows, budget, way)
    return time.process_time() - begun


if __name__ == "__main__":
    main()
