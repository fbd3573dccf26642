"""`prospect contest`: two sides answer the same prompts, and a judge compares them; or the judge itself is checked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect.cli.announce import announce_gguf
from prospect.cli.device import add_device
from prospect.cli.generate import (
    add_drawing,
    add_sampling,
    add_service,
    drawing_from,
    refuse_drawing,
    service_from,
)
from prospect.cli.judging import add_judge, check_judge_options, judge_from
from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.progress import Counter
from prospect.cli.rendering import add_rendering, asked_rendering, refuse_without_model
from prospect.cli.result import add_result, check_result, one_or_more, write_result
from prospect.errors import UsageError
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import Subject, find_subject
from prospect.outputs import output_file
from prospect.terminal import say

if TYPE_CHECKING:
    from prospect.models.diffusion.sampling import ImageSampling


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a run directory, a model or adapter folder, a .gguf file, a hub name, endpoint:URL#NAME, or a file of "
        "completions",
    )
    parser.add_argument(
        "--against",
        metavar="MODEL_OR_FILE",
        help="the other side, as MODEL (default: what people liked in the data)",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        help="prompts or feedback (default: what the run held out, or the prompts of a file of completions)",
    )
    parser.add_argument(
        "--check-judge",
        nargs="+",
        metavar="PAIRS",
        help="hold no contest: say how well --judge agrees with people on pairs of chosen and rejected completions",
    )
    parser.add_argument(
        "--page", type=output_file, metavar="FILE.html", help="write a page on which people vote, and stop"
    )
    parser.add_argument("--limit", type=int, help="look at this many prompts or pairs at most")
    add_result(parser, "contest")
    add_label_map(parser)
    add_judge(parser)
    parser.add_argument("--samples", type=int, default=1, help="completions of each prompt (default 1)")
    parser.add_argument("--target", default="target", metavar="COLUMN", help="right answers, for verifiers")
    parser.add_argument(
        "--one-order", action="store_true", help="ask once for each comparison, in an order that is drawn"
    )
    parser.add_argument(
        "--median",
        action="store_true",
        help="of several completions of a prompt, let only those of median score meet, one a side (judges that score)",
    )
    add_sampling(parser)
    add_rendering(parser, usual="as the run was trained; else by the model's own template")
    add_service(parser)
    add_drawing(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Hold the contest, write the page, or check the judge."""
    from prospect.cli.train import quiet_libraries

    quiet_libraries()
    if options.check_judge:
        return _check_judge(options)
    if options.model is None:
        raise UsageError("no side is named. Name MODEL, and the other side with --against.")
    subject = find_subject(options.model, images=True)
    _check(options, subject)
    announce_gguf(options.model, options.against)
    if options.page:
        return _write_page(options)
    from prospect.evaluation.contest.judged import judge_completions

    result = judge_completions(
        options.model,
        one_or_more(options.data),
        judge_from(options),
        options.against,
        limit=options.limit,
        label_map=read_label_map(options.label_map),
        how=_judging(options, subject),
        announce=say,
        watch=Counter,
    )
    write_result(options, subject, result)
    return 0


def _check(options: argparse.Namespace, subject: Subject) -> None:
    """Refuse what would do nothing."""
    from prospect.evaluation.contest.sides import prompts_of

    if bool(options.judge) == bool(options.page):
        raise UsageError(
            "--page writes a page to vote on; then judge by the votes, with --judge human:VOTES.json"
            if options.judge
            else "no judge is named. Name --judge J, or let people vote with --page FILE.html"
        )
    if options.median and options.page:
        raise UsageError("--median is of a judge's scores, and --page asks nobody yet. Leave it out.")
    if not options.data and subject.kind != "run" and not prompts_of(options.model, options.against):
        raise UsageError(f"{options.model} is no run that held prompts out; a contest needs some: --data FILE.")
    sides = [find_subject(side, images=True) for side in (options.model, options.against) if side]
    if not any(side.makes_images for side in sides):
        refuse_drawing(options)
    elif not (options.output or options.page or subject.run):
        raise UsageError("the images that a side makes need a folder. Say where the result goes: -o FILE.")
    if not any(side.weights for side in sides):
        refuse_without_model(options, server=any(side.kind == "endpoint" for side in sides))
    service_from(options)
    check_judge_options(options)
    check_result(options, subject)


# What is read where the judge itself is checked.
_OF_THE_JUDGE = (
    *(
        "verb",
        "check_judge",
        "judge",
        "rubric",
        "price",
        "judge_api_key_env",
        "judge_request",
        "api_key_env",
        "request",
    ),
    *("concurrency", "retries", "timeout", "limit", "output", "json", "label_map", "seed"),
)


def _check_judge(options: argparse.Namespace) -> int:
    from prospect.evaluation.contest.judges.asking import Price
    from prospect.evaluation.contest.judges.quality import check_judge

    defaults = argparse.ArgumentParser()
    add_arguments(defaults)
    for name, value in vars(options).items():
        if name not in _OF_THE_JUDGE and value != defaults.get_default(name):
            spelled = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{spelled} is of a contest, and --check-judge holds none. Leave it out.")
    if not options.judge:
        raise UsageError("--check-judge: no judge is named. Name it: --judge J")
    check_judge_options(options)
    result = check_judge(
        judge_from(options),
        one_or_more(options.check_judge),
        limit=options.limit,
        label_map=read_label_map(options.label_map),
        keep=options.output.with_suffix(".verdicts.jsonl") if options.output else None,
        price=Price.parse(options.price) if options.price else None,
        seed=options.seed,
        announce=say,
        progress=Counter("verdicts"),
    )
    write_result(options, None, result)
    return 0


def _write_page(options: argparse.Namespace) -> int:
    from prospect.evaluation.contest.judges.human_page import write_page
    from prospect.evaluation.contest.sides import gather_sides, remove_partial

    how = _judging(options, None)
    sides = gather_sides(
        options.model,
        one_or_more(options.data),
        options.against,
        limit=options.limit,
        label_map=read_label_map(options.label_map),
        how=how,
        announce=say,
        watch=Counter,
    )
    rubric = {"rubric": options.rubric} if options.rubric else {}
    count = write_page(sides.items, options.page, seed=options.seed, **rubric)
    remove_partial(how.keep)
    say(f"{count} comparisons to vote on: {options.page}")
    return 0


def _judging(options: argparse.Namespace, subject: Subject | None) -> Any:
    from prospect.evaluation.answers.writers import Generation
    from prospect.evaluation.contest.judges.asking import Price
    from prospect.evaluation.contest.sides import Judging

    drawn = (options.max_new_tokens, options.temperature, options.top_p, options.seed)
    return Judging(
        generation=Generation(options.samples, *drawn),
        drawing=_drawing(options),
        service=service_from(options),
        thoughts=options.thoughts,
        batch_size=options.batch_size,
        both_orders=not options.one_order,
        median=options.median,
        price=Price.parse(options.price) if options.price else None,
        target=options.target,
        keep=_kept(options, subject),
        seed=options.seed,
        rendering=RenderingOptions(**asked_rendering(options)),
    )


def _drawing(options: argparse.Namespace) -> ImageSampling | None:
    """Return how images are drawn; None where no side makes any."""
    sides = [find_subject(side, images=True) for side in (options.model, options.against) if side]
    names = [side.name for side in sides if side.makes_images]
    return drawing_from(options, *names) if names else None


def _kept(options: argparse.Namespace, subject: Subject | None) -> Path | None:
    """Return the beginning of the names of completions and verdicts."""
    if options.output:
        return Path(options.output.with_suffix(""))
    if subject is not None and subject.run is not None:
        subject.run.evaluation_path.mkdir(exist_ok=True)
        return subject.run.evaluation_path / (options.name or "contest")
    return options.page.with_suffix("") if options.page else None
