"""`prospect demo`: the main job on an embedded example."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from prospect import progress
from prospect.cli.serving import needs_serve
from prospect.cli.train import LOADING, quiet_libraries
from prospect.demo.settings import METHODS, DemoFeedback
from prospect.errors import UsageError
from prospect.outputs import output_folder
from prospect.run_dir import RunDir
from prospect.statistics.rates import Rate, overlap
from prospect.terminal import make_console
from prospect.training.run_lock import require_unheld

if TYPE_CHECKING:
    from prospect.demo.live import LiveOutcome
    from prospect.demo.run import DemoOutcome
    from prospect.results.before_after import BeforeAfterExample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--method", choices=list(METHODS), default="kto", help="what aligns the model (default kto)")
    parser.add_argument(
        "--live",
        action="store_true",
        help="serve the model, let customers chat and vote over HTTP, align it, and promote it by a canary's votes",
    )
    parser.add_argument(
        "--output",
        type=output_folder,
        metavar="DIR",
        help="the run directory (default runs/demo-METHOD or runs/demo-live, replaced)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of customers, thumbs, training and sampling (default 0)")
    parser.add_argument("--noise", type=float, default=0.0, help="share of thumbs that are flipped (default 0)")
    parser.add_argument("--raters", type=int, default=1, help="how many customers give thumbs (default 1)")
    parser.add_argument(
        "--keep-desirable", type=float, default=1.0, help="share of thumbs up that reach the log (default 1)"
    )
    parser.add_argument("--keep-undesirable", type=float, default=1.0, help="the same of thumbs down (default 1)")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object on stdout")


def run(options: argparse.Namespace) -> int:
    """Run the demo and say what came of it."""
    if options.live:
        return _run_live(options)
    folder = _folder(options, options.method)
    with progress.phase(LOADING):
        from prospect.demo.run import run_demo

        quiet_libraries()
    feedback = DemoFeedback(options.noise, options.raters, options.keep_desirable, options.keep_undesirable)
    outcome = run_demo(folder, method=options.method, seed=options.seed, feedback=feedback, quiet=options.quiet)
    console = make_console(stderr=True, quiet=options.quiet)
    if options.json:
        print(json.dumps(outcome.as_dict()))
    show(outcome, console)
    return 0


def _run_live(options: argparse.Namespace) -> int:
    """Run the live demo and say what came of it."""
    for name, usual in (("method", "kto"), ("raters", 1), ("keep_desirable", 1.0), ("keep_undesirable", 1.0)):
        if getattr(options, name) != usual:
            raise UsageError(f"--{name.replace('_', '-')}: the live demo has its own. Leave it out.")
    folder = _folder(options, "live")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds other files. Choose another --output, or remove the folder.")
    with progress.phase(LOADING), needs_serve("prospect demo --live"):
        from prospect.demo.live import run_live

        quiet_libraries()
    logging.getLogger("prospect.collect").setLevel(logging.ERROR)  # what the server has to say, the outcome says
    outcome = run_live(folder, seed=options.seed, noise=options.noise, quiet=options.quiet)
    if options.json:
        print(json.dumps(outcome.as_dict()))
    show_live(outcome, make_console(stderr=True, quiet=options.quiet))
    return 0


def show_live(outcome: LiveOutcome, console: Console) -> None:
    """Print what each step of the loop came to."""
    compared = outcome.compared
    for line in (
        f"collected: {outcome.turns} turns and {outcome.votes} votes; {outcome.lost} acknowledged votes lost",
        f"aligned: {_percent(compared.before)} of replies to {compared.before.n} held-out customers keep all rules "
        f"before, {_percent(compared.after)} after",
        f"{'promoted' if outcome.promoted else 'not promoted'}: {outcome.promotion}",
        f"the worse model was {'rolled back' if outcome.rolled_back else 'not rolled back'}: {outcome.rollback}",
        f"report   {compared.report}   ({outcome.seconds:.0f} s in all)",
    ):
        console.print(line, markup=False, soft_wrap=True)


def show(outcome: DemoOutcome, console: Console) -> None:
    """Print rates with intervals, rule by rule, three replies side by side, and where the report lies."""
    console.print(_rules(outcome))
    n = outcome.before.n
    console.print(
        f"95 % intervals over {n} held-out customers. Against its start the model keeps more rules on", end=" "
    )
    console.print(f"{_percent(outcome.win_rate)} of them, as many counted half.")
    verdict = "do not touch" if not overlap(outcome.before, outcome.after) else "overlap: no clear change"
    console.print(f"The intervals before and after {verdict}.\n")
    for example in outcome.examples:
        console.print(_side_by_side(example))
    console.print(f"report   {outcome.report}   ({outcome.seconds:.0f} s in all)", markup=False, soft_wrap=True)


def _rules(outcome: DemoOutcome) -> Table:
    table = Table(title=f"Replies that keep the rules, before and after {outcome.method}")
    for name, side in (("rule", "left"), ("before", "right"), ("after", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for rule, (before, after) in outcome.rules.items():
        table.add_row(rule, _percent(before), _percent(after))
    table.add_section()
    table.add_row("all rules", _percent(outcome.before), _percent(outcome.after), style="bold")
    return table


def _side_by_side(example: BeforeAfterExample) -> Table:
    table = Table(title=str(example.prompt), title_justify="left", expand=True)
    for side, passes in (("before", example.before_passes), ("after", example.after_passes)):
        table.add_column(f"{side}: {'passes' if passes else 'does not pass'}", ratio=1)
    table.add_row(*(str(text).replace("[", "\\[") for text in (example.before, example.after)))
    return table


def _percent(rate: Rate) -> str:
    return f"{100 * rate.rate:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _folder(options: argparse.Namespace, name: str) -> Path:
    """Return the run directory; replace only the demo's own default folder, never another that holds a run."""
    if options.output is not None:
        run = RunDir(options.output)
        if run.begun():
            raise UsageError(f"{run.path} holds another run. Choose another --output, or remove the folder.")
        run.require_free()
        return run.path
    folder = output_folder(Path("runs") / f"demo-{name}")
    if folder.exists():
        require_unheld(folder)
        shutil.rmtree(folder)
    return folder
