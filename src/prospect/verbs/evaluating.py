"""A model against held-out feedback or before a judge; what comes of it lies in the run's directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prospect.outputs import output_folder
from prospect.verbs.arguments import LabelMap, Place, Places, judge_of, places_of

if TYPE_CHECKING:
    from prospect.evaluation.answers.answers import Thoughts
    from prospect.evaluation.answers.subject import Subject
    from prospect.evaluation.contest.judges.base import Judge
    from prospect.results.benchmarks import BenchmarksResult
    from prospect.results.contest import ContestResult, JudgeResult
    from prospect.results.feedback import FeedbackResult


def evaluate(
    model: Place,
    data: Places | None = None,
    *,
    reference: Place | None = None,
    limit: int | None = None,
    level: float = 0.95,
    label_map: LabelMap | None = None,
    beta: float | None = None,
    kl_prompts: int = 64,
    kl_tokens: int = 128,
    max_length: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    name: str = "feedback",
) -> FeedbackResult:
    """Score a model on held-out feedback, every number with its interval (`prospect evaluate`).

    Args:
        model: a run directory, a model's or adapter's folder, a .gguf file, or a hub name.
        data: held-out feedback; None takes what the run held out.
        reference: of log-ratios; None takes the run's own, "none" takes none.
        limit: look at this many rows at most, the first.
        level: coverage of the intervals.
        label_map: label -> desirable.
        beta: scale of implied rewards; None takes the run's, else 0.1.
        kl_prompts: prompts sampled for KL, 0 for none.
        kl_tokens: where such a sample is cut.
        max_length: tokens of a row; None takes the run's.
        seed: of the samples and the intervals' draws.
        batch_size: speed and memory, never the result.
        name: of the file in `evaluation/`, where the model is a run; its report is then written again.

    Raises:
        ProspectError: as `prospect.evaluation.held_out.preference.evaluate_feedback`.
    """
    from prospect.evaluation.answers.subject import find_subject
    from prospect.evaluation.held_out.preference import Settings, evaluate_feedback
    from prospect.statistics.estimates import Intervals

    settings = Settings(
        beta=beta,
        kl_prompts=kl_prompts,
        kl_tokens=kl_tokens,
        max_length=max_length,
        batch_size=batch_size,
        seed=seed,
        intervals=Intervals(level=level),
    )
    result = evaluate_feedback(
        os.fspath(model),
        places_of(data),
        None if reference is None else os.fspath(reference),
        label_map=label_map,
        limit=limit,
        settings=settings,
    )
    keep_result(find_subject(os.fspath(model), images=True), name, result)
    return result


def contest(
    model: Place,
    against: Place | None = None,
    *,
    judge: str | Judge,
    data: Places | None = None,
    limit: int | None = None,
    samples: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
    both_orders: bool = True,
    median: bool = False,
    rubric: str | None = None,
    target: str = "target",
    label_map: LabelMap | None = None,
    thoughts: Thoughts = "strip",
    batch_size: int = 64,
    name: str = "contest",
) -> ContestResult:
    """Let two sides answer the same prompts before a judge (`prospect contest`).

    Args:
        model: a run directory, a model, endpoint:URL#NAME, or a file of completions.
        against: the other side, likewise; None takes what people liked in the data.
        judge: its name, as on the command line, or the judge itself.
        data: prompts or feedback; None takes what the run held out.
        limit: take this many prompts at most, the first.
        samples: completions of each prompt.
        max_new_tokens: where a completion is cut.
        temperature: 0 is greedy.
        top_p: sample among the tokens that hold this share.
        seed: another seed, other completions.
        both_orders: ask the judge with each completion first.
        median: of several completions of a prompt, let only those of median score meet.
        rubric: the question, for judges that can be asked one.
        target: the column with the right answers, for verifiers.
        label_map: label -> desirable.
        thoughts: strip or keep what a model thought before its answer.
        batch_size: speed and memory, never the result.
        name: of the files in `evaluation/`, where the model is a run; its report is then written again.

    Raises:
        ProspectError: as `prospect.evaluation.contest.judged.judge_completions`.
    """
    from prospect.evaluation.answers.subject import find_subject
    from prospect.evaluation.answers.writers import Generation
    from prospect.evaluation.contest.judged import judge_completions
    from prospect.evaluation.contest.sides import Judging

    subject, keep = find_subject(os.fspath(model), images=True), None
    if subject.run is not None:
        output_folder(subject.run.evaluation_path).mkdir(exist_ok=True)
        keep = subject.run.evaluation_path / name
    result = judge_completions(
        os.fspath(model),
        places_of(data),
        judge_of(judge, rubric),
        None if against is None else os.fspath(against),
        limit=limit,
        label_map=label_map,
        how=Judging(
            generation=Generation(samples, max_new_tokens, temperature, top_p, seed),
            thoughts=thoughts,
            batch_size=batch_size,
            both_orders=both_orders,
            median=median,
            target=target,
            keep=keep,
            seed=seed,
        ),
    )
    keep_result(subject, name, result)
    return result


def keep_result(
    subject: Subject, name: str, result: FeedbackResult | ContestResult | JudgeResult | BenchmarksResult
) -> tuple[Path, Path] | None:
    """Write a result into its run directory, and the run's report and model card again.

    Returns:
        The result's file and the report; None where the subject is no run.
    """
    if subject.run is None:
        return None
    from prospect.report.run.build import build_report
    from prospect.report.run.model_card import write_model_card

    kept = subject.run.write_evaluation(name, result), build_report(subject.run.path)
    write_model_card(subject.run.path)
    return kept
