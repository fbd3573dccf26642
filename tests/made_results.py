"""Results as files hold them, for the tests of pages: a study and rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prospect.statistics.rates import proportion

METHODS = ("kto", "dpo")
FLIPS = (0.0, 0.2, 0.4)
N = 200
PROMPTS = ("Where is my parcel?", "The lamp is broken.")
RATES = {0: 0.46, 1: 0.8, 2: 0.95}


def change(value: float, half: float = 0.07) -> dict[str, Any]:
    verdict = "better" if value > half else "worse" if value < -half else "no difference shown"
    return {"value": value, "low": value - half, "high": value + half, "n": N, "prompts": N} | {
        **{"p": 0.001, "p_holm": 0.001, "verdict": verdict}
    }


def held_out(number: int, **changes: Any) -> dict[str, Any]:
    rate, second = RATES[number], 0.5 + 0.1 * number
    return {
        "rate": proportion(rate * N, N)._asdict(),
        "against_start": change(rate - RATES[0]) if number else None,
        "against_last": change(rate - RATES[number - 1]) if number else None,
        "gained": 70 * number,
        "lost": number,
        "kl": {"value": 2.0 * number, "low": 1.8 * number, "high": 2.2 * number, "n": N, "prompts": N}
        if number
        else None,
        "second": proportion(second * N, N)._asdict(),
        "second_against_start": change(0.1 * number) if number else None,
        "second_against_last": change(0.1) if number else None,
        "agreement": 0.83,
        **{"words": 20.0 + number, "tokens": 30.0 + number, "cut": 0, "repetition": 0.01, "distinct_2": 0.6},
        "samples": [
            {"prompt": prompt, "completion": f"Dear customer, round {number} says so.", "score": 1.0, "desirable": True}
            for prompt in PROMPTS
        ],
        "seconds": 12.0,
        **changes,
    }


def one_round(number: int, **changes: Any) -> dict[str, Any]:
    if number == 0:
        return {"round": 0, "model": "/models/base", "held_out": held_out(0), **changes}
    return {
        **{"round": number, "model": f"round-{number}/run/model", "held_out": held_out(number)},
        "drawn": {"prompts": 150, "samples": 600, "distinct": 580, "tokens": 18000, "cut": 3, "empty": 1}
        | {"words": 21.0, "repetition": 0.02, "distinct_2": 0.55, "seconds": 40.0},
        "judged": {"judge": "verifier:polite", "identity": "ab", "threshold": "number 0.5", "desirable": 258}
        | {"undesirable": 342, "unread": 0, "dropped": 0, "rate": proportion(258, 600)._asdict()}
        | {"all_up": 11, "all_down": 22, "seconds": 3.0},
        "rows": {"rows": 580, "kind": "unpaired", "desirable": 250, "undesirable": 330, "ties": 0, "repeated": 20}
        | {"replayed": 40, "weights": {"desirable_weight": 1.3, "undesirable_weight": 1.0}, "content": "cd"},
        "trained": {"run": f"round-{number}/run", "steps": 40, "learning_rate": 2e-4, "loss": 0.4, "kl_raw": -0.66}
        | {"clamped": 0.3, "weights": "f0e1d2c3b4a59687", "seconds": 60.0},
        **changes,
    }


def rounds_as_json(*rounds: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """As `rounds.json` holds it; three rounds, the start among them, unless told otherwise."""
    return {
        **{"format": "prospect.rounds/1.1", "prospect": "0.1.0", "protocol": "online_kto", "loss": "kto"},
        **{"start": "/models/base", "judge": "verifier:polite", "second_judge": "reward:/models/rm"},
        **{"reference": "start", "optimizer": "fresh", "settings": {"count": 2, "label": {"judge": "verifier:polite"}}},
        **{"prompts": 300, "held_out_prompts": N, "planned": 2, "seconds": 1234.0},
        "rounds": list(rounds or map(one_round, RATES)),
        "stopped": {"kind": "done", "text": "all rounds that were asked for are made."},
        **changes,
    }


def study_cell(method: str, condition: str, rate: float, words: float) -> dict[str, Any]:
    said = f"Dear customer, {method} writes this."
    example: dict[str, Any] = {
        "prompt": "Where is my order?",
        "start": "Dear customer, wait.",
        "completion": said,
        "score": 1,
    }
    runs = [
        {"seed": seed, "status": "done", "error": None, "steps": 40, "seconds": 12.5, "examples": [example]}
        for seed in (0, 1)
    ]
    return {
        **{"method": method, "condition": condition, "runs": runs},
        "estimates": {
            "pass": {"rate": rate, "low": rate - 0.05, "high": rate + 0.05, "n": 400, "prompts": 200, "seeds": 2},
            "words": {"value": words, "low": words - 1, "high": words + 1, "n": 400, "prompts": 200, "seeds": 2},
        },
        "wins": {"rate": rate, "low": rate - 0.06, "high": rate + 0.06, "n": 400, "p": 0.01, "p_holm": 0.02}
        | {"verdict": "better"},
    }


def study_as_json(names: Sequence[str] = METHODS, shares: Sequence[float] = FLIPS, **changes: Any) -> dict[str, Any]:
    """As `prospect compare --json` prints it."""
    conditions = [f"{100 * x:.0f} % flips" for x in shares]
    points = list(zip(conditions, shares, strict=True))
    loss = {"kto": 0.1}
    comparison: dict[str, Any] = {"measure": "pass", "method": "kto", "baseline": {"method": "dpo", "condition": None}}
    comparison |= {"n": 400, "prompts": 200, "seeds": 2, "p": 0.0002}
    return {
        **{"format": "prospect.study/1", "name": "noise", "title": "Label noise", "file": "studies/noise.yaml"},
        **{"question": "Which method bears flipped thumbs?", "digest": "ab12cd34ef56", "level": 0.95, "seconds": 754.0},
        **{"complete": True, "runs": {"wanted": 12, "done": 12, "failed": 0}, "seeds": [0, 1], "primary": "pass"},
        "world": {"kind": "demo", "says": "A small model answers customers.", "prompts": 200},
        "claim": {
            **{"text": "KTO bears noise better than DPO", "source": "a paper, section 4", "agrees": "yes"},
            "why": "At 40 % flips it passes more often.",
            "rules": [
                {"text": "KTO above DPO at 40 %", "agrees": "yes", "found": "+20 points, 12 to 28", "measure": "pass"}
                | {"value": 0.2, "low": 0.12, "high": 0.28, "bound": 0.0, "p_holm": 0.001}
            ],
        },
        "measures": {
            "words": {"label": "length", "unit": "words", "better": None, "kind": "value"},
            "pass": {"label": "pass rate", "unit": "share", "better": "higher", "kind": "rate"},
        },
        "methods": [{"name": name, "loss": name, "after": None, "recipe": {"loss": {"name": name}}} for name in names],
        "conditions": [{"name": name, "says": name, "settings": {"flips": x}} for name, x in points],
        "axes": [{"label": "label flips", "unit": "share", "points": [{"condition": c, "x": x} for c, x in points]}],
        "start": {
            "pass": {"rate": 0.4, "low": 0.35, "high": 0.45, "n": 200, "prompts": 200, "seeds": 1},
            "words": {"value": 20, "low": 19, "high": 21, "n": 200, "prompts": 200, "seeds": 1},
        },
        "cells": [
            study_cell(m, c, 0.9 - loss.get(m, 0.6) * x, {"kto": 22}.get(m, 44)) for m in names for c, x in points
        ],
        "comparisons": [
            {**comparison, "condition": conditions[2], "value": 0.2, "low": 0.12, "high": 0.28, "p_holm": 0.0004}
            | {"verdict": "better"},
            {**comparison, "condition": conditions[0], "value": -0.01, "low": -0.06, "high": 0.04, "p_holm": 0.7}
            | {"verdict": "no difference shown"},
        ],
        "baseline": {"method": "dpo", "condition": None},
        "findings": [
            {"kind": "plain", "text": "Both are above the start."},
            {"kind": "worry", "text": "The prompts are few."},
        ],
        **changes,
    }
