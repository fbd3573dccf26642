"""Rows and files that cannot be read, and files that do not go together."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from prospect.feedback.doctor.checks.case import Case, several, that
from prospect.feedback.doctor.checks.measure import OTHER_REASONS, BadRows
from prospect.feedback.files.verdict_columns import describe_ignored
from prospect.feedback.findings import Finding

_REASONS_SHOWN = 10  # the rest in one finding: a page of them helps nobody


def unreadable_files(case: Case) -> Iterator[Finding]:
    """Files of which nothing can be read."""
    for name, reason in case.data.broken.items():
        what, _, advice = reason.rpartition(". ")
        yield Finding(
            code="unreadable_file",
            severity="error",
            count=1,
            rows=(name,),
            message=f"{name}: {what or reason}.",
            advice=f"{advice}." if what else "Write the file again.",
        )


def unreadable_rows(case: Case) -> Iterator[Finding]:
    """Rows that training would refuse, by reason."""
    entries = case.data.bad_by_count()
    for reason, bad in entries[:_REASONS_SHOWN]:
        what, _, advice = bad.message.rpartition(". ")
        text = what or bad.message
        if reason == OTHER_REASONS:
            text = f"{reason}, such as: {text}"
        yield _unreadable(
            case, bad, f"{several(bad.count, 'row')} cannot be read: {text}.", f"{advice}." if what else ""
        )
    rest = [bad for _, bad in entries[_REASONS_SHOWN:]]
    if rest:
        total = BadRows(count=sum(bad.count for bad in rest), rows=[row for bad in rest for row in bad.rows][:5])
        message = f"{several(total.count, 'row')} cannot be read for {len(rest)} other reasons."
        yield _unreadable(case, total, message, "")


def _unreadable(case: Case, bad: BadRows, message: str, advice: str) -> Finding:
    if message.count("label is") and "data.label_map" in advice:
        advice += " Here: --label-map, with all your labels."
    return Finding(
        code="unreadable_rows",
        severity="error",
        count=bad.count,
        rows=tuple(f"{case.data.files[file]}:{line}" for file, line in bad.rows),
        message=message,
        advice=advice or "Mend or remove them: training stops at the first.",
    )


def several_kinds(case: Case) -> Iterator[Finding]:
    """Files of another kind than most."""
    for kind, count in case.data.other_kinds.items():
        files = [n for n, k in zip(case.data.files, case.data.file_kinds, strict=True) if k == kind]
        yield Finding(
            code="several_kinds",
            severity="warning",
            count=count,
            rows=tuple(files[:5]),
            message=f"{several(count, 'row')} in {several(len(files), 'file')} {'is' if count == 1 else 'are'} "
            f"{kind}, the others {case.data.kind}; "
            f"only the {case.data.kind} rows are looked at here.",
            advice=f"Inspect the {kind} files by themselves.",
        )


def ambiguous_labels(case: Case) -> Iterator[Finding]:
    """Files with 0 and -1, where 0 may mean neutral."""
    for file, negatives in zip(case.data.files, case.data.negatives, strict=True):
        if len(negatives) > 1:
            yield Finding(
                code="ambiguous_labels",
                severity="error",
                count=sum(negatives.values()),
                rows=(file,),
                message=f"{file} has {negatives['0']:,} labels 0 and {negatives['-1']:,} labels -1; with both in one "
                "file 0 "
                "may mean neutral as well as undesirable, and training refuses to guess. Here both count as "
                "undesirable.",
                advice="Say which: --label-map '{1: true, 0: false, -1: false}' (data.label_map in a recipe), or "
                "remove "
                "the neutral rows.",
            )


def repeated_ids(case: Case) -> Iterator[Finding]:
    """Ids that several rows of one file share."""
    rows = case.data.rows.drop_nulls("id").filter(~pl.struct("file", "id").is_first_distinct())["row"]
    if len(rows):
        yield case.finding(
            "repeated_ids",
            "note",
            rows,
            f"{that(len(rows), 'row', 'have')} an id that an earlier row of the file has too.",
            "Training does not mind; removing or comparing rows by id does. Give every row an id of its own.",
        )


def ignored_verdicts(case: Case) -> Iterator[Finding]:
    """Columns that look like a verdict or a second answer, and that no layout reads."""
    for (kind, column, looks), count in case.data.ignored.items():
        if kind != case.data.kind:
            continue
        unjudged = kind in ("demonstration", "scored")
        if looks == "verdict":
            advice = f"If it judges the completion: prospect data import FILE --map label={column} -o OUT.jsonl."
        else:
            advice = f"If it answers the prompt: prospect data import FILE --map chosen=COLUMN rejected={column}."
        message = describe_ignored(kind, column, looks, count)
        yield Finding(
            code="ignored_verdict",
            severity="warning" if unjudged or looks == "second answer" else "note",
            count=count,
            rows=(),
            message=f"{message[0].upper()}{message[1:]}.",
            advice=f"{advice} Else remove it.",
        )


CHECKS = (unreadable_files, unreadable_rows, several_kinds, ambiguous_labels, repeated_ids, ignored_verdicts)
