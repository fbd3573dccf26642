"""How close a dry run comes: its estimates of memory and time beside what the run then takes.

    python benchmarks/estimates.py [--only NAME ...] [--no-time] [--json FILE]

Random models from 30,000 to 57 million parameters, random words as feedback; and the small Stable Diffusion of
`diffusion.py` with its pictures, whose VAE and text encoder the estimate does not count. For every case three
processes: the dry run's estimate of memory from shapes alone; the dry run's probe of three steps; and the run itself,
with its peak resident memory (the kernel's, of the whole process, libraries included) and the seconds of its steps.
glibc is set as `prospect train` sets it. A ratio is estimate / measured. Memory should be within 20 %, time within 30
%; times mean something on an idle machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from diffusion import write_pipeline, write_rows

TINY, MIDDLE, LARGE, GPT2, PICTURES = "tiny", "llama 15M", "llama 57M", "gpt2 22M", "pictures 9M"
LORA = {"model": {"lora": {"r": 16}}}
CHECKPOINTING = {"train": {"gradient_checkpointing": True}}
UNCACHED = {"reference": {"cache": False}}

# Name: model, loss, rows' length in tokens (of texts), changes to the recipe.
CASES: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "tiny kto 64": (TINY, "kto", 64, {}),
    "tiny dpo 256": (TINY, "dpo", 256, {}),
    "15M kto 64": (MIDDLE, "kto", 64, {}),
    "15M kto 256": (MIDDLE, "kto", 256, {}),
    "15M kto 512": (MIDDLE, "kto", 512, {}),
    "15M kto 256 uncached": (MIDDLE, "kto", 256, UNCACHED),
    "15M kto 256 lora": (MIDDLE, "kto", 256, LORA),
    "15M kto 256 checkpointing": (MIDDLE, "kto", 256, CHECKPOINTING),
    "15M dpo 256": (MIDDLE, "dpo", 256, {}),
    "15M sft 256": (MIDDLE, "sft", 256, {}),
    "15M sft 512 4096 tokens": (MIDDLE, "sft", 512, {"train": {"max_tokens_per_micro_batch": 4096}}),
    "gpt2 kto 256": (GPT2, "kto", 256, {}),
    "gpt2 dpo 128 lora": (GPT2, "dpo", 128, LORA),
    "57M kto 256": (LARGE, "kto", 256, {}),
    "57M dpo 256 lora": (LARGE, "dpo", 256, LORA),
    "57M sft 512 checkpointing": (LARGE, "sft", 512, CHECKPOINTING),
    "pictures kto": (PICTURES, "kto", 0, {}),
    "pictures kto lora": (PICTURES, "kto", 0, LORA),
}
WHOLE_HEAP = "glibc.malloc.tcache_count=0"  # as `prospect train` sets it
WORDS = ["thank", "you", "very", "much", "the", "quick", "brown", "fox", "lazy", "dog", "jumps", "over"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="NAME", help="these cases")
    parser.add_argument("--no-time", action="store_true", help="memory alone, without the probe")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--part", choices=["estimate", "probe", "run"], help=argparse.SUPPRESS)
    parser.add_argument("--recipe", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.recipe)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'':28} {'peak, MB':>8} {'estimate':>9} {'ratio':>6} {'probe':>6} | {'s/step':>7} {'ratio':>6}")
        for name in options.only or CASES:
            result = {"case": name, **compare(name, Path(folder), with_time=not options.no_time)}
            results.append(result)
            print(line(result), flush=True)
    off = [r["case"] for r in results if abs(r["memory_ratio"] - 1) > 0.2]
    print(f"memory beyond 20 %: {', '.join(off) or 'none'}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def line(result: dict[str, Any]) -> str:
    start = (
        f"{result['case']:28} {result['peak_bytes'] / 1e6:8.0f} {result['estimated_bytes'] / 1e6:9.0f} "
        f"{result['memory_ratio']:6.2f}"
    )
    if "time_ratio" not in result:
        return start
    return (
        f"{start} {result['probe_memory_ratio']:6.2f} | {result['seconds_per_step']:7.3f} {result['time_ratio']:6.2f}"
    )


def compare(name: str, folder: Path, *, with_time: bool) -> dict[str, Any]:
    """One case: estimate, probe and run, each in a process of its own."""
    recipe = write_recipe(name, folder)
    estimate, run = (child(part, recipe) for part in ("estimate", "run"))
    found = {
        **run,
        "estimated_bytes": estimate["total"],
        "estimate": estimate,
        "memory_ratio": estimate["total"] / run["peak_bytes"],
    }
    if with_time:
        probed = child("probe", recipe)
        found |= {
            "probe": probed,
            "probe_memory_ratio": probed["peak_bytes"] / run["peak_bytes"],
            "time_ratio": probed["seconds_per_step"] / run["seconds_per_step"],
        }
    return found


def child(part: str, recipe: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, "--recipe", str(recipe)],
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GLIBC_TUNABLES": WHOLE_HEAP, **os.environ},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def estimate(recipe: Path) -> dict[str, Any]:
    from prospect.config import load_config
    from prospect.training.memory.estimate import estimate_memory
    from prospect.training.prepare import prepare

    return estimate_memory(prepare(load_config(recipe)))


def probed(recipe: Path) -> dict[str, Any]:
    from prospect.config import load_config
    from prospect.training.memory.probe import probe
    from prospect.training.prepare import prepare

    return probe(prepare(load_config(recipe)))


def run(recipe: Path) -> dict[str, Any]:
    """Trains; the first step, which warms up, is not timed."""
    import resource

    import prospect
    from prospect.training import train

    ends: list[float] = []
    accumulate = train.accumulate_gradient

    def timed(*arguments: Any, **named: Any) -> Any:
        ends.append(time.perf_counter())
        return accumulate(*arguments, **named)

    train.accumulate_gradient = timed
    prospect.train(recipe, quiet=True)
    return {
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds_per_step": (ends[-1] - ends[1]) / (len(ends) - 2),
    }


PARTS = {"estimate": estimate, "probe": probed, "run": run}


def write_recipe(name: str, folder: Path) -> Path:
    model, loss, length, changes = CASES[name]
    if model == PICTURES:
        place, data = picture_model(folder), {"train": str(folder / "pictures" / "thumbs.jsonl")}
    else:
        place, data = model_folder(model, folder), {"train": str(feedback(loss, length, folder)), "max_length": length}
    recipe: dict[str, Any] = {
        "model": {"name_or_path": str(place)},
        "data": {**data, "eval": None},
        "loss": {"name": loss},
        "train": {"batch_size": 16, "max_steps": 6, "samples": 0, "save_every": 4},
        "output": str(folder / name.replace(" ", "-")),
    }
    for section, values in changes.items():
        recipe[section] = {**recipe.get(section, {}), **values}
    path = folder / f"{name.replace(' ', '-')}.yaml"
    path.write_text(json.dumps(recipe))
    return path


def feedback(loss: str, length: int, folder: Path) -> Path:
    """Enough rows for six steps, from a third of the length to all of it."""
    draw = random.Random(0)

    def text(tokens: float) -> str:
        return "".join(f" {draw.choice(WORDS)}" for _ in range(max(1, int(tokens))))

    rows = []
    for i in range(96):
        prompt, completion = length * draw.uniform(0.15, 0.45), length * draw.uniform(0.15, 0.45)
        row: dict[str, Any] = {"prompt": f"{i}{text(prompt)}"}
        if loss == "dpo":
            row |= {"chosen": text(completion), "rejected": text(completion)}
        else:
            row |= {"completion": text(completion), "label": i % 2 == 0}
        rows.append(row if loss != "sft" else {key: row[key] for key in ("prompt", "completion")})
    path = folder / f"{loss}-{length}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def picture_model(folder: Path) -> Path:
    """A pipeline with random weights, and thumbs on pictures beside it."""
    import torch

    path = folder / PICTURES.replace(" ", "-")
    if not path.exists():
        torch.manual_seed(0)
        write_pipeline(path)
        write_rows(folder / "pictures")
    return path


def model_folder(name: str, folder: Path) -> Path:
    """A model with random weights, and a tokenizer that knows single words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = folder / name.replace(" ", "-")
    if path.exists():
        return path
    ends = {"bos_token_id": 0, "eos_token_id": 1}
    sizes = {TINY: (300, 32, 64, 2, 4), MIDDLE: (32_000, 288, 768, 6, 6), LARGE: (32_000, 512, 1536, 12, 8)}
    torch.manual_seed(0)
    if name == GPT2:
        config = GPT2Config(vocab_size=20_000, n_embd=384, n_layer=8, n_head=6, n_positions=1024, **ends)
        model: Any = GPT2LMHeadModel(config)
    else:
        keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        shape = dict(zip(keys, sizes[name], strict=True))
        model = LlamaForCausalLM(
            LlamaConfig(**shape, max_position_embeddings=1024, tie_word_embeddings=True, **ends)  # type: ignore[arg-type]
        )
    model.save_pretrained(path)
    pieces = ["<s>", "</s>", "<unk>", *WORDS, *map(str, range(96))]
    core = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>").save_pretrained(path)
    return path


if __name__ == "__main__":
    main()
