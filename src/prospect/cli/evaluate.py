"""`prospect evaluate`: held-out feedback, a judged contest, benchmarks; every number with its interval."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prospect.atomic import write_json
from prospect.cli.announce import announce_gguf
from prospect.cli.evaluation_text import tell
from prospect.cli.generate import add_sampling, add_service, service_from
from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.progress import Counter
from prospect.cli.rendering import NAMES as RENDERING
from prospect.cli.rendering import add_rendering, asked_rendering, refuse_without_model
from prospect.endpoint.client import origin_of
from prospect.endpoint.request_fields import parse_request
from prospect.errors import UsageError
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import ENDPOINT, Subject, find_subject
from prospect.outputs import output_file, output_folder
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult
from prospect.results.feedback import FeedbackResult
from prospect.statistics.estimates import Intervals
from prospect.terminal import print_json, say

NO_KEY = "none"
LONGEST_NAME = 50  # characters of --name: of four bytes each they still make a file's name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run directory, a model or adapter folder, a .gguf file, a hub name; with --judge also "
        "endpoint:URL#NAME or a file of completions",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="FILE",
        help="held-out feedback, or prompts for --judge (default: what the run held out, or the prompts of a file of "
        "completions)",
    )
    parser.add_argument("--against", metavar="MODEL_OR_FILE", help="the other side, for --judge and --tasks")
    parser.add_argument("--reference", metavar="MODEL", help="of log-ratios (default: the run's own); none for none")
    parser.add_argument("--limit", type=int, help="look at this many rows, prompts or documents at most")
    parser.add_argument("-o", "--output", type=output_file, metavar="FILE", help="where the result goes as JSON")
    parser.add_argument("--name", help="of the file in RUN/evaluation/ (default: feedback, contest, benchmarks)")
    parser.add_argument(
        "--level",
        type=float,
        default=0.95,
        help="coverage of the intervals (default 0.95; those of --judge are fixed)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    add_label_map(parser)
    _add_feedback(parser.add_argument_group("held-out feedback (without --judge)"))
    _add_judge(parser.add_argument_group("a contest (--judge)"))
    _add_benchmarks(parser.add_argument_group("benchmarks (--tasks)"))
    add_sampling(parser)
    add_rendering(parser, usual="as the run was trained; else by the model's own template")
    add_service(parser)


def _add_feedback(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--beta", type=float, help="scale of implied rewards (default: the run's, else 0.1)")
    group.add_argument(
        "--kl-prompts",
        type=int,
        default=64,
        metavar="N",
        help="prompts sampled for KL, 0 for none (default 64)",
    )
    group.add_argument(
        "--kl-tokens", type=int, default=128, metavar="N", help="where such a sample is cut (default 128)"
    )
    group.add_argument("--max-length", type=int, metavar="N", help="tokens of a row (default: the run's)")


def _add_judge(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--judge",
        metavar="J",
        help="verifier:..., reward:MODEL, lm:MODEL, endpoint:URL#NAME, human:VOTES.json, python:...",
    )
    group.add_argument(
        "--page", type=output_file, metavar="FILE.html", help="write a page on which people vote, and stop"
    )
    group.add_argument("--samples", type=int, default=1, help="completions of each prompt (default 1)")
    group.add_argument("--target", default="target", metavar="COLUMN", help="right answers, for verifiers")
    group.add_argument("--rubric", metavar="TEXT", help="the question that the judge is asked")
    group.add_argument(
        "--one-order", action="store_true", help="ask once for each comparison, in an order that is drawn"
    )
    group.add_argument("--price", metavar="READ,WRITTEN", help="what a million of the judge's tokens cost")
    group.add_argument(
        "--judge-api-key-env",
        metavar="NAME",
        help="the environment variable that holds the key of a judge on another host than MODEL; none for no key",
    )
    group.add_argument(
        "--judge-request",
        action="append",
        metavar="NAME=VALUE",
        default=[],
        help="a further field of each request to the judge, in place of those of --request",
    )


def _add_benchmarks(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tasks", metavar="A,B", help="of lm-evaluation-harness: gsm8k,mmlu,bbh,humaneval,ifeval, ...")
    group.add_argument("--num-fewshot", type=int, metavar="N", help="examples before a question (default: the task's)")
    group.add_argument("--apply-chat-template", action="store_true", help="ask through the chat template")
    group.add_argument("--include-path", metavar="DIR", help="a folder with tasks of your own")
    group.add_argument(
        "--allow-code-execution", action="store_true", help="run programs that the model writes, with your rights"
    )


def run(options: argparse.Namespace) -> int:
    """Evaluate, print a table, and write the result."""
    from prospect.cli.train import quiet_libraries

    quiet_libraries()
    subject = find_subject(options.model)
    _check(options, subject)
    announce_gguf(options.model, options.against)
    if options.page:
        return _write_page(options)
    found: dict[str, FeedbackResult | ContestResult | BenchmarksResult] = {}
    if options.judge:
        found["contest"] = _contest(options, subject)
    elif options.data or not options.tasks:
        found["feedback"] = _feedback(options)
    if options.tasks:
        found["benchmarks"] = _benchmarks(options)
    _write(options, subject, found)
    return 0


# What each of the three reads; a setting that none of those asked for reads is refused.
_READ_BY = {
    "held-out feedback": f"reference beta kl_prompts kl_tokens max_length label_map level {' '.join(RENDERING)}",
    "--judge": "against rubric one_order price samples target label_map max_new_tokens temperature top_p concurrency "
    f"retries timeout api_key_env judge_api_key_env request judge_request thoughts {' '.join(RENDERING)}",
    "--tasks": "against num_fewshot apply_chat_template include_path allow_code_execution level",
}


def _check(options: argparse.Namespace, subject: Subject) -> None:
    """Refuse what would do nothing."""
    contest, prompts = options.judge or options.page, options.data
    if contest and not prompts:
        from prospect.evaluation.contest.judged import prompts_of

        prompts = prompts_of(options.model, options.against)
    if options.judge and options.page:
        raise UsageError("--page writes a page to vote on; then judge by the votes, with --judge human:VOTES.json")
    if contest and not prompts and subject.kind != "run":
        raise UsageError(f"{options.model} is no run that held prompts out; --judge needs some: --data FILE.")
    if not (contest or options.tasks or prompts) and subject.kind != "run":
        raise UsageError(f"nothing to evaluate {options.model} on: name --data FILE, or --tasks.")
    _check_used(options)
    sides = [find_subject(side) for side in (options.model, options.against) if side]
    if contest and not any(side.weights for side in sides):
        refuse_without_model(options, server=any(side.kind == "endpoint" for side in sides))
    if options.judge_api_key_env and not (options.judge or "").startswith(ENDPOINT):
        raise UsageError("--judge-api-key-env is for --judge endpoint:URL#NAME. Leave it out.")
    if options.judge_request and not (options.judge or "").startswith(ENDPOINT):
        raise UsageError("--judge-request is for --judge endpoint:URL#NAME. Leave it out.")
    if options.name and subject.kind != "run":
        raise UsageError(f"--name is of a file in a run directory, and {options.model} is none. Use -o.")
    if options.name and (Path(options.name).name != options.name or len(options.name) > LONGEST_NAME):
        raise UsageError(
            f"--name {options.name}: expected a plain name of at most {LONGEST_NAME} characters, such as contest-gpt."
        )
    if subject.run is not None:
        output_folder(subject.run.evaluation_path)


def _check_used(options: argparse.Namespace) -> None:
    contest = bool(options.judge or options.page)
    asked = {"--judge": contest, "--tasks": bool(options.tasks)}
    asked["held-out feedback"] = not contest and bool(options.data or not options.tasks)
    defaults = argparse.ArgumentParser()
    add_arguments(defaults)
    for name in sorted({name for names in _READ_BY.values() for name in names.split()}):
        readers = [reader for reader, names in _READ_BY.items() if name in names.split()]
        if getattr(options, name) != defaults.get_default(name) and not any(asked[reader] for reader in readers):
            raise UsageError(f"--{name.replace('_', '-')} is for {' and '.join(readers)}. Leave it out.")


def _data(options: argparse.Namespace) -> Any:
    return options.data[0] if options.data and len(options.data) == 1 else options.data


def _feedback(options: argparse.Namespace) -> FeedbackResult:
    from prospect.evaluation.held_out.preference import Settings, evaluate_feedback

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
    return evaluate_feedback(
        options.model,
        _data(options),
        options.reference,
        label_map=read_label_map(options.label_map),
        limit=options.limit,
        settings=settings,
    )


def _contest(options: argparse.Namespace, subject: Subject) -> ContestResult:
    from prospect.evaluation.contest.judged import judge_completions
    from prospect.evaluation.contest.judges.names import judge_named

    key, asked = _judge_key(options), {}
    if options.judge.startswith(ENDPOINT):
        service = service_from(options)
        asked = {name: getattr(service, name) for name in ("concurrency", "retries", "timeout")}
        asked |= {"api_key_env": key, "request": _judge_request(options)}
    judge = judge_named(options.judge, rubric=options.rubric, endpoint_settings=asked)
    return judge_completions(
        options.model,
        _data(options),
        judge,
        options.against,
        limit=options.limit,
        label_map=read_label_map(options.label_map),
        how=_judging(options, subject),
        announce=_say,
        watch=Counter,
    )


def _judge_request(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of requests to the judge: its own, or those of the sides."""
    if options.judge_request and options.request and not _endpoint_sides(options):
        raise UsageError("--request: the judge has --judge-request, and no other endpoint is asked. Leave it out.")
    return parse_request(options.judge_request or options.request)


def _endpoint_sides(options: argparse.Namespace) -> list[str]:
    return [name for name in (options.model, options.against) if name and name.startswith(ENDPOINT)]


def _judge_key(options: argparse.Namespace) -> str | None:
    """Which variable holds the judge's key: its own, or that of the sides where they are on its host or on none."""
    key, own = options.api_key_env, options.judge_api_key_env
    sides = _endpoint_sides(options)
    if own:
        if key and not sides:
            raise UsageError(f"--api-key-env {key}: the judge has its own key, and no other endpoint is asked.")
        return None if own == NO_KEY else own
    if not key or not options.judge.startswith(ENDPOINT):
        return None
    judge = origin_of(options.judge.removeprefix(ENDPOINT))
    others = {origin_of(side.removeprefix(ENDPOINT)) for side in sides} - {judge}
    if others:
        raise UsageError(
            f"--api-key-env {key}: the judge is at {judge}, {' and '.join(sorted(others))} is asked too, and a key "
            f"goes to one host only. Name the judge's key with --judge-api-key-env NAME, or {NO_KEY} for none."
        )
    return str(key)


def _write_page(options: argparse.Namespace) -> int:
    from prospect.evaluation.contest.judged import gather_sides, remove_partial
    from prospect.evaluation.contest.judges.human import write_page

    how = _judging(options, None)
    sides = gather_sides(
        options.model,
        _data(options),
        options.against,
        limit=options.limit,
        label_map=read_label_map(options.label_map),
        how=how,
        announce=_say,
        watch=Counter,
    )
    rubric = {"rubric": options.rubric} if options.rubric else {}
    count = write_page(sides.items, options.page, seed=options.seed, **rubric)
    remove_partial(how.keep)
    _say(f"{count} comparisons to vote on: {options.page}")
    return 0


def _judging(options: argparse.Namespace, subject: Subject | None) -> Any:
    from prospect.evaluation.answers.writers import Generation
    from prospect.evaluation.contest.judged import Judging
    from prospect.evaluation.contest.judges.asking import Price

    drawn = (options.max_new_tokens, options.temperature, options.top_p, options.seed)
    keep = options.output.with_suffix("") if options.output else None
    if keep is None and subject is not None and subject.run is not None:
        keep = subject.run.evaluation_path / (options.name or "contest")
        keep.parent.mkdir(exist_ok=True)
    if keep is None and options.page:
        keep = options.page.with_suffix("")
    return Judging(
        generation=Generation(options.samples, *drawn),
        service=service_from(options),
        thoughts=options.thoughts,
        batch_size=options.batch_size,
        both_orders=not options.one_order,
        price=Price.parse(options.price) if options.price else None,
        target=options.target,
        keep=keep,
        seed=options.seed,
        rendering=RenderingOptions(**asked_rendering(options)),
    )


def _benchmarks(options: argparse.Namespace) -> BenchmarksResult:
    from prospect.evaluation.benchmarks.harness import Benchmarking, run_benchmarks

    how = Benchmarking(
        limit=options.limit,
        num_fewshot=options.num_fewshot,
        batch_size=options.batch_size,
        chat_template=options.apply_chat_template,
        allow_code_execution=options.allow_code_execution,
        include=options.include_path,
        seed=options.seed,
        intervals=Intervals(level=options.level),
    )
    tasks = [name for name in options.tasks.split(",") if name]
    return run_benchmarks(options.model, tasks, options.against, how)


def _write(
    options: argparse.Namespace,
    subject: Subject,
    found: Mapping[str, FeedbackResult | ContestResult | BenchmarksResult],
) -> None:
    """Into the file, the run directory, and to stdout; the table goes to people."""
    results = {kind: part.as_dict() for kind, part in found.items()}
    result = next(iter(results.values())) if len(results) == 1 else results
    for part in found.values():
        _say("\n".join(tell(part)))
    if options.output:
        write_json(options.output, result)
        _say(f"result  {options.output}")
    if subject.run is not None:
        for kind, part in found.items():
            name = kind if not options.name else options.name if len(found) == 1 else f"{options.name}-{kind}"
            _say(f"result  {subject.run.write_evaluation(name, part)}")
        from prospect.report.run.build import build_report
        from prospect.report.run.model_card import write_model_card

        _say(f"report  {build_report(subject.run.path)}")
        write_model_card(subject.run.path)
    if options.json:
        print_json(result)


def _say(text: str) -> None:
    say(text)
