"""Benchmarks through lm-evaluation-harness, an optional install: results with intervals, and the change they show.

The harness asks and scores; the model is loaded as everywhere here, and both sides answer the same documents, so the
change is paired document by document wherever a result is a mean over documents.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.evaluation.answers.subject import Subject, find_subject, load_for_generating
from prospect.evaluation.benchmarks.results import Result, read_results, side_by_side
from prospect.results.benchmarks import BenchmarksResult, Harness
from prospect.results.evaluated import Named
from prospect.statistics.estimates import Intervals

EXTRA = "pip install 'prospect-align[eval]'"
# Only metrics that are no mean over documents are bootstrapped by the harness; its default is 100,000 draws.
BOOTSTRAP = 1000
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True)
class Benchmarking:
    """How tasks are run.

    Attributes:
        limit: documents of each task, the first; None for all.
        num_fewshot: examples before each question; None takes each task's own number.
        batch_size: requests at once; changes speed and memory.
        chat_template: whether questions go through the tokenizer's chat template.
        allow_code_execution: whether tasks that run what the model writes may do so, on this machine, as you.
        include: a folder with your own tasks (YAML).
        seed: of the few-shot examples.
        intervals: how they are made.
    """

    limit: int | None = None
    num_fewshot: int | None = None
    batch_size: int = 8
    chat_template: bool = False
    allow_code_execution: bool = False
    include: str | Path | None = None
    seed: int = 0
    intervals: Intervals = field(default_factory=Intervals)


def run_benchmarks(
    model: str | Path, tasks: Sequence[str], against: str | Path | None = None, how: Benchmarking | None = None
) -> BenchmarksResult:
    """Run tasks of lm-evaluation-harness with one model or two.

    The change is paired by document where the result is the mean of a number per document; of others the two standard
    errors are taken for independent. Words about it are corrected by Holm over all results of the call.

    Args:
        model: a run directory, a model's or adapter's folder, or a hub name.
        tasks: names of the harness (`lm_eval ls tasks` lists them), or of `how.include`.
        against: another model for the same tasks.
        how: see `Benchmarking`.

    Returns:
        Every task with its metrics.

    Raises:
        UsageError: the harness is not installed, there is no such task, or one would run code and may not.
        DataError: a task's data cannot be had.
        ModelError: no such model.
    """
    how = how or Benchmarking()
    subjects = [find_subject(name) for name in (model, against) if name is not None]
    for subject in subjects:
        if subject.kind in ("endpoint", "completions"):
            raise UsageError(f"{subject.name}: benchmarks need a model that is loaded, not a server or a file.")
    manager = _open_harness(tasks, how)
    _check_tasks(manager, tasks, how)
    with _code_execution(how.allow_code_execution):
        found = [_run(manager, tasks, subject, how) for subject in subjects]
    return BenchmarksResult(
        model=Named(name=str(model), kind=subjects[0].kind),
        reference=Named(name=str(against), kind=subjects[1].kind) if against is not None else None,
        harness=Harness(name="lm-evaluation-harness", version=_version()),
        limit=how.limit,
        chat_template=how.chat_template,
        level=how.intervals.level,
        tasks=side_by_side(found[0][0], [results for _, results in found], how.intervals),
    )


def _open_harness(tasks: Sequence[str], how: Benchmarking) -> Any:
    """Load the list of tasks, without their data."""
    try:
        manager = importlib.import_module("lm_eval.tasks").TaskManager
    except ImportError as error:
        raise UsageError(f"--tasks needs lm-evaluation-harness ({error}). Install it: {EXTRA}") from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if how.include is None:
        return manager()
    if not Path(how.include).is_dir():
        raise UsageError(f"{how.include}: there is no such folder of tasks.")
    own = manager(include_path=str(how.include), include_defaults=False)
    # Reading the harness's own 14,000 tasks takes ten seconds.
    return own if set(tasks) <= set(own.all_tasks) else manager(include_path=str(how.include))


def _check_tasks(manager: Any, tasks: Sequence[str], how: Benchmarking) -> None:
    """Refuse before anything is downloaded."""
    if not tasks:
        raise UsageError("no task is named. Name some: --tasks gsm8k,mmlu")
    for name in tasks:
        entry = manager.task_index.get(name)
        if entry is None:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else " `lm_eval ls tasks` lists those there are."
            raise UsageError(f"--tasks {name}: lm-evaluation-harness has no such task.{hint}")
        if (entry.cfg or {}).get("unsafe_code") and not how.allow_code_execution:
            raise _runs_code(name)


def _runs_code(name: str) -> UsageError:
    return UsageError(
        f"--tasks {name}: it runs the programs that the model writes, on this machine and with your rights. In a "
        "container without network and secrets, add --allow-code-execution."
    )


@contextmanager
def _code_execution(allowed: bool) -> Iterator[None]:
    """Answer the metric that runs code: yes or no, whatever the environment says."""
    before = os.environ.get("HF_ALLOW_CODE_EVAL")
    os.environ["HF_ALLOW_CODE_EVAL"] = "1" if allowed else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_ALLOW_CODE_EVAL"]
        else:
            os.environ["HF_ALLOW_CODE_EVAL"] = before


def _run(
    manager: Any, tasks: Sequence[str], subject: Subject, how: Benchmarking
) -> tuple[dict[str, Any], dict[tuple[str, str], Result]]:
    """Return the harness's own results for one model, and ours made of them."""
    loaded = _load_tasks(manager, tasks, how)
    model, tokenizer = load_for_generating(subject, "fp32")
    wrapped = importlib.import_module("lm_eval.models.huggingface").HFLM(
        pretrained=model, tokenizer=tokenizer, batch_size=how.batch_size
    )
    raw = importlib.import_module("lm_eval.evaluator").evaluate(
        lm=wrapped,
        task_dict=loaded,
        limit=how.limit,
        bootstrap_iters=BOOTSTRAP,
        log_samples=True,
        apply_chat_template=how.chat_template,
        fewshot_as_multiturn=how.chat_template,
        confirm_run_unsafe_code=how.allow_code_execution,
    )
    return raw, read_results(raw)


def _load_tasks(manager: Any, tasks: Sequence[str], how: Benchmarking) -> dict[str, Any]:
    """Load tasks with their data, and set what the harness's own entry point would set."""
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for name in tasks:
        try:
            found = manager.load([name])
        except Exception as error:  # foreign code: datasets, networks, the tasks' own Python
            offline = next((variable for variable in _OFFLINE if os.environ.get(variable, "0") not in ("", "0")), None)
            hint = f"{offline} is set, so nothing is downloaded" if offline else "is there a network?"
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(
                f"task {name}: it cannot be loaded ({said}). Its data are downloaded once and kept: {hint}"
            ) from error
        for part, inside in loaded.items():
            inside.update(found.get(part) or {})
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False) and not how.allow_code_execution:
            raise _runs_code(name)
        fixed = task.get_config("num_fewshot")
        if fixed is None or (how.num_fewshot is not None and fixed != 0):  # a task that says 0 means it
            task.set_config(key="num_fewshot", value=how.num_fewshot or 0)
        task.set_fewshot_seed(seed=how.seed)
    return loaded


def _version() -> str:
    return importlib.metadata.version("lm_eval")
