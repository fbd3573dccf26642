"""`prospect label`: completions in, thumbs by a judge out."""

from __future__ import annotations

import argparse

from prospect.cli.generate import add_service
from prospect.cli.judging import add_judge, check_judge_options, judge_from
from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.progress import Counter
from prospect.errors import UsageError
from prospect.outputs import output_file
from prospect.terminal import print_json, say

CUTS = ("judge", "undesirable", "drop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="rows of prompt and completion, as prospect generate writes them; or feedback of any kind",
    )
    parser.add_argument("-o", "--output", type=output_file, metavar="OUT.jsonl", help="the thumbs")
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


def run(options: argparse.Namespace) -> int:
    """Label, and say how many pass, and what was left out."""
    from prospect.cli.train import quiet_libraries
    from prospect.evaluation.contest.judges.asking import Price
    from prospect.rounds.label_file import Labelling, label_file
    from prospect.rounds.labels import Threshold

    quiet_libraries()
    if not options.judge:
        raise UsageError("no judge is named. Name it: --judge J")
    if not options.output:
        raise UsageError("no output is named. Name it: -o OUT.jsonl")
    check_judge_options(options)
    how = Labelling(
        threshold=Threshold.parse(options.threshold) if options.threshold else None,
        cut=options.cut,
        target=options.target,
        price=Price.parse(options.price) if options.price else None,
    )
    found = label_file(
        options.files,
        judge_from(options),
        options.output,
        how=how,
        label_map=read_label_map(options.label_map),
        announce=say,
        progress=Counter("scores"),
    )
    labels, rate = found.labels, found.labels.rate
    say(
        f"{labels.rows} completions in, {labels.kept} thumbs out ({labels.desirable} up, {labels.undesirable} down): "
        f"{options.output}"
    )
    say(f"thumbs up: {rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}, n {rate.n}); up is {found.threshold}")
    if options.json:
        print_json(found.as_dict())
    return 0
