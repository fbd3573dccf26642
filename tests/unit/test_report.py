import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from prospect.errors import CheckpointError
from prospect.evaluation.winrate import proportion
from prospect.report.build import build_report
from prospect.report.facts import Facts
from prospect.report.findings import findings
from prospect.training.run_dir import RunDir

HOSTILE = '<script>alert("x")</script> & <b>"quoted"</b>'

PROMPTS = [
    "From: Ada Lindqvist. Order 48213, desk lamp. It arrived with a broken switch. What now?",
    "From: Tom Okafor. Order 77120, kettle. I was charged twice for it.",
    "From: Mei Tanaka. Order 90034, rain jacket. It is too small. Can I change it for a larger one?",
    "From: Jan Novak. Order 15577, headphones. The parcel is a week late.",
    "From: Sara Haddad. Order 66201, coffee grinder. The lid does not close.",
    "From: Leo Martin. Order 31908, bicycle bell. You sent the wrong colour.",
]
BEFORE = [
    "Hello, your order is on its way. We guarantee that it will arrive tomorrow. Goodbye.",
    "Thank you for your message about order 77121. Please wait.",
    "Dear Mei, thank you for writing. About order 90034: we will send you money and a gift and all that you want.",
    "That is not our problem.",
    "Dear Sara, we are sorry about the coffee grinder. Please tell us more about the kettle.",
    "Thank you. Thank you. Thank you for order 31908. We will look.",
]
AFTER = [
    "Dear Ada, we are sorry that the desk lamp of order 48213 arrived with a broken switch. We will send a new one.",
    "Dear Tom, thank you for your message about order 77120. We are sorry and will pay back the second charge.",
    "Dear Mei, thank you for writing. About order 90034: please send the jacket back and we will send a larger one.",
    "Dear Jan, we are sorry that order 15577 is late. We have asked the carrier and will write to you today.",
    "Dear Sara, we are sorry about the coffee grinder of order 66201. We will send a new lid.",
    "Dear Leo, thank you for your message about order 31908. We are sorry and will send the right colour.",
]


def rate(successes, n):
    return proportion(successes, n)._asdict()


def summary(kind="unpaired", rows=2400, desirable=1130, *, cut=0, dropped=0):
    edges = [4.0 * i for i in range(21)]
    middles = np.arange(20) + 0.5
    counts = {
        "desirable": (desirable * np.exp(-((middles - 9) ** 2) / 14)).astype(int).tolist(),
        "undesirable": ((rows - desirable) * np.exp(-((middles - 6) ** 2) / 18)).astype(int).tolist(),
    }
    stats = {"mean": 31.2, "p50": 30, "p90": 47, "max": 78}
    classes = {"desirable": stats, "undesirable": {"mean": 25.4, "p50": 23, "p90": 44, "max": 80}}
    single = kind == "demonstration"
    return {
        "source": f"/data/{'thumbs' if kind == 'unpaired' else kind}.jsonl",
        "sha256": "9f2c" * 16,
        "kind": kind,
        "rows": rows,
        "prompts": rows // 4,
        "desirable": desirable if kind == "unpaired" else None,
        "undesirable": rows - desirable if kind == "unpaired" else None,
        "prompt_tokens": {"mean": 44.0, "p50": 43, "p90": 55, "max": 71},
        "completion_tokens": {"desirable": stats} if single else classes,
        "completion_histogram": {"edges": edges, **({"desirable": counts["desirable"]} if single else counts)},
        "cut": cut,
        "empty_completions": 2,
        "dropped": dropped,
    }


def config(method):
    return {
        "model": {"name_or_path": "/models/support-desk-1m", "dtype": "float32", "lora": None},
        "data": {"train": "/data/thumbs.jsonl", "eval": "/data/held.jsonl", "max_length": 256, "class_weights": "auto"},
        "loss": {"name": method, **({} if method == "sft" else {"beta": 0.1})},
        "reference": {"kind": "frozen", "cache": None},
        "train": {"batch_size": 32, "epochs": 2, "learning_rate": 5e-4, "scheduler": "cosine", "seed": 7},
        "output": "runs/demo",
    }


def provenance(method, steps, **changes):
    kind = {"kto": "unpaired", "dpo": "paired", "sft": "demonstration"}[method]
    weights = {"desirable_weight": 1.12, "undesirable_weight": 1.0} if method == "kto" else {}
    return {
        "prospect": "0.1.0",
        "python": "3.11.7",
        "versions": {"torch": "2.13.0", "transformers": "5.12.0"},
        "git": "4f1d2c0b" * 5,
        "started": "2026-11-21T07:30:00+00:00",
        "finished": "2026-11-21T07:32:41+00:00",
        "seconds": 161.4,
        "policy": {
            "name_or_path": "/models/support-desk-1m",
            "identity": "sha256:ab12",
            "parameters": 1_245_184,
            "trainable_parameters": 1_245_184,
        },
        "reference": None if method == "sft" else {"kind": "frozen", "identity": "sha256:ab12"},
        "loss": {"name": method, "feedback": kind, "hyperparameters": {"beta": 0.1, **weights}},
        "data": {"train": summary(kind), "eval": summary(kind, 400, 190)},
        "steps": steps,
        "epochs": 2.0,
        **changes,
    }


def metrics(method, steps, *, chosen=1.3, rejected=-1.6, auroc=0.86, best_at_end=True, clamped=0.08):
    """A run whose rewards go from 0 to `chosen` and `rejected`, with the noise of real steps."""
    random = np.random.default_rng(0)
    rows = []
    for step in range(0, steps + 1):
        done = step / steps
        learnt = 1 - np.exp(-3.5 * done)
        if step % max(1, steps // 8) == 0:
            rows.append(evaluation_row(method, step, 2 * done, learnt, chosen, rejected, auroc, best_at_end))
        if step == 0:
            continue
        loss = 2.9 - 1.1 * learnt if method == "sft" else 0.5 - 0.16 * learnt
        row = {
            "step": step,
            "epoch": 2 * done,
            "loss": loss + 0.02 * random.normal(),
            "grad_norm": 0.6 + 0.15 * random.gamma(2) + (6 if step == steps // 3 else 0),
            "learning_rate": 5e-4 * min(1, 10 * done) * 0.5 * (1 + np.cos(np.pi * done)),
            "logps/chosen": -61 + 9 * learnt + random.normal(),
            "num_tokens": 2400 * step,
            "tokens_per_second": 9000 + 400 * random.normal(),
            "examples_seen": 32 * step,
            "completion_tokens": 900,
        }
        if method != "sft":
            up, down = chosen * learnt + 0.25 * random.normal(), rejected * learnt + 0.3 * random.normal()
            row |= {"rewards/chosen": up, "rewards/rejected": down, "rewards/margins": up - down}
            row |= {"rewards/accuracies": 0.5 + 0.35 * learnt, "logps/rejected": -60 - 9 * learnt}
        if method == "kto":
            raw = 2.2 * learnt + 0.5 * random.normal() if done > clamped else -abs(0.2 * random.normal())
            row |= {"kl_raw": raw, "kl": max(0.0, raw), "kl_stderr": 0.35 + 0.3 * learnt}
        rows.append({key: float(value) if key != "step" else value for key, value in row.items()})
    return rows


def evaluation_row(method, step, epoch, learnt, chosen, rejected, auroc, best_at_end):
    if method == "sft":
        return {"step": step, "epoch": epoch, "eval_loss": 2.92 - 1.0 * float(learnt)}
    score = 0.5 + (auroc - 0.5) * (learnt if best_at_end else learnt * (2 - epoch) * 2)
    values = {
        "eval_loss": 0.5 - 0.12 * learnt,
        "eval_rewards/chosen": 0.9 * chosen * learnt,
        "eval_rewards/rejected": 0.9 * rejected * learnt,
        "eval_rewards/margins": 0.9 * (chosen - rejected) * learnt,
        "eval_rewards/accuracies": score - 0.04 * learnt,
        "eval_rewards/auroc": score,
        "eval_kl": 2 * learnt,
    }
    return {"step": step, "epoch": epoch, **{key: float(value) for key, value in values.items()}}


def demo_evaluation(before=176, after=333, n=400):
    rules = {
        "names the right order": (211, 372),
        "answers the problem that was asked": (243, 361),
        "is polite": (322, 391),
        "keeps under the word limit": (381, 383),
        "promises nothing it should not": (355, 392),
    }
    return {
        "before": rate(before, n),
        "after": rate(after, n),
        "win_rate": rate((after - before + n) / 2, n),
        "rules": {name: {"before": rate(b, 400), "after": rate(a, 400)} for name, (b, a) in rules.items()},
        "method": "kto",
        "noise": 0.2,
        "mean_words": {"before": 18.1, "after": 20.4},
        "examples": [
            {"prompt": p, "before": b, "after": a, "before_passes": False, "after_passes": True}
            for p, b, a in list(zip(PROMPTS, BEFORE, AFTER, strict=True))[:3]
        ],
    }


def write_run(path, method="kto", steps=400, *, evaluation=None, prompt=None, provenance_changes=None, **shape):
    run = RunDir(path)
    run.write_config(config(method))
    run.write_provenance(provenance(method, steps, **(provenance_changes or {})))
    for row in metrics(method, steps, **shape):
        run.append_metrics(row)
    for step, completions in ((0, BEFORE), (steps // 2, BEFORE), (steps, AFTER)):
        run.append_samples(
            {"step": step, "prompt": [{"role": "user", "content": prompt or p}] if prompt else p, "completion": c}
            for p, c in zip(PROMPTS, completions, strict=True)
        )
    if evaluation is not None:
        run.write_evaluation("demo", evaluation)
    return path


def page_of(path):
    return build_report(path).read_text(encoding="utf-8")


def titles(path):
    return {finding.title for finding in findings(Facts.read(RunDir(path)))}


def worries(path):
    return {finding.title for finding in findings(Facts.read(RunDir(path))) if finding.worry}
