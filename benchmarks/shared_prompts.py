"""What it would be worth to send a prompt through the model once for all its completions.

    python benchmarks/shared_prompts.py [--json FILE] [--data gsm8k pairs] [--budgets 1024 4096] [--repeats 6]
    python benchmarks/shared_prompts.py --data hh --precision bf16 [--shape 135m]      a row and its mismatched partner

A step is 8 prompts of `gsm8k_solutions` with their four solutions, 16 pairs of `oasst_pairs`, or 32 rows as long as
those of HH: prompts of 131 tokens and completions of 77 in the mean, random words. The model is a Llama of the shape of
benchmarks/throughput.py with random weights. Three ways to the same log-probs and gradients:

    rows     as the engine does it: every row with its own prompt, sorted by length
    packed   one row per prompt: the prompt, then its completions, which a mask hides from each other
    cached   the prompts first; then the completions on copies of the prompts' keys and values, through which the
             gradient goes back

The last token of a prompt, which foretells the first one of a completion, is not shared but repeated: so scored tokens
stand as the engine expects them. Timed are the gradient pass and, for gsm8k, the pass without gradient for z0, where
each prompt meets four completions of other prompts; a step of KTO is one gradient pass and two for z0, policy and
reference. Before that, log-probs and all gradients are compared in float64 and float32. Needs the folder `../shared`.

In rows as those of HH every prompt is another. It is met twice, with its own completion and with its mismatched
partner's, but z0 is known before any gradient is taken, and a policy's gradient pass comes after: only a reference that
is not cached can be asked about both at once. Timed are its pass over both (`reference`), and a step with it, the
policy's passes as the engine makes them. `wide` is the engine's way with micro-batches four times as large, which fit
where no activations are kept. In bfloat16 the weights' copies and fused layers are in use, as in training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from throughput import COMPLETION, CONTEXT, PROMPT, SHAPES, SIGMA
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from prospect.data.batch import Batch, Example, Row, collate, flatten, mismatched_rows
from prospect.data.loader import Plan, micro_batches
from prospect.models.in_place import adding_in_place
from prospect.models.logps import score_hidden
from prospect.models.working_copy import WorkingCopy
from prospect.training.memory.allocator import keep_freed_memory

DATA = Path(__file__).parents[2] / "shared/data"
FILES = {"gsm8k": "gsm8k_solutions.jsonl", "pairs": "oasst_pairs.jsonl"}
WORDS, LONGEST = 16_000, 1024
PROMPTS = {"gsm8k": 8, "pairs": 16, "hh": 32}
STEPS = 3  # different ones, timed by turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--data", nargs="+", choices=list(PROMPTS), default=list(FILES))
    parser.add_argument("--budgets", nargs="+", type=int, default=[1024, 4096])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--prompts", type=int, help="of a step; by default as said above")
    parser.add_argument("--shape", choices=list(SHAPES), default="15m", help="of the model")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of the timed passes")
    options = parser.parse_args()
    keep_freed_memory()
    tokenizer = train_tokenizer() if set(options.data) & set(FILES) else None
    results = []
    for name in options.data:
        prompts = draw_prompts(options.shape) if name == "hh" else read_prompts(name, tokenizer)
        about = describe(name, prompts, options.shape)
        print(f"{name}: {json.dumps(about)}", flush=True)
        steps = draw_steps(prompts, options.prompts or PROMPTS[name])
        for budget in options.budgets:
            results.append({"data": name, "budget": budget, "precision": options.precision, **about})
            exact = compare_gradients(name, budget, steps[0][:8]) if options.precision == "fp32" else {}
            results[-1] |= {"shape": options.shape, "exact": exact}
            results[-1] |= measure(name, budget, steps, options)
            print(table(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


# ------------------------------------------------------------------------------------------------ the feedback


def train_tokenizer() -> Any:
    """A byte-level BPE of both files; digits stand alone, as in most models of this kind."""
    tokenizer = Tokenizer(models.BPE())
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, show_progress=False)
    texts = (value for name in FILES for line in read_lines(name) for value in line.values() if isinstance(value, str))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / FILES[name]).read_text().splitlines()]


def read_prompts(name: str, tokenizer: Any) -> list[list[Row]]:
    """The rows of each prompt that has all of its completions."""
    by_prompt: dict[str, list[Row]] = {}
    for i, line in enumerate(read_lines(name)):
        prompt = np.array(tokenizer.encode(line["prompt"]).ids, dtype=np.int32)
        for key in ("completion", "chosen", "rejected"):
            if key in line and 2 <= len(prompt) < LONGEST - 1:
                ids = np.array(tokenizer.encode(line[key]).ids, dtype=np.int32)[: LONGEST - len(prompt)]
                row = Row(prompt, ids, prompt_key=line["prompt"], id=f"{i}{key}", desirable=line.get("label", True))
                by_prompt.setdefault(line["prompt"], []).append(row)
    wanted = 4 if name == "gsm8k" else 2
    return [rows for rows in by_prompt.values() if len(rows) == wanted and all(len(r.completion_ids) for r in rows)]


def draw_prompts(shape: str) -> list[list[Row]]:
    """Rows of random words as long as those of HH; in a step that is a row, and its prompt with another's completion.

    The lengths are log-normal, as in benchmarks/throughput.py.
    """
    draw = np.random.default_rng(0)

    def words(mean: float, most: int) -> np.ndarray:
        count = int(np.clip(draw.lognormal(np.log(mean) - SIGMA**2 / 2, SIGMA), 4, most))
        return draw.integers(3, SHAPES[shape][0], count).astype(np.int32)

    made = []
    for i in range(STEPS * PROMPTS["hh"]):
        prompt = words(PROMPT, CONTEXT * 3 // 4)
        made.append(Row(prompt, words(COMPLETION, CONTEXT - len(prompt)), prompt_key=str(i), id=str(i), desirable=True))
    crossed = mismatched_rows(made, 0, LONGEST)
    return [[row, partner] for row, partner in zip(made, crossed, strict=True)]


def describe(name: str, prompts: list[list[Row]], shape: str) -> dict[str, float]:
    """Lengths, and the most that sharing can save: by tokens, and by multiplications of this model.

    The second is smaller because the output layer sees completions only, once in any case.
    """
    rows = flatten([tuple(p) for p in prompts])
    separate = sum(row.length for row in rows)
    shared = sum(row_of.length for row_of in map(Family, prompts))
    scored = sum(len(row.completion_ids) for row in rows)
    vocabulary, sizes = SHAPES[shape]
    hidden, inner, layers = sizes["hidden_size"], sizes["intermediate_size"], sizes["num_hidden_layers"]
    narrower = sizes.get("num_key_value_heads", sizes["num_attention_heads"]) / sizes["num_attention_heads"]
    body, head = layers * ((2 + 2 * narrower) * hidden**2 + 3 * hidden * inner), hidden * vocabulary
    found = {
        "prompts": len(prompts),
        "prompt_tokens": round(float(np.mean([len(row.prompt_ids) for row in rows])), 1),
        "completion_tokens": round(float(np.mean([len(row.completion_ids) for row in rows])), 1),
        "most_by_tokens": round(separate / shared, 3),
        "most_by_work": round((separate * body + scored * head) / (shared * body + scored * head), 3),
    }
    if name == "gsm8k":  # rows of one prompt do not look for each other when steps are dealt out
        plan = Plan([(row,) for row in rows], batch_size=32, seed=0)
        dealt = [len({rows[i].prompt_key for i in step}) for step in plan.epoch(0)]
        found["prompts_in_a_shuffled_step_of_32"] = round(float(np.mean(dealt)), 2)
    return found


def draw_steps(prompts: list[list[Row]], count: int) -> list[list[Row]]:
    order = np.random.default_rng(0).permutation(len(prompts))
    return [flatten([tuple(prompts[i]) for i in order[s * count : (s + 1) * count]]) for s in range(STEPS)]


# ------------------------------------------------------------------------------------------- the three ways


class Way:
    """Rows to log-probs, a micro-batch at a time.

    Attributes:
        model: the model.
        budget: tokens of a micro-batch.
        paired: whether neighbouring rows must stay together.
        working: the weights in bfloat16, where they are used in that.
        tokens: what went through the model so far, padding included.
    """

    def __init__(self, model: Any, budget: int, paired: bool, working: WorkingCopy | None = None) -> None:
        self.model, self.budget, self.paired, self.tokens = model, budget, paired, 0
        self.working = working

    def arithmetic(self) -> Any:
        """Of forward passes."""
        return nullcontext() if self.working is None else self.working.in_use()

    def pieces(self, rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], torch.Tensor]]:
        """Micro-batches: rows, and their log-probs (N,)."""
        raise NotImplementedError

    def score(self, batch: Batch, **given: Any) -> torch.Tensor:
        """Token log-probs (N, T) as the engine computes them, with more arguments for the model's own forward."""
        self.tokens += batch.ids.numel()
        add = self.model.register_forward_pre_hook(lambda _, a, named: (a, {**named, **given}), with_kwargs=True)
        try:
            with self.arithmetic():
                logps = score_hidden(self.model, batch.ids, batch.completion[:, 1:])[0]
        finally:
            add.remove()
        return logps.new_zeros(batch.ids.shape).masked_scatter(batch.completion, logps)  # in float64 too


class Rows(Way):
    """As the engine does it."""

    def pieces(self, rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], torch.Tensor]]:
        """Micro-batches of rows of about one length."""
        size = 2 if self.paired else 1
        examples: list[Example] = [tuple(rows[i : i + size]) for i in range(0, len(rows), size)]
        for group in micro_batches(examples, self.budget):
            batch = collate(flatten(group))
            yield batch.rows, self.score(batch).sum(1)


class Wide(Rows):
    """The same with larger micro-batches."""

    def __init__(self, model: Any, budget: int, *rest: Any) -> None:
        super().__init__(model, 4 * budget, *rest)


@dataclass(frozen=True)
class Family:
    """Rows of one prompt as one long row: the prompt without its last token, then each completion after that token."""

    rows: Sequence[Row]

    @property
    def start(self) -> int:
        """Tokens of the part that is shared."""
        return len(self.rows[0].prompt_ids) - 1

    @property
    def length(self) -> int:
        """Of the long row."""
        return self.start + sum(1 + len(row.completion_ids) for row in self.rows)

    @property
    def key(self) -> bytes:
        """Breaks ties between equally long ones."""
        return self.rows[0].key


def families(rows: Sequence[Row], budget: int) -> list[Family]:
    """Rows by prompt, as many together as fit into the budget."""
    by_prompt: dict[str, list[list[Row]]] = {}
    for row in rows:
        parts = by_prompt.setdefault(row.prompt_key, [[]])
        if parts[-1] and Family([*parts[-1], row]).length > budget:
            parts.append([])
        parts[-1].append(row)
    return [Family(part) for parts in by_prompt.values() for part in parts]


class Packed(Way):
    """One row per prompt, under a mask."""

    def pieces(self, rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], torch.Tensor]]:
        """Micro-batches of long rows."""
        # A pair may be longer than the budget; it is not torn, nor is it in `Rows`.
        whole = families(rows, 10**9 if self.paired else self.budget)
        for group in micro_batches([(family,) for family in whole], self.budget):
            members = [family for (family,) in group]
            batch, segment, positions = pack(members)
            logps = self.score(batch, attention_mask=block_mask(segment), position_ids=positions)
            sums = torch.zeros(len(members), 1 + int(segment.max()), dtype=logps.dtype)
            sums = sums.scatter_add(1, segment.clamp(min=0), logps)
            yield batch.rows, torch.cat([sums[i, 1 : 1 + len(f.rows)] for i, f in enumerate(members)])


def pack(members: Sequence[Family]) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Families side by side: batch, segment of each token (0 the prompt, then 1, 2, ...; -1 padding), positions."""
    shape = len(members), max(family.length for family in members)
    ids, positions = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    segment = torch.full(shape, -1)
    completion = torch.zeros(shape, dtype=torch.bool)
    for i, family in enumerate(members):
        at = family.start
        prompt = torch.from_numpy(family.rows[0].prompt_ids)
        ids[i, :at], segment[i, :at], positions[i, :at] = prompt[:-1], 0, torch.arange(at)
        for number, row in enumerate(family.rows, 1):
            end = at + 1 + len(row.completion_ids)
            ids[i, at], ids[i, at + 1 : end] = prompt[-1], torch.from_numpy(row.completion_ids)
            segment[i, at:end], positions[i, at:end] = number, torch.arange(end - at) + family.start
            completion[i, at + 1 : end] = True
            at = end
    rows = [row for family in members for row in family.rows]
    batch = replace(collate(rows[:1]), ids=ids, attention=segment >= 0, completion=completion, rows=tuple(rows))
    return batch, segment, positions


def block_mask(segment: torch.Tensor) -> torch.Tensor:
    """Who sees whom, bool (N, 1, T, T): what stands before, of the prompt or of the own completion."""
    same = segment[:, :, None] == segment[:, None, :]
    prompt = segment[:, None, :] == 0
    return ((same | prompt) & torch.ones(same.shape[-2:], dtype=torch.bool).tril())[:, None]


@dataclass(frozen=True)
class Tail:
    """A row without the shared part of its prompt, and what it weighs in the budget with its part of that."""

    row: Row
    part: int

    @property
    def length(self) -> int:
        """With its part of the prompt."""
        return len(self.row.completion_ids) + 1 + self.part

    @property
    def key(self) -> bytes:
        """Breaks ties between equally long ones."""
        return self.row.key

    @property
    def short(self) -> Row:
        """The row as it goes through the model."""
        return replace(self.row, prompt_ids=self.row.prompt_ids[-1:])


class Cached(Way):
    """Prompts first, then the completions of a group of prompts, a few of about one length at a time."""

    def pieces(self, rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], torch.Tensor]]:
        """Micro-batches of prompts; their completions in parts."""
        whole = families(rows, 10**9)
        examples = [tuple(Tail(row, f.start // len(f.rows)) for row in f.rows) for f in whole]
        for group in micro_batches(examples, self.budget):
            prompts = [tails[0].row.prompt_ids[:-1] for tails in group]
            cache, seen = self.run_prompts(prompts)
            owner = {tail.row.id: place for place, tails in enumerate(group) for tail in tails}
            done: list[Row] = []
            sums = []
            for part in micro_batches([(tail,) for tails in group for tail in tails], self.budget):
                own = [tail for (tail,) in part]
                done += [tail.row for tail in own]
                places = torch.tensor([owner[tail.row.id] for tail in own])
                sums.append(self.after(cache, seen, places, collate([tail.short for tail in own])).sum(1))
            yield done, torch.cat(sums)

    def run_prompts(self, prompts: Sequence[np.ndarray]) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], Any]:
        """Keys and values of each layer, with their gradients, and which of them are real, bool (N, P)."""
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.int64)
        for i, prompt in enumerate(prompts):
            ids[i, : len(prompt)] = torch.from_numpy(prompt)
        self.tokens += ids.numel()
        with self.arithmetic():
            cache = self.model.model(input_ids=ids, use_cache=True).past_key_values
        return [(layer.keys, layer.values) for layer in cache.layers], torch.arange(ids.shape[1]) < lengths[:, None]

    def after(self, cache: Any, seen: torch.Tensor, places: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Token log-probs (N, T) of completions after the prompts at `places`."""
        copies = DynamicCache()
        for number, (keys, values) in enumerate(cache):
            copies.update(keys[places], values[places], number)
        length = batch.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril().expand(len(places), -1, -1)
        mask = torch.cat([seen[places][:, None, :].expand(-1, length, -1), causal], dim=2)[:, None]
        positions = seen.sum(1)[places][:, None] + torch.arange(length)
        return self.score(batch, attention_mask=mask, position_ids=positions, past_key_values=copies)


WAYS = {"rows": Rows, "packed": Packed, "cached": Cached}


# --------------------------------------------------------------------------------------- comparing and timing


def build_model(shape: str = "15m", dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    vocabulary, sizes = SHAPES[shape]
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=LONGEST, tie_word_embeddings=False, **sizes)
    model = LlamaForCausalLM(config).eval().to(dtype)
    if dtype == torch.float64:  # Transformers' norms round to float32 whatever the weights are
        for module in model.modules():
            if isinstance(module, LlamaRMSNorm):
                module.forward = partial(F.rms_norm, normalized_shape=(config.hidden_size,), weight=module.weight)
    return model


def gradient_pass(way: Way, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Adds the gradient of a weighted sum of log-probs, every row with a weight of its own; returns the log-probs."""
    weight = {row.id: (1 if i % 3 else -1) * (1 + i % 5) / len(rows) for i, row in enumerate(rows)}
    found = {}
    for members, logps in way.pieces(rows):
        with way.arithmetic(), adding_in_place():
            (logps * torch.tensor([weight[row.id] for row in members])).sum().backward()
        found |= dict(zip([row.id for row in members], logps.detach(), strict=True))
    return found


@torch.no_grad()
def z0_pass(way: Way, mismatched: Sequence[Row]) -> float:
    return statistics.fmean(value for _, logps in way.pieces(mismatched) for value in logps.tolist())


def policy_passes(way: Way, rows: Sequence[Row]) -> None:
    """What a step asks of the policy: z0 of the partners, then the gradient of the rows."""
    z0_pass(way, rows[1::2])
    gradient_pass(way, rows[::2])


def compare_gradients(name: str, budget: int, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Largest difference from `rows`, of a log-prob by itself, of a gradient by the largest of its tensor."""
    found: dict[str, dict[str, float]] = {"packed": {}, "cached": {}}
    for dtype in (torch.float64, torch.float32):
        model = build_model(dtype=dtype)
        values: dict[str, Any] = {}
        for way, kind in WAYS.items():
            model.zero_grad(set_to_none=True)
            logps = gradient_pass(kind(model, budget, name == "pairs"), rows)
            values[way] = logps, {n: p.grad for n, p in model.named_parameters()}
        for way, numbers in found.items():
            (ours, grads), (theirs, expected) = values[way], values["rows"]
            kind = str(dtype).removeprefix("torch.")
            numbers[f"logps_{kind}"] = max(float((ours[i] / theirs[i] - 1).abs()) for i in theirs)
            change = {n: float((grads[n] - g).abs().max() / g.abs().max()) for n, g in expected.items()}
            numbers[f"gradient_{kind}"] = max(change.values())
    return found


def measure(name: str, budget: int, steps: Sequence[Sequence[Row]], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each pass and each way, by turns; the first round is not counted."""
    model = build_model(options.shape)
    working = WorkingCopy(model) if options.precision == "bf16" else None
    kinds = {**WAYS, "wide": Wide} if name == "hh" else WAYS
    ways = {way: kind(model, budget, name == "pairs", working) for way, kind in kinds.items()}
    passes: dict[str, Callable[[Way, int], Any]] = {"gradient": lambda way, s: gradient_pass(way, steps[s])}
    if name == "gsm8k":
        crossed = [mismatched_rows(rows, 0, LONGEST) for rows in steps]
        passes["z0"] = lambda way, s: z0_pass(way, crossed[s])
    if name == "hh":
        passes = {
            "reference": lambda way, s: z0_pass(way, steps[s]),
            "policy": lambda way, s: policy_passes(way, steps[s]),
        }
    seconds: dict[str, dict[str, list[float]]] = {p: {way: [] for way in ways} for p in passes}
    cpu: dict[str, dict[str, list[float]]] = {p: {way: [] for way in ways} for p in passes}
    tokens: dict[str, dict[str, int]] = {p: dict.fromkeys(ways, 0) for p in passes}
    order = list(ways)
    for turn in range(-1, options.repeats):
        order = order[1:] + order[:1]
        for which, run in passes.items():
            for way in order if which != "policy" else ["rows"]:
                model.zero_grad(set_to_none=True)
                ways[way].tokens, begun, begun_cpu = 0, time.perf_counter(), time.process_time()
                run(ways[way], turn % STEPS)
                if turn >= 0:
                    seconds[which][way].append(time.perf_counter() - begun)
                    cpu[which][way].append(time.process_time() - begun_cpu)
                    tokens[which][way] += ways[way].tokens
    for spent in (seconds, cpu) if name == "hh" else ():
        same = spent.pop("policy")["rows"]
        whole = {way: zip(same, reference, strict=True) for way, reference in spent["reference"].items()}
        spent["step"] = {way: [policy + reference for policy, reference in pairs] for way, pairs in whole.items()}
    for spent in (seconds, cpu) if "z0" in passes else ():
        both = {way: zip(spent["gradient"][way], spent["z0"][way], strict=True) for way in WAYS}
        spent["step"] = {way: [gradient + 2 * z0 for gradient, z0 in pairs] for way, pairs in both.items()}
    return {"seconds": seconds, "cpu_seconds": cpu, "tokens": tokens}


def table(result: dict[str, Any]) -> str:
    """Speeds are medians of the ratios to `rows` of one round; those by processor time forgive a busy machine.

    Tokens are what went through the model, padding included, as a share of those of `rows`.
    """
    lines = [
        "| data | budget | pass | way | tokens | seconds | speed (lowest to highest) | speed by processor time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for which, by_way in result["seconds"].items():
        for way, seconds in by_way.items():
            tokens = result["tokens"].get(which)
            share = f"{tokens[way] / tokens['rows']:.2f}" if tokens else ""
            spent = result["cpu_seconds"][which]
            speeds = f"{speed(by_way['rows'], seconds)} | {speed(spent['rows'], spent[way])}"
            data = f"{result['data']}, {result['shape']} {result['precision']}"
            middle = f"| {data} | {result['budget']} | {which} | {way} | {share} "
            lines.append(f"{middle}| {statistics.median(seconds):.2f} | {speeds} |")
    worst = {way: {k: f"{v:.1e}" for k, v in numbers.items()} for way, numbers in result["exact"].items()}
    return "\n".join([*lines, *([f"largest differences from rows: {json.dumps(worst)}"] if worst else [])])


def speed(rows: Sequence[float], seconds: Sequence[float]) -> str:
    ratios = [a / b for a, b in zip(rows, seconds, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
