"""Is the advice good? The advised method and settings against doing always the same, on feedback whose truth is known.

    python benchmarks/advice.py [--json FILE] [--keep DIR] [--conditions ...] [--seeds 0 1 2] [--rate 1] [--quick]

The world is that of `prospect demo`: a support desk of simulated customers, and a small model whose replies keep all
five rules of a rubric in some 45 % of the cases. Simulated raters (prospect.feedback.simulated) judge up to four
different replies to each of 480 customers; each condition spoils their verdicts in one known way. Then the model is
trained on them by

    advice       `prospect.feedback.advice.advice.advise`, its recipe as it is
    always dpo   the recipe that the advisor writes for dpo; thumbs are paired within their prompt, and of scores the
                 best stands beside the worst
    always kto   the one for kto, with both class weights 1; of scores, the best of a prompt is desirable
    always sft   the one for sft: on what is desirable, chosen or best

so that the alternatives have the advisor's learning rate, batch size and epochs, and the method (and the class weights)
is what differs. 400 held-out customers count: on how many a sampled reply keeps all rules.

The advice wins (or loses) where the 95 % interval of the paired difference, over customers with the seeds averaged, is
above (below) 0, and all seeds by themselves agree on the sign. Three seeds cannot say more about what a seed does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import prospect
from prospect.cli.train import quiet_libraries
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.rubric import check, passes
from prospect.demo.world import Inquiry, held_out_prompts, training_prompts
from prospect.feedback import Feedback, Message, Paired, Scored, Text, Unpaired, to_paired, write_jsonl
from prospect.feedback.advice.advice import Advice, Facts, Method, advise, advise_method
from prospect.feedback.simulated import SimulatedRater, compare, rate
from prospect.statistics.rates import Rate, proportion
from prospect.training.memory.allocator import keep_freed_memory

CUSTOMERS, REPLIES, HELD_OUT = 480, 4, 400
NOISE = 0.3
RARE = 0.1  # desirable to undesirable
FEW = 20  # customers whose replies have thumbs, where there is too little
ALL_RULES = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=list(CONDITIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rate", type=float, default=1.0, help="times all learning rates")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each run's result here, and use those that are")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--quick", action="store_true", help="one seed, 100 held-out customers: to see that it runs")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before the workers start, who inherit it
    seeds, held_out = (options.seeds[:1], 100) if options.quick else (options.seeds, HELD_OUT)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        done = run_all(options.conditions, seeds, [options.rate, held_out, str(folder)], options.jobs)
    results = summarise(done)
    print(table(results))
    print(f"\n{len(done)} runs, {(time.monotonic() - begun) / 60:.0f} minutes", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def run_all(conditions: Sequence[str], seeds: Sequence[int], settings: list[Any], jobs: int) -> list[dict[str, Any]]:
    """Every condition by every method, seed after seed, each run once."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:

        def run(tasks: Iterable[tuple[str, str, int]]) -> list[dict[str, Any]]:
            return [tell(result) for result in pool.map(run_one, [(*task, *settings) for task in tasks])]

        done = run(("start", "start", seed) for seed in seeds)  # first: it samples the replies that all others share
        done += run((condition, "advice", seed) for seed in seeds for condition in conditions)
        done += [copy for result in done for method in METHODS if (copy := same_run(result, method))]
        known = {(result["condition"], result["method"], result["seed"]) for result in done}
        others = [(c, m, seed) for seed in seeds for c in conditions for m in METHODS]
        return done + run(task for task in others if task not in known)


def tell(result: dict[str, Any]) -> dict[str, Any]:
    keys = ("condition", "method", "seed", "loss", "share", "words", "seconds")
    print(json.dumps({key: result[key] for key in keys}), file=sys.stderr, flush=True)
    return result


def same_run(advised: dict[str, Any], method: str) -> dict[str, Any] | None:
    """The advised run as the alternative's, where the advice is just that: a run gives the same numbers twice."""
    if advised["method"] != "advice" or method == "advice":
        return None
    same = advised["method_advised"] == METHODS[method] and advised["weights"] == [1.0, 1.0]
    return {**advised, "method": method, "seconds": 0.0} if same else None


# The conditions. Each gives rows, and what the data doctor would measure on them.


def clean_pairs(seed: int) -> list[Feedback]:
    return preferences(seed, two_pairs)


def clean_thumbs(seed: int) -> list[Feedback]:
    return thumbs(seed)


def rare_thumbs_up(seed: int) -> list[Feedback]:
    """One class speaks up seldom, so that there is one of it to ten of the other."""
    verdicts = [row.desirable for row in thumbs(seed) if isinstance(row, Unpaired)]
    return thumbs(seed, rates_good=RARE * verdicts.count(False) / verdicts.count(True))


def noisy_pairs(seed: int) -> list[Feedback]:
    return preferences(seed, three_pairs, noise=NOISE)


def noisy_thumbs(seed: int) -> list[Feedback]:
    return thumbs(seed, noise=NOISE)


def cyclic_pairs(seed: int) -> list[Feedback]:
    return preferences(seed, three_pairs, intransitive=2 * NOISE)  # a habit is right by chance in half of the cases


def scores(seed: int) -> list[Feedback]:
    rows = [
        Scored(
            prompt=inquiry.prompt,
            completions=tuple(as_text(reply) for reply in replies),
            scores=tuple(kept_rules(inquiry, reply) for reply in replies),
            id=f"customer-{i}",
            where=f"customer-{i}",
        )
        for i, (inquiry, replies) in enumerate(judged(seed))
        if len({kept_rules(inquiry, reply) for reply in replies}) > 1
    ]
    return list(rows)


def few_thumbs(seed: int) -> list[Feedback]:
    return thumbs(seed, customers=FEW)


CONDITIONS: dict[str, Callable[[int], list[Feedback]]] = {
    "clean pairs": clean_pairs,
    "clean thumbs": clean_thumbs,
    "1 up to 10 down": rare_thumbs_up,
    "pairs, 30 % flipped": noisy_pairs,
    "thumbs, 30 % flipped": noisy_thumbs,
    "pairs in circles": cyclic_pairs,
    "scores": scores,
    "few thumbs": few_thumbs,
}
FLIPPED: dict[Callable[[int], list[Feedback]], float] = {noisy_pairs: NOISE, noisy_thumbs: NOISE}
"""The flip rate that the advisor is told, as if it had been estimated from several votes; elsewhere it is 0. Of pairs
in circles it is not known: verdicts that go round are no slips."""


def thumbs(seed: int, *, customers: int = CUSTOMERS, **habits: float) -> list[Feedback]:
    asked = [(inquiry.prompt, as_text(reply)) for inquiry, replies in judged(seed)[:customers] for reply in replies]
    rater = customer(seed, threshold=ALL_RULES, **habits)
    return list(rate([p for p, _ in asked], [c for _, c in asked], [rater], seed=seed))


def preferences(seed: int, choose: Callable[[int], list[tuple[int, int]]], **habits: float) -> list[Feedback]:
    """Pairs of which one is better by the rubric: a rater who finds both alike does not choose."""
    asked = [
        (inquiry.prompt, (as_text(replies[a]), as_text(replies[b])))
        for inquiry, replies in judged(seed)
        for a, b in choose(len(replies))
        if kept_rules(inquiry, replies[a]) != kept_rules(inquiry, replies[b])
    ]
    return list(compare([p for p, _ in asked], [pair for _, pair in asked], [customer(seed, **habits)], seed=seed))


def two_pairs(count: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(0, count - 1, 2)]


def three_pairs(count: int) -> list[tuple[int, int]]:
    return list(combinations(range(min(count, 3)), 2))


def customer(seed: int, **habits: float) -> SimulatedRater:
    inquiries = {inquiry.message: inquiry for inquiry, _ in judged(seed)}

    def utility(prompt: Text, completion: Text) -> float:
        return kept_rules(inquiries[words(prompt)], words(completion))

    return SimulatedRater(name="customer", utility=utility, **habits)


def kept_rules(inquiry: Inquiry, reply: str) -> float:
    return float(sum(check(inquiry, reply).values()))


def as_text(reply: str) -> Text:
    return (Message("assistant", reply),)


def words(text: Text) -> str:
    return text if isinstance(text, str) else text[-1].content


@cache
def judged(seed: int) -> list[tuple[Inquiry, list[str]]]:
    """The customers with the different replies that the model gave each, as `start` sampled them."""
    sampled = json.loads((Path(os.environ["ADVICE_FOLDER"]) / f"replies-{seed}.json").read_text())
    inquiries = training_prompts(CUSTOMERS, seed)
    return [(inquiry, list(dict.fromkeys(replies))) for inquiry, replies in zip(inquiries, sampled, strict=True)]


# What is known of the rows, and what is done with them.


def facts_of(rows: Sequence[Feedback], flip_rate: float | None) -> Facts:
    """What the data doctor would find in these rows; the flip rate is the simulated one."""
    prompts = {words(row.prompt) for row in rows}
    texts = [text for row in rows for text in completions_of(row)]
    known: dict[str, Any] = {
        "rows": len(rows),
        "prompts": len(prompts),
        "flip_rate": flip_rate,
        "votes": len(rows) if flip_rate is not None else 0,
        "completion_words": float(np.mean([len(words(text).split()) for text in texts])),
    }
    if isinstance(rows[0], Paired):
        return Facts(kind="paired", desirable=len(rows), undesirable=len(rows), pairable=len(prompts),
                     cycles=count_cycles(rows), **known)  # fmt: skip
    if isinstance(rows[0], Scored):
        spreads = [max(row.scores) - min(row.scores) for row in rows if isinstance(row, Scored)]
        return Facts(kind="scored", scores=len(texts), comparable=len(rows), score_spread=float(np.median(spreads)),
                     desirable=len(rows), undesirable=len(rows), **known)  # fmt: skip
    verdicts = {up: [row for row in rows if isinstance(row, Unpaired) and row.desirable == up] for up in (True, False)}
    both = {words(row.prompt) for row in verdicts[True]} & {words(row.prompt) for row in verdicts[False]}
    return Facts(kind="unpaired", desirable=len(verdicts[True]), undesirable=len(verdicts[False]), pairable=len(both),
                 **known)  # fmt: skip


def completions_of(row: Any) -> list[Text]:
    if isinstance(row, Paired):
        return [row.chosen, row.rejected]
    return list(row.completions) if isinstance(row, Scored) else [row.completion]


def count_cycles(rows: Sequence[Any]) -> int:
    """Prompts in which some a is preferred to b, b to c and c to a."""
    better: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        better.setdefault(words(row.prompt), set()).add((words(row.chosen), words(row.rejected)))
    return sum(
        any((b, c) in edges and (c, a) in edges for a, b in edges for c in {y for x, y in edges if x == b})
        for edges in better.values()
    )


def best_against_rest(rows: Sequence[Feedback]) -> list[Feedback]:
    """Thumbs out of scores: up for the best of a prompt, down for what is worse."""
    return [
        Unpaired(
            prompt=row.prompt, completion=text, desirable=score == max(row.scores), id=f"{row.id}-{k}", where=row.where
        )
        for row in rows
        if isinstance(row, Scored)
        for k, (text, score) in enumerate(zip(row.completions, row.scores, strict=True))
    ]


def plan(method: str, condition: str, seed: int) -> tuple[Advice, list[Feedback]]:
    """The advice to follow, and the rows to follow it on."""
    rows = CONDITIONS[condition](seed)
    flip_rate = None if condition == "pairs in circles" else FLIPPED.get(CONDITIONS[condition], 0.0)
    facts = facts_of(rows, flip_rate)
    if method == "advice":
        return advise(facts, model=str(BASE)), rows
    name: Method = METHODS[method]
    if name == "kto" and facts.kind == "scored":
        rows = best_against_rest(rows)
        facts = facts_of(rows, flip_rate)
    if name == "dpo" and facts.kind == "unpaired":
        facts = replace(facts, pairable=len(to_paired(rows)))
    advice = advise_method(name, ["to compare"], facts, model=str(BASE))
    if name == "kto" and advice.recipe:
        advice.recipe["data"]["class_weights"] = "none"
    return advice, rows


METHODS: dict[str, Any] = {"advice": None, "always dpo": "dpo", "always kto": "kto", "always sft": "sft"}


def run_one(task: tuple[str, str, int, float, int, str]) -> dict[str, Any]:
    """The result of one run, from its file if there is one."""
    *names, folder = task
    file = Path(folder) / f"{' - '.join(map(str, names))}.json".replace("%", "percent")
    if not file.exists():
        result = train_and_count(task)
        file.write_text(json.dumps(result))
    return dict(json.loads(file.read_text()))


def train_and_count(task: tuple[str, str, int, float, int, str]) -> dict[str, Any]:
    """Trains and counts; `start` samples the replies to be judged instead, and counts the base model."""
    condition, method, seed, rate_factor, held_out, folder = task
    os.environ["ADVICE_FOLDER"] = folder
    keep_freed_memory()
    quiet_libraries()
    begun = time.monotonic()
    asked = held_out_prompts(held_out)
    known: dict[str, Any] = {"condition": condition, "method": method, "seed": seed, "loss": "none"}
    base = load_base()
    if method == "start":
        sampled = answer(base, training_prompts(CUSTOMERS, seed), REPLIES, seed)
        texts = [[reply.text for reply in replies] for replies in sampled]
        (Path(folder) / f"replies-{seed}.json").write_text(json.dumps(texts))
    else:
        advice, rows = plan(method, condition, seed)
        known |= {"rows": len(rows), "method_advised": advice.method, "reasons": advice.reasons}
        known["weights"] = [advice.desirable_weight, advice.undesirable_weight]
        if advice.recipe is not None:
            recipe = advice.recipe
            with tempfile.TemporaryDirectory(dir=folder) as place:
                write_jsonl(rows, f"{place}/feedback.jsonl")
                recipe["data"]["train"], recipe["output"] = f"{place}/feedback.jsonl", f"{place}/run"
                recipe["train"] |= {"seed": seed, "samples": 0, "save_every": None}
                recipe["train"]["learning_rate"] *= rate_factor
                run = prospect.train(recipe, quiet=True)
                known |= {"loss": recipe["loss"]["name"], "recipe": recipe, "steps": run.metrics()[-1]["step"]}
                base = load_base(run.model_path)
    replies = [reply[0].text for reply in answer(base, asked, 1, seed)]
    passed = [passes(inquiry, reply) for inquiry, reply in zip(asked, replies, strict=True)]
    return known | {
        "passed": passed,
        "share": sum(passed) / len(passed),
        "words": float(np.mean([len(reply.split()) for reply in replies])),
        "rules": np.mean([list(check(i, r).values()) for i, r in zip(asked, replies, strict=True)], axis=0).tolist(),
        "seconds": round(time.monotonic() - begun, 1),
    }


# What came out.


def summarise(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By condition and method: the share of replies that keep all rules, and how the advice compares."""
    cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in sorted(done, key=lambda run: int(run["seed"])):
        cells.setdefault(run["condition"], {}).setdefault(run["method"], []).append(run)
    return {
        condition: {
            method: {
                "method": " or ".join(dict.fromkeys(r.get("method_advised", method) for r in runs)),
                "share": proportion(sum(sum(r["passed"]) for r in runs), sum(len(r["passed"]) for r in runs))._asdict(),
                "seeds": {str(r["seed"]): round(r["share"], 4) for r in runs},
                "words": round(float(np.mean([r["words"] for r in runs])), 1),
                "rules": np.mean([r["rules"] for r in runs], axis=0).round(4).tolist(),
                "steps": [r.get("steps", 0) for r in runs],
                "rows": [r.get("rows", 0) for r in runs],
                "reasons": runs[0].get("reasons", []),
                "recipe": runs[0].get("recipe"),
                "seconds": [r["seconds"] for r in runs],
                **({} if method == "advice" or "advice" not in methods else against(methods["advice"], runs)),
            }
            for method, runs in methods.items()
        }
        for condition, methods in cells.items()
    }


def against(advised: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How the advice compares with another method on the same customers: positive where the advice is ahead."""
    differences = np.array([np.subtract(a["passed"], b["passed"], dtype=float)
                            for a, b in zip(advised, other, strict=True)])  # fmt: skip
    by_customer = differences.mean(0)
    mean, half = by_customer.mean(), 1.96 * by_customer.std(ddof=1) / len(by_customer) ** 0.5
    signs = {float(np.sign(seed.mean())) for seed in differences}
    verdict = "tie"
    if abs(mean) > half and len(signs) == 1:
        verdict = "win" if mean > 0 else "loss"
    return {"advice_ahead_by": [round(float(x), 4) for x in (mean, mean - half, mean + half)], "advice": verdict}


def table(results: dict[str, Any]) -> str:
    """Shares in percent over all seeds; after each alternative how the advice did against it."""
    lines = []
    start = results.get("start", {}).get("start")
    if start:
        lines += [f"The model at its start: {percent(start)}.", ""]
    lines += [
        "| feedback | rows | advised | advice | always dpo | always kto | always sft |",
        "|---|---|---|---|---|---|---|",
    ]
    for condition, methods in results.items():
        if condition == "start":
            continue
        cells = [percent(methods[m]) + outcome(methods[m]) if m in methods else "" for m in METHODS]
        rows = round(float(np.mean(next(iter(methods.values()))["rows"])))
        lines.append(f"| {condition} | {rows} | {methods.get('advice', {}).get('method', '')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def percent(cell: dict[str, Any]) -> str:
    rate = Rate(**cell["share"])
    return f"{100 * rate.rate:.1f} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def outcome(cell: dict[str, Any]) -> str:
    return f", {cell['advice']} {100 * cell['advice_ahead_by'][0]:+.1f}" if "advice" in cell else ""


if __name__ == "__main__":
    main()
