"""`prospect label`: completions in, thumbs by a judge out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prospect.cli.device import add_device
from prospect.cli.generate import add_service, service_from
from prospect.cli.judging import add_judge, check_judge_options, judge_from
from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.progress import Counter
from prospect.errors import UsageError
from prospect.outputs import output_file
from prospect.terminal import print_json, say

if TYPE_CHECKING:
    from prospect.rounds.label_file import Labelled, Labelling

CUTS = ("judge", "undesirable", "drop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="rows of prompt and completion or image, as prospect generate writes them; or feedback of any kind",
    )
    parser.add_argument("-o", "--output", type=output_file, metavar="OUT.jsonl", help="where the thumbs go")
    parser.add_argument(
        "--page",
        type=output_file,
        metavar="FILE.html",
        help="write a page on which people give the thumbs, and stop; then --judge human:VOTES.json",
    )
    parser.add_argument(
        "--threshold",
        metavar="T",
        help="from which score on a completion is good: equal (1 is, 0 is not), a number, median or prompt_median "
        "(default: as the judge's scores are)",
    )
    parser.add_argument(
        "--cut",
        choices=CUTS,
        default="judge",
        help="what becomes of a completion that the limit of tokens cut (default: judge, as it stands)",
    )
    parser.add_argument("--target", default="target", metavar="COLUMN", help="right answers, for verifiers")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON on stdout")
    add_label_map(parser)
    add_judge(parser, sides=False)
    add_service(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Label, and say how many pass, and what was left out; or write the page."""
    from prospect.cli.train import quiet_libraries
    from prospect.evaluation.contest.judges.asking import Price
    from prospect.rounds.label_file import Labelling, label_file
    from prospect.rounds.labels import Threshold

    quiet_libraries()
    _check(options)
    how = Labelling(
        threshold=Threshold.parse(options.threshold) if options.threshold else None,
        cut=options.cut,
        target=options.target,
        price=Price.parse(options.price) if options.price else None,
    )
    if options.page:
        return _write_page(options, how)
    found = label_file(
        options.files,
        judge_from(options),
        options.output,
        how=how,
        label_map=read_label_map(options.label_map),
        announce=say,
        progress=Counter("scores"),
    )
    for line in _told(found):
        say(line)
    say(f"thumbs  {options.output}")
    if options.json:
        print_json(found.as_dict())
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse what would do nothing."""
    if options.page:
        for name in ("judge", "output", "threshold", "price", "json"):
            if getattr(options, name):
                raise UsageError(f"--page writes a page for people and labels nothing: leave --{name} out.")
    elif not options.judge:
        raise UsageError("no judge is named. Name it, --judge J, or let people give the thumbs: --page FILE.html")
    elif not options.output:
        raise UsageError("no output is named. Name it: -o OUT.jsonl")
    service_from(options)
    check_judge_options(options)


def _write_page(options: argparse.Namespace, how: Labelling) -> int:
    from prospect.evaluation.contest.judges.human_page import write_thumbs_page
    from prospect.rounds.label_file import read_completions

    found = read_completions(options.files, label_map=read_label_map(options.label_map))
    rows = [one.candidate for one in found.completions if one.row.finished or how.cut == "judge"]
    rubric = {"rubric": options.rubric} if options.rubric else {}
    if found.broken:
        say(f"{len(found.broken)} rows left out: their images cannot be read, the first for this: {found.broken[0]}")
    say(f"{write_thumbs_page(rows, options.page, **rubric)} completions to give thumbs to: {options.page}")
    return 0


def _told(found: Labelled) -> Iterator[str]:
    """Yield what a person should know of the thumbs, line by line."""
    labels, rate = found.labels, found.labels.rate
    yield (
        f"{labels.rows} completions in, {labels.kept} thumbs out: {labels.desirable} up, {labels.undesirable} down; "
        f"up is {found.threshold}"
    )
    by_rule = ", about half by the threshold itself" if "median" in found.threshold.rule else ""
    yield f"thumbs up  {rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}), n {rate.n}{by_rule}"
    for count, what in (
        (labels.unread, "without a thumb: what the judge answered could not be read"),
        (labels.undecided, "without a thumb: their score is the median itself"),
        (found.not_judged, "without a thumb: nobody has come to them yet"),
        (found.cut if found.dropped else 0, "left out: the limit of tokens cut them"),
        (0 if found.dropped else found.cut, "down without a question: the limit of tokens cut them"),
        (found.relabelled, "had a label that said the opposite"),
    ):
        if count:
            yield f"{count} {what}"
    if found.broken:
        yield f"{found.broken} rows left out: their images cannot be read, the first for this: {found.broken_note}"
    if found.unread_note:
        yield f"one of the answers: {found.unread_note}"
    if not (labels.desirable and labels.undesirable):
        side, other = ("UP", "stricter") if labels.desirable else ("DOWN", "milder")
        yield (
            f"ALL THUMBS ARE {side}, and nothing can be learned from one class alone. Take a {other} threshold or "
            f"question (--threshold, --rubric), other prompts, or a {other} judge; where scores differ within a "
            "prompt, --threshold prompt_median"
        )
