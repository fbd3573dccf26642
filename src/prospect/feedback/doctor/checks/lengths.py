"""How long completions are, whether length decides the verdict, and what would be cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.doctor.checks.tokens import UNJUDGED
from prospect.feedback.findings import Finding
from prospect.statistics.noise import Comparison, compare, points_biserial, sign_test

BYTES_PER_TOKEN = 4.0
"""A rule of thumb for texts without a tokenizer at hand: English has about 4 bytes of UTF-8 per token."""
_WORTH_A_NOTE = 0.6  # AUC
_WORTH_A_WARNING = 0.7  # AUC: the longer of two is the better one in seven of ten
_SURE = 1e-3  # p
_BINS = 30


def empties(case: Case) -> Iterator[Finding]:
    """Prompts and completions without text."""
    rows = case.data.marked("empty_prompt")
    if len(rows):
        yield case.finding(
            "empty_prompts",
            "note",
            rows,
            f"{that(len(rows), 'row', 'have')} an empty prompt.",
            "Legal: the completion then begins the text. If there was a prompt, it was lost on the way here.",
        )
    rows = case.data.marked("empty_completion")
    if len(rows):
        yield case.finding(
            "empty_completions",
            "warning",
            rows,
            f"{that(len(rows), 'row', 'have')} an empty completion, which trains the end token alone.",
            "Remove them, unless saying nothing is what was judged.",
        )
    rows = case.data.marked("blank_completion")
    if len(rows):
        yield case.finding(
            "blank_completions",
            "warning",
            rows,
            f"{that(len(rows), 'row', 'have')} a completion of nothing but white space.",
            "Remove them.",
        )


def length_and_label(case: Case) -> Iterator[Finding]:
    """Whether longer completions are the desirable ones."""
    found = length_effect(case.data)
    if found is None or found.p > _SURE or max(found.auc, 1 - found.auc) < _WORTH_A_NOTE:
        return
    longer = found.auc > 0.5
    share = found.auc if longer else 1 - found.auc
    if case.data.kind == "paired":
        message = f"the {'longer' if longer else 'shorter'} completion is the chosen one in {percent(share)} of pairs"
    elif case.data.kind == "scored":
        message = (
            f"the best completion is {'longer' if longer else 'shorter'} than the worst in {percent(share)} of rows"
        )
    else:
        message = (
            f"a desirable completion is {'longer' if longer else 'shorter'} than an undesirable one in "
            f"{percent(share)} of "
            f"cases (correlation {_correlation(case.data):+.2f})"
        )
    yield case.finding(
        "length_and_label",
        "warning" if share >= _WORTH_A_WARNING else "note",
        [],
        f"{message}; half would be no effect (p {_p(found.p)}).",
        f"The model may learn to write {'more' if longer else 'less'}, not better. Watch the lengths of its samples; "
        "length-normalised losses (simpo, or average log-probabilities) and rows of equal length help.",
        count=found.n,
    )


def length_effect(data: Gathered) -> Comparison | None:
    """Return the test of length against verdict: chosen against rejected, best against worst, up against down."""
    words = data.completions["words"].to_numpy()
    if data.kind == "unpaired":
        return compare(words, _desirable(data))
    if data.kind == "paired":
        more = words[0::2] - words[1::2]
    elif data.kind == "scored":
        more = _best_minus_worst(data)
    else:
        return None
    return sign_test(int(np.sum(more > 0)), int(np.sum(more < 0)))


def _best_minus_worst(data: Gathered) -> NDArray[Any]:
    """Return the difference in words, of the rows that have a best and a worst completion."""
    order = data.completions.sort("row", "score", maintain_order=True).group_by("row", maintain_order=True)
    ends = order.agg(
        pl.col("words").last() - pl.col("words").first(), ranked=pl.col("score").last() > pl.col("score").first()
    )
    return ends.filter("ranked")["words"].to_numpy()


def _correlation(data: Gathered) -> float:
    return points_biserial(data.completions["words"].to_numpy(), _desirable(data))


def _desirable(data: Gathered) -> NDArray[Any]:
    return (data.completions["verdict"] == 1).to_numpy()


def too_long(case: Case) -> Iterator[Finding]:
    """Yield what `max_length` would cut."""
    tokens = case.tokens
    if tokens is not None:
        prompt, completion, row, about = tokens.prompt, tokens.completion, tokens.row, ""
    else:
        completions = case.data.completions
        row = completions["row"].to_numpy()
        prompt = np.ceil(case.data.rows["prompt_bytes"].to_numpy()[row] / BYTES_PER_TOKEN)
        completion = np.ceil(completions["size"].to_numpy() / BYTES_PER_TOKEN)
        about = "about "
    if not len(row):
        return
    total = prompt + completion
    over = np.maximum(total - np.maximum(case.max_length, prompt), 0)
    without_room = np.unique(row[prompt >= case.max_length])
    cut = np.unique(row[total > case.max_length])
    rows = len(np.unique(row))
    sampled = f" (in a sample of {rows:,} rows)" if rows < len(case.data) else ""
    guess = "" if tokens is not None else f" (estimated at {BYTES_PER_TOKEN:.0f} bytes a token; --model counts them)"
    if len(without_room):
        yield case.finding(
            "prompts_too_long",
            "warning",
            without_room,
            f"{about}{that(len(without_room), 'prompt', 'fill')} a max_length of {case.max_length:,} "
            f"alone{guess}{sampled}; "
            "training refuses that (data.overlong_prompts: error).",
            "Raise data.max_length, shorten the prompts, or set data.overlong_prompts: drop.",
        )
    if len(cut):
        lost = float(over.sum() / max(float(completion.sum()), 1.0))
        share = len(cut) / rows
        yield case.finding(
            "cut_by_max_length",
            "warning" if share > 0.05 else "note",
            cut,
            f"{about}{that(len(cut), 'row', 'are', share)} longer than a max_length of {case.max_length:,} tokens"
            f"{guess}{sampled}; {percent(lost)} of completion tokens would be cut.",
            "Raise data.max_length if memory allows; a completion that is cut gets no end token.",
        )


def template(case: Case) -> Iterator[Finding]:
    """Rows that the model's chat template cannot render as training needs it."""
    tokens = case.tokens
    if tokens is None:
        return
    if tokens.plain:
        share = len(tokens.plain) / len({int(row) for row in tokens.row})
        yield case.finding(
            "plain_rows",
            "warning",
            tokens.plain,
            f"{that(len(tokens.plain), 'row', 'are', share)} plain text{_sampled(case)}, and {tokens.model} has a chat "
            "template: they go to the model without it, as a text that is continued.",
            "If the model is to answer in conversations, set data.plain_as_chat: true, which makes a prompt a user "
            "turn and its completion the answer.",
        )
    if tokens.mismatched:
        yield case.finding(
            "template_prefix",
            "error",
            tokens.mismatched,
            f"the chat template of {tokens.model} renders the prompt of {several(len(tokens.mismatched), 'row')} "
            "otherwise "
            f"alone than before its completion{_sampled(case)}; training refuses this.",
            "Use a template whose prompt is a prefix of prompt + completion (data.chat_template), or leave such rows "
            "out: data.unrenderable: drop.",
        )
    if tokens.failed:
        yield case.finding(
            "template_failed",
            "error",
            tokens.failed,
            f"{several(len(tokens.failed), 'row')} cannot be rendered for {tokens.model}{_sampled(case)}: "
            f"{tokens.reason}",
            "Set data.system_role: fold where it does not know system turns, or data.unrenderable: drop to leave such "
            "rows out; or use another template (data.chat_template), or string prompts.",
        )


def _sampled(case: Case) -> str:
    looked = len(case.data.samples)
    return f" (in a sample of {looked:,} rows)" if looked < len(case.data) else ""


def length_summary(case: Case) -> dict[str, Any]:
    """Return lengths by class, in tokens where a model was named, else in words; and their histogram."""
    tokens, completions = case.tokens, case.data.completions
    if tokens is None:
        unit, values = "words", completions["words"].to_numpy()
        verdict = completions["verdict"].fill_null(UNJUDGED).to_numpy()
    else:
        unit, values, verdict = "tokens", tokens.completion, tokens.desirable
    classes = {"all": np.ones(len(values), dtype=bool)}
    if (verdict >= 0).any():
        classes |= {"desirable": verdict == 1, "undesirable": verdict == 0}
    by_class = {name: _described(values[chosen]) for name, chosen in classes.items() if chosen.any()}
    top = max(1.0, float(np.percentile(values, 99))) if len(values) else 1.0
    edges = np.linspace(0, np.ceil(top), min(_BINS, int(np.ceil(top))) + 1)
    counts = {
        name: np.histogram(np.minimum(values[chosen], edges[-1]), bins=edges)[0].tolist()
        for name, chosen in classes.items()
        if name != "all" or len(classes) == 1
    }
    return {
        "unit": unit,
        "sampled_rows": None if tokens is None else len(np.unique(tokens.row)),
        "completion": by_class,
        "histogram": {"edges": edges.tolist(), "counts": counts, "last_is_open": True},
    }


def _described(values: NDArray[Any]) -> dict[str, float]:
    low, median, high = np.percentile(values, [10, 50, 90]).tolist()
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "median": median,
        "p10": low,
        "p90": high,
        "max": float(values.max()),
    }


def _p(p: float) -> str:
    return "below 1e-9" if p < 1e-9 else f"{p:.1g}"


CHECKS = (empties, length_and_label, too_long, template)
