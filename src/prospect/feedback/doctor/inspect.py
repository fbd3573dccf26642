"""The data doctor: what is in feedback files, what is wrong with them, and which method suits them.

Files are read piece by piece, in several processes where they are large; of each row numbers and hashes are kept, never
the text. Then every check looks at those columns, and the advice rests on the facts that they found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prospect.errors import UsageError
from prospect.feedback.advice.advice import Advice, Facts, advise
from prospect.feedback.advice.pictures import advise_on_images
from prospect.feedback.doctor.checks import (
    balance,
    duplicates,
    leaks,
    lengths,
    pictures,
    position,
    raters,
    readable,
    texts,
    verdicts,
)
from prospect.feedback.doctor.checks.balance import verdict_counts
from prospect.feedback.doctor.checks.case import Case, Check
from prospect.feedback.doctor.checks.gather import Gathered, gather
from prospect.feedback.doctor.checks.lengths import length_summary
from prospect.feedback.doctor.checks.pictures import picture_summary
from prospect.feedback.doctor.checks.position import time_summary
from prospect.feedback.doctor.checks.raters import rater_summary
from prospect.feedback.doctor.checks.texts import script_summary, turn_summary
from prospect.feedback.doctor.checks.tokens import LONGEST_DEFAULT, RowCounter, count_tokens
from prospect.feedback.doctor.checks.verdicts import circles_of, pairable_prompts, score_spreads
from prospect.feedback.doctor.checks.votes import votes_of
from prospect.feedback.files.sources import Source
from prospect.feedback.findings import Finding
from prospect.feedback.images.looks import Look
from prospect.model_source import find_model

CHECKS: tuple[Check, ...] = (
    *readable.CHECKS,
    *balance.CHECKS,
    *lengths.CHECKS,
    *duplicates.CHECKS,
    *verdicts.CHECKS,
    *raters.CHECKS,
    *position.CHECKS,
    *leaks.CHECKS,
    *texts.CHECKS,
)
"""All of them for texts, in the order in which findings of the same severity are told."""
IMAGE_CHECKS: tuple[Check, ...] = (
    *readable.CHECKS,
    *balance.CHECKS,
    *pictures.CHECKS,
    lengths.empties,
    duplicates.exact_duplicates,
    *verdicts.CHECKS,
    *raters.CHECKS,
    *position.CHECKS,
    *leaks.CHECKS,
    *texts.CHECKS,
)
"""The same for images; what is said of texts holds for their prompts."""
_LISTED = 20  # models and sources in the summary
_SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the doctor says.

    Attributes:
        facts: what the advice rests on.
        findings: the worst first.
        advice: the method, why, and a recipe.
        summary: what is in the files: a section of numbers each, ready for JSON.
        looks: a few images with their thumbnails, where completions are images.
    """

    facts: Facts
    findings: tuple[Finding, ...]
    advice: Advice
    summary: dict[str, Any]
    looks: tuple[Look, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Whether training on the files as they are is wrong or refused."""
        return any(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON: plain numbers, texts, lists and objects."""
        facts = asdict(self.facts)
        return {
            "kind": facts.pop("kind"),
            **{name: facts.pop(name) for name in ("rows", "prompts", "desirable", "undesirable")},
            **self.summary,
            "facts": facts,
            "findings": [{**asdict(finding), "rows": list(finding.rows)} for finding in self.findings],
            "advice": {**asdict(self.advice), "reasons": list(self.advice.reasons)},
        }


def inspect_feedback(
    files: Source,
    *,
    label_map: Mapping[Any, bool] | None = None,
    model: str | Path | None = None,
    counter: RowCounter | None = None,
    eval_files: Source | None = None,
    max_length: int | None = None,
    processes: int = 1,
) -> Inspection:
    """Return what is in feedback files, what is wrong with them and which method suits them.

    Rows that cannot be read are counted by their reason and become findings; the others are looked at.

    Args:
        files: a file, a glob, a hub dataset, or a list of these, as in `load_feedback`.
        label_map: label -> desirable, for labels other than true/false, 1/0 and 1/-1.
        model: a model as `find_model` takes it, whose context is the limit of lengths and which is advised on.
        counter: counts its tokens and tries its chat template; see `prospect.data.token_counter`.
        eval_files: files to evaluate on; their prompts should not be in `files`.
        max_length: prompt and completion together, in tokens. None: the model's context, at most 2048, as in training.
        processes: how many processes read files of more than 32 MB. They are spawned, so a script that asks for more
            than one must be importable (`if __name__ == "__main__":`).

    Refuses sources that name no file, and files of which not one row can be read.
    """
    if max_length is not None and max_length < 2:
        raise UsageError(f"max_length is {max_length}; expected at least 2 tokens, one of them to learn from.")
    context = find_model(model).context if model is not None else None
    data = gather(
        files,
        label_map=label_map,
        compare_prompts=eval_files is not None,
        with_tokens=counter is not None,
        processes=processes,
    )
    held_out = None
    if eval_files is not None:
        held_out = gather(eval_files, label_map=label_map, compare_prompts=True, processes=processes)
    case = Case(
        data=data,
        held_out=held_out,
        votes=votes_of(data),
        tokens=None if counter is None else count_tokens(str(model), data.samples, counter),
        max_length=max_length or min(context or LONGEST_DEFAULT, LONGEST_DEFAULT),
    )
    findings = [finding for check in (IMAGE_CHECKS if data.looks else CHECKS) for finding in check(case)]
    facts = _facts(case)
    return Inspection(
        facts=facts,
        findings=tuple(sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity))),
        advice=advise_on_images(facts)
        if data.looks
        else advise(facts, model=None if model is None else str(model), data=_paths(files)),
        summary=_summary(case),
        looks=tuple(look for look in data.looks if look.thumbnail),
    )


def _paths(files: Source) -> str | list[str]:
    return str(files) if isinstance(files, str | Path) else [str(file) for file in files]


def _facts(case: Case) -> Facts:
    data = case.data
    desirable, undesirable = verdict_counts(case)
    noise = case.votes.noise() if case.votes else None
    spreads = score_spreads(data)
    return Facts(
        kind=data.kind,
        rows=len(data),
        prompts=data.rows["prompt"].n_unique(),
        desirable=desirable,
        undesirable=undesirable,
        pairable=pairable_prompts(data) if data.kind != "demonstration" else 0,
        flip_rate=noise.flip_rate if noise else None,
        votes=noise.votes if noise else 0,
        contradictions=len(case.votes.contradictions()) if case.votes else 0,
        cycles=len(circles_of(data)),
        scores=data.completions["score"].count(),
        completion_words=float(data.completions["words"].to_numpy().mean()),
        comparable=len(spreads),
        score_spread=float(np.median(spreads)) if len(spreads) else None,
    )


def _summary(case: Case) -> dict[str, Any]:
    data = case.data
    return {
        "files": [_file(data, number) for number in range(len(data.files))],
        "unreadable": {
            "rows": sum(bad.count for bad in data.bad.values()),
            "files": len(data.broken),
            "reasons": [
                {"reason": reason, "count": bad.count, "message": bad.message, "rows": _places(data, bad.rows)}
                for reason, bad in data.bad_by_count()
            ],
        },
        "other_kinds": dict(data.other_kinds),
        "max_length": case.max_length,
        **(_image_parts(data) if data.looks else _text_parts(case)),
        "raters": rater_summary(data),
        "sources": data.frequencies("source", _LISTED),
        "models": data.frequencies("model", _LISTED),
        "time": time_summary(data),
        "sample": {"rows": data.looked_at, "share": data.sampled},
    }


def _text_parts(case: Case) -> dict[str, Any]:
    return {
        "lengths": length_summary(case),
        "turns": turn_summary(case.data),
        "scripts": script_summary(case.data),
    }


def _image_parts(data: Gathered) -> dict[str, Any]:
    return {"pictures": picture_summary(data)}


def _file(data: Gathered, number: int) -> dict[str, Any]:
    name = data.files[number]
    return {
        "name": name,
        "kind": data.file_kinds[number],
        "rows": int((data.rows["file"] == number).sum()),
        "unreadable": data.unreadable[number],
        "broken": data.broken.get(name),
    }


def _places(data: Gathered, rows: list[tuple[int, int]]) -> list[str]:
    return [f"{data.files[file]}:{line}" for file, line in rows]
