"""Methods compared over data conditions and seeds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect.outputs import output_folder
from prospect.verbs.arguments import Place

if TYPE_CHECKING:
    from prospect.results.study import StudyResult


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
