"""The commands as functions: the same arguments and defaults, typed results in place of what is printed.

They write what the commands write, and print nothing. What has no argument here (servers, rendering) is an argument of
the function that each one calls, which is named in its text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prospect.outputs import output_file, output_folder

if TYPE_CHECKING:
    from prospect.evaluation.answers.answers import Counts, Thoughts
    from prospect.evaluation.answers.subject import Subject
    from prospect.evaluation.contest.judges.base import Judge
    from prospect.feedback.doctor.inspect import Inspection
    from prospect.results.benchmarks import BenchmarksResult
    from prospect.results.contest import ContestResult, JudgeResult
    from prospect.results.feedback import FeedbackResult
    from prospect.results.model_check import ModelCheck
    from prospect.results.study import StudyResult
    from prospect.rounds.label_file import Cut, Labelled

Place = str | os.PathLike[str]
"""A path, a run directory, or a name."""
Places = Place | Sequence[Place]
LabelMap = Mapping[Any, bool]


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
        _places(data),
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
        _places(data),
        _judge(judge, rubric),
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


def generate(
    model: Place,
    prompts: Place,
    output: Place,
    *,
    samples: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
    thoughts: Thoughts = "strip",
    batch_size: int = 64,
) -> Counts:
    """Let a model answer prompts, as rows of `prompt, completion, finished` (`prospect generate`).

    Args:
        model: a run directory, a model's or adapter's folder, a .gguf file, a hub name, or endpoint:URL#NAME.
        prompts: a file of rows with a prompt.
        output: a .jsonl file; it appears whole or not at all.
        samples: completions of each prompt.
        max_new_tokens: where a completion is cut.
        temperature: 0 is greedy.
        top_p: sample among the tokens that hold this share.
        seed: another seed, other completions.
        thoughts: strip or keep what a model thought before its answer.
        batch_size: speed and memory, never the result.

    Raises:
        ProspectError: as `prospect.evaluation.answers.generate.generate_file`.
    """
    from prospect.evaluation.answers.generate import generate_file

    return generate_file(
        os.fspath(model),
        os.fspath(prompts),
        output_file(os.fspath(output)),
        samples_per_prompt=samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        thoughts=thoughts,
        batch_size=batch_size,
    )


def label(
    files: Places,
    output: Place,
    *,
    judge: str | Judge,
    threshold: str | None = None,
    cut: Cut = "judge",
    rubric: str | None = None,
    target: str = "target",
    label_map: LabelMap | None = None,
) -> Labelled:
    """Let a judge give a thumb to each completion of a file (`prospect label`).

    Args:
        files: rows of prompt and completion, or feedback of any kind.
        output: a .jsonl file of thumbs; it appears whole or not at all.
        judge: its name, as on the command line, or the judge itself; one that scores.
        threshold: from which score on a completion is good: equal, a number, median or prompt_median.
        cut: what becomes of a completion that the limit of tokens cut: judge, undesirable or drop.
        rubric: the question, for judges that can be asked one.
        target: the column with the right answers, for verifiers.
        label_map: label -> desirable.

    Raises:
        ProspectError: as `prospect.rounds.label_file.label_file`.
    """
    from prospect.rounds.label_file import Labelling, label_file
    from prospect.rounds.labels import Threshold

    how = Labelling(threshold=Threshold.parse(threshold) if threshold else None, cut=cut, target=target)
    place = output_file(os.fspath(output))
    found = _places(files)
    assert found is not None, "there are files"
    return label_file(found, _judge(judge, rubric), place, how=how, label_map=label_map)


def inspect(
    files: Places,
    *,
    model: Place | None = None,
    eval_files: Places | None = None,
    max_length: int | None = None,
    label_map: LabelMap | None = None,
) -> Inspection:
    """Say what is in feedback files, what is wrong with them and which method suits them (`prospect data inspect`).

    Args:
        files: paths, globs, folders of images or a hub dataset.
        model: lengths in its tokens, and whether its chat template fits.
        eval_files: files to evaluate on; their prompts should not be in the others.
        max_length: tokens of prompt and completion; None: the model's context, at most 2048.
        label_map: label -> desirable.

    Raises:
        ProspectError: as `prospect.feedback.doctor.inspect.inspect_feedback`.
    """
    from prospect.feedback.doctor.inspect import inspect_feedback

    counter = None
    if model is not None:
        from prospect.config import ModelSettings
        from prospect.data.token_counter import TokenCounter
        from prospect.feedback.chat.rendering import Rendering
        from prospect.models.loading import load_tokenizer

        counter = TokenCounter(load_tokenizer(ModelSettings(name_or_path=os.fspath(model))), Rendering())
    found = _places(files)
    assert found is not None, "there are files"
    return inspect_feedback(
        found,
        label_map=label_map,
        model=None if model is None else os.fspath(model),
        counter=counter,
        eval_files=_places(eval_files),
        max_length=max_length,
    )


def merge(model: Place, output: Place, *, dtype: Literal["float32", "bfloat16", "float16"] = "float32") -> Path:
    """Fold an adapter into its base, or dequantise GGUF: a plain model folder (`prospect merge`).

    Args:
        model: a run directory, an adapter's folder or hub name, or a .gguf file.
        output: a new folder.
        dtype: of the merged weights.

    Returns:
        The folder.

    Raises:
        ModelError: there is nothing to merge, the folder is occupied, or the parts do not fit.
    """
    from prospect.evaluation.answers.subject import find_subject
    from prospect.models.merging import write_merged

    place = output_folder(os.fspath(output)).expanduser()
    write_merged(find_subject(os.fspath(model)).settings.model_copy(update={"dtype": dtype}), place)
    return place


def check_model(
    model: Place, run: Place | None = None, data: Places | None = None, *, max_new_tokens: int = 256
) -> ModelCheck:
    """Try a model's folder as a server would load it, and compare with the run that made it (`prospect check-model`).

    Args:
        model: a run directory, a merged model's folder, or an adapter's.
        run: the run that made it; the folder's own where it lies in one.
        data: feedback whose first three rows are tried; the run's own by default.
        max_new_tokens: where an answer is cut.

    Raises:
        ProspectError: as `prospect.evaluation.handover.check.check_model`.
    """
    from prospect.evaluation.handover.check import check_model as check

    return check(os.fspath(model), None if run is None else os.fspath(run), _places(data), max_new_tokens)


def compare(
    study: Place,
    output: Place | None = None,
    *,
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    say: Callable[[str], None] = lambda text: None,
    each_process: Callable[[], None] | None = None,
) -> StudyResult:
    """Run methods, data conditions and seeds, and compare them with intervals (`prospect compare`).

    Args:
        study: a YAML file.
        output: where runs, `result.json`, `table.md` and `comparison.html` lie; None takes runs/NAME. What is finished
            there is not run again.
        only: these methods or conditions.
        overrides: `key.path=value` strings that win over the study.
        jobs: processes, of one thread each; None takes as many as there are cores. Processes are spawned, so a script
            that asks for more than one must be importable (`if __name__ == "__main__":`).
        say: told of every run that is done.
        each_process: called at the start of each process; it must be a function of a module.

    Raises:
        ProspectError: as `prospect.studies.runner.run_study`.
    """
    from prospect.atomic import write_text
    from prospect.report.comparison.page import write_comparison_page
    from prospect.studies.markdown import as_markdown
    from prospect.studies.outcome import make_world
    from prospect.studies.plan import choose, make_cells
    from prospect.studies.reading import load_study
    from prospect.studies.runner import run_study
    from prospect.studies.table import check_measures, make_result
    from prospect.studies.tuning import tune
    from prospect.training.processes.world import allotted_cores

    path = os.fspath(study)
    plan = load_study(path, overrides)
    folder = output_folder(Path("runs") / plan.name if output is None else os.fspath(output))
    world = make_world(plan.world)
    check_measures(plan, world)  # refuses here, and not after an hour, a rule that cannot be decided
    choose(plan, make_cells(plan, world, folder), only)
    protocol, tuning = plan.protocol(), None
    options: dict[str, Any] = {
        "jobs": jobs or allotted_cores(Path("/sys/fs/cgroup")),
        "say": say,
        "each_process": each_process,
    }
    if plan.tune is not None:
        plan, tuning = tune(plan, folder, **options)
    cells = make_cells(plan, world, folder)
    run_study(plan, choose(plan, cells, only), folder, **options)
    result = make_result(plan, world, cells, path, protocol=protocol, tuning=tuning)
    result.write(folder / "result.json")
    write_text(folder / "table.md", as_markdown(result))
    write_comparison_page(result, folder / "comparison.html")
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


def _places(places: Places | None) -> Any:
    """Return places as the library takes them: one by its name, several as a list."""
    if places is None:
        return None
    return os.fspath(places) if isinstance(places, str | os.PathLike) else [os.fspath(place) for place in places]


def _judge(judge: str | Judge, rubric: str | None) -> Judge:
    if not isinstance(judge, str):
        return judge
    from prospect.evaluation.contest.judges.names import judge_named

    return judge_named(judge, rubric=rubric)
