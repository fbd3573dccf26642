"""`prospect evaluate`: a model on held-out feedback, every number with its interval."""

from __future__ import annotations

import argparse

from prospect.cli.announce import announce_gguf
from prospect.cli.device import add_device
from prospect.cli.evaluation_text import tell
from prospect.cli.generate import add_drawing, drawing_from, refuse_drawing
from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.progress import Counter
from prospect.cli.rendering import add_rendering, asked_rendering
from prospect.cli.result import add_result, check_result, one_or_more, write_result
from prospect.errors import UsageError
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import Subject, find_subject
from prospect.statistics.estimates import Intervals
from prospect.terminal import say
from prospect.verbs.evaluating import keep_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", help="a run directory, a model or adapter folder, a .gguf file, a hub name"
    )
    parser.add_argument("--data", nargs="+", metavar="FILE", help="held-out feedback (default: what the run held out)")
    parser.add_argument("--reference", metavar="MODEL", help="of log-ratios (default: the run's own); none for none")
    parser.add_argument("--limit", type=int, help="look at this many rows at most")
    add_result(parser, "feedback")
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (default 0.95)")
    add_label_map(parser)
    parser.add_argument("--beta", type=float, help="scale of implied rewards (default: the run's, else 0.1)")
    parser.add_argument(
        "--kl-prompts", type=int, default=64, metavar="N", help="prompts sampled for KL, 0 for none (default 64)"
    )
    parser.add_argument(
        "--kl-tokens", type=int, default=128, metavar="N", help="where such a sample is cut (default 128)"
    )
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens of a row (default: the run's)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and the intervals' draws (default 0)")
    parser.add_argument("--batch-size", type=int, default=64, help="speed and memory, never the result (default 64)")
    add_rendering(parser, usual="as the run was trained; else by the model's own template")
    parser.add_argument(
        "--judge",
        metavar="J",
        help="of a run that makes images: draw the prompts with it and with its start, and let J compare, such as "
        "clip:MODEL or FILE.py:NAME; that goes to RUN/evaluation/contest.json",
    )
    parser.add_argument("--samples", type=int, default=1, help="images of each prompt, for the judge (default 1)")
    add_drawing(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, print a table, and write the result."""
    from prospect.cli.train import quiet_libraries
    from prospect.evaluation.held_out.preference import Settings, evaluate_feedback

    quiet_libraries()
    subject = find_subject(options.model, images=True)
    if not options.data and subject.kind not in ("run", "completions", "endpoint"):
        raise UsageError(f"nothing to evaluate {options.model} on: name --data FILE.")
    check_result(options, subject)
    _check_judge(options, subject)
    announce_gguf(options.model)
    settings = Settings(
        beta=options.beta,
        kl_prompts=options.kl_prompts,
        kl_tokens=options.kl_tokens,
        max_length=options.max_length,
        batch_size=options.batch_size,
        seed=options.seed,
        intervals=Intervals(level=options.level),
        rendering=RenderingOptions(**asked_rendering(options)),
    )
    result = evaluate_feedback(
        options.model,
        one_or_more(options.data),
        options.reference,
        label_map=read_label_map(options.label_map),
        limit=options.limit,
        settings=settings,
    )
    write_result(options, subject, result)
    if options.judge:
        _hold_contest(options, subject)
    return 0


def _check_judge(options: argparse.Namespace, subject: Subject) -> None:
    """Refuse what is of images where the model writes text, and the other way round."""
    from prospect.evaluation.contest.judges.names import judge_named

    if subject.makes_images:
        drawing_from(options, subject.name)
        if options.judge:
            judge_named(options.judge).require_eyes("the model makes images")
        return
    if options.judge or options.samples != 1:
        raise UsageError(
            f"--judge and --samples are for runs that make images, and {options.model} is none. Take prospect contest."
        )
    refuse_drawing(options)


def _hold_contest(options: argparse.Namespace, subject: Subject) -> None:
    """Draw the prompts with the run and with its start, let the judge compare them, and write what it says."""
    from prospect.evaluation.answers.writers import Generation
    from prospect.evaluation.contest.judged import judge_completions
    from prospect.evaluation.contest.judges.names import judge_named
    from prospect.evaluation.contest.sides import Judging

    assert subject.run is not None and subject.config is not None, "held-out feedback was read"
    result = judge_completions(
        options.model,
        one_or_more(options.data),
        judge_named(options.judge),
        subject.config.model.name_or_path,
        label_map=read_label_map(options.label_map),
        how=Judging(
            generation=Generation(samples_per_prompt=options.samples, seed=options.seed),
            drawing=drawing_from(options, subject.name),
            batch_size=options.batch_size,
            keep=subject.run.evaluation_path / "contest",
            seed=options.seed,
        ),
        announce=say,
        watch=Counter,
    )
    say("\n".join(["", *tell(result)]))
    kept = keep_result(subject, "contest", result)
    assert kept is not None, "a run"
    say(f"result  {kept[0]}\nreport  {kept[1]}")
