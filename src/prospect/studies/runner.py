"""Runs a study: one process or several, and only what is not there yet.

A run's outcome is written last and whole, so a study that was stopped goes on where it stood: what is finished is not
run again, and a run that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import yaml

from prospect import progress
from prospect.atomic import write_text
from prospect.errors import ProspectError, RunStopped, TrainingError
from prospect.feedback.files.write import write_jsonl
from prospect.outputs import output_folder
from prospect.results.study import CellFailure, CellOutcome, StartOutcome
from prospect.studies.conditions import apply_condition, count
from prospect.studies.contents import with_contents
from prospect.studies.outcome import Outcome, World, make_world
from prospect.studies.plan import Cell, with_starts
from prospect.studies.study import Study, hash_of
from prospect.studies.trained import read_training

Say = Callable[[str], None]


def run_study(
    study: Study,
    cells: Sequence[Cell],
    output: Path,
    *,
    jobs: int = 1,
    say: Say = lambda text: None,
    each_process: Callable[[], None] | None = None,
) -> None:
    """Run the cells that are not finished; a run that cannot be made is written down, and the others go on.

    Args:
        study: the study.
        cells: which of its runs; those that they start from are run too.
        output: the study's folder.
        jobs: processes, each with one thread. It changes the time, never a number.
        say: told of every run that is done.
        each_process: called at the start of each process; it must be a function of a module.

    Raises:
        UsageError: the folder holds runs of other settings.
        OutputError: it is no folder, or nothing can be written there.
        ProspectError: what the runs share cannot be made.
        TrainingError: a process was killed.
    """
    for cell in cells:
        cell.read()
    todo = [cell for cell in with_starts(cells) if not cell.finished]
    output_folder(output).mkdir(parents=True, exist_ok=True)
    plain = study.model_dump(mode="json", exclude_unset=True)
    write_text(output / "study.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    if not todo:
        return
    shared = {cell.shared: cell.seed for cell in todo}
    tell = _Progress(len(todo), say)
    with _workers(min(jobs, len(todo)), each_process) as submit:
        ready = [submit(prepare, study.world, folder, seed) for folder, seed in shared.items()]
        for future in ready:
            future.result()
        _run_in_order(todo, study.world, submit, tell)


def prepare(settings: Mapping[str, Any], folder: Path, seed: int) -> None:
    """Make what all runs of a seed share, and scores the start.

    Raises:
        UsageError: the folder was made with another world.
    """
    path, digest = folder / "start.json", hash_of([with_contents(settings), seed])
    if path.exists():
        if StartOutcome.read(path).digest == digest:
            return
        shutil.rmtree(folder)  # of no use to any run: each that is there was checked to have the same world
    folder.mkdir(parents=True, exist_ok=True)
    world = make_world(settings)
    with one_thread():
        world.prepare(folder, seed)
        outcome = world.score(None, folder, seed)
    StartOutcome(digest=digest, **(outcome or Outcome({})).stored()).write(path)


def run_cell(settings: Mapping[str, Any], cell: Cell) -> CellOutcome | CellFailure:
    """Train and score one run; return its outcome, or why it could not be made."""
    begun = time.monotonic()
    cell.folder.mkdir(parents=True, exist_ok=True)
    world = make_world(settings)
    try:
        with one_thread():
            found = _train_and_score(world, cell, begun)
    except RunStopped as stop:  # a study needs no --resume
        raise RunStopped(f"stopped in {cell}. The same command goes on where it stood.", stop.signal) from None
    except ProspectError as error:
        failure = cell.failure(f"{type(error).__name__}: {error}")
        failure.write(cell.failure_path)
        return failure
    found.write(cell.outcome_path)
    cell.failure_path.unlink(missing_ok=True)
    if not cell.keeps_model:
        for folder in (cell.model_path, cell.run_path / "checkpoints"):
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _train_and_score(world: World, cell: Cell, begun: float) -> CellOutcome:
    from prospect.losses import get_loss
    from prospect.run_dir import RunDir
    from prospect.training.train import train

    before = RunDir(cell.run_path)
    if before.provenance().finished and not cell.model_path.exists():
        shutil.rmtree(cell.run_path)  # its model was removed after scoring, and now another run starts from it
    rows = apply_condition(world.feedback(cell.shared, cell.seed, cell.settings), cell.settings, cell.seed)
    counts = count(rows, get_loss(cell.recipe["loss"]["name"]).file_kind)
    write_jsonl(rows, cell.folder / "data.jsonl")
    run = train(cell.recipe, resume=before.exists(), quiet=True)
    outcome = world.score(run.model_path, cell.shared, cell.seed)
    assert outcome is not None, "only the start may have no score"
    return CellOutcome(
        digest=cell.digest,
        method=cell.method,
        condition=cell.condition,
        seed=cell.seed,
        data=counts,
        seconds=round(time.monotonic() - begun, 2),
        **read_training(run.metrics()),
        **outcome.stored(),
    )


def _run_in_order(
    cells: Sequence[Cell], settings: Mapping[str, Any], submit: Callable[..., Future[Any]], tell: _Progress
) -> None:
    """Start each run as soon as the one it begins from is there."""
    waiting, running = list(cells), dict[Future[Any], Cell]()
    failed: set[tuple[str, str, int]] = set()
    while waiting or running:
        for cell in list(waiting):
            before = cell.after
            if before is not None and _key(before) in failed:
                waiting.remove(cell)
                failed.add(_key(cell))
                failure = cell.failure(f"it starts from {before}, which failed")
                cell.folder.mkdir(parents=True, exist_ok=True)
                failure.write(cell.failure_path)
                tell.done(cell, failure)
            elif before is None or before.finished:
                waiting.remove(cell)
                future = submit(run_cell, settings, cell)
                running[future] = cell
                if future.done():  # with one job: tell of it before the next one begins
                    break
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            cell = running.pop(future)
            found = _result(future, cell)
            if isinstance(found, CellFailure):
                failed.add(_key(cell))
            tell.done(cell, found)


def _key(cell: Cell) -> tuple[str, str, int]:
    return cell.method, cell.condition, cell.seed


def _result(future: Future[Any], cell: Cell) -> CellOutcome | CellFailure:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            f"{cell}: its process was ended from outside, most likely for want of memory. Run the command again with "
            "fewer --jobs; what is finished is not run again."
        ) from error


@contextmanager
def _workers(jobs: int, each_process: Callable[[], None] | None) -> Iterator[Callable[..., Future[Any]]]:
    """Give what starts a function in one of the processes; with one job it is this one."""
    # Read by the children's libraries as they start, and by `train`, which else gives torch all cores.
    with _environment(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"):
        if jobs == 1:
            if each_process is not None:
                each_process()
            yield _now
            return
        # spawn: a fork of a process in which torch has run may hang.
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=(each_process,))
        try:
            yield pool.submit
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


def _begin(each_process: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if each_process is not None:
        each_process()


def _end_with_parent() -> None:
    """End this process where the study's own was killed, and could not say so: nobody would stop the run otherwise."""
    parent = parent_process()
    assert parent is not None, "a process that was started for a study"
    parent.join()
    os._exit(1)


def _now(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    future: Future[Any] = Future()
    with progress.Display():  # a run keeps quiet here too, as it does in a process of its own
        future.set_result(function(*arguments))
    return future


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: sums have one order, whatever the number of jobs, so that numbers do not depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for processes that are started within."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Progress:
    """Say what is done, what it showed, and how long the rest will take."""

    def __init__(self, total: int, say: Say) -> None:
        self.total, self.say = total, say
        self.count, self.begun = 0, time.monotonic()
        progress.count(0, total, "runs")

    def done(self, cell: Cell, found: CellOutcome | CellFailure) -> None:
        self.count += 1
        progress.count(self.count, self.total, "runs")
        if isinstance(found, CellFailure):
            text = f"failed: {found.error}"
        else:
            name, values = next(iter(found.scores.items()))
            text = f"{name} {sum(values) / len(values):.3f}, {found.seconds:.0f} s"
        left = (time.monotonic() - self.begun) / self.count * (self.total - self.count)
        rest = f" (about {left / 60:.0f} min left)" if left > 90 else ""
        self.say(f"[{self.count}/{self.total}] {cell}: {text}{rest}")
