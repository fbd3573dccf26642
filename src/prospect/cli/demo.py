"""`prospect demo`: the main job on an embedded example."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Mapping
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
from prospect.progress.timing import IMPORTS
from prospect.run_dir import RunDir
from prospect.statistics.rates import Rate, overlap
from prospect.terminal import make_console
from prospect.training.run_lock import require_unheld

if TYPE_CHECKING:
    from prospect.demo.live import LiveOutcome
    from prospect.demo.outcome import Outcome
    from prospect.demo.run import DemoOutcome
    from prospect.results.before_after import BeforeAfterExample

_CUSTOMERS = {"raters": 1, "keep_desirable": 1.0, "keep_undesirable": 1.0}
"""Settings of the support desk's customers, with what they are where they are left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--method", choices=list(METHODS), default="kto", help="what aligns the model (default kto)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--live",
        action="store_true",
        help="serve the model, let customers chat and vote over HTTP, align it, and promote it by a canary's votes",
    )
    kind.add_argument(
        "--images",
        action="store_true",
        help="pictures in place of texts: a small diffusion model that draws shapes in corners (pip install "
        "'prospect-align[diffusion]')",
    )
    parser.add_argument(
        "--output",
        type=output_folder,
        metavar="DIR",
        help="the run directory (default runs/demo-METHOD, runs/demo-images-METHOD or runs/demo-live, replaced)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of customers, thumbs, training and sampling (default 0)")
    parser.add_argument("--noise", type=float, default=0.0, help="share of thumbs that are flipped (default 0)")
    parser.add_argument("--raters", type=int, default=1, help="how many customers give thumbs (default 1)")
    parser.add_argument(
        "--keep-desirable", type=float, default=1.0, help="share of thumbs up that reach the log (default 1)"
    )
    parser.add_argument("--keep-undesirable", type=float, default=1.0, help="the same of thumbs down (default 1)")
    parser.add_argument("--timing", action="store_true", help="say at the end, on stderr, where the time went")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object on stdout")


def run(options: argparse.Namespace) -> int:
    """Run the demo and say what came of it."""
    if options.live:
        return _run_live(options)
    if options.images:
        return _run_images(options)
    folder = _folder(options, options.method)
    with progress.phase(LOADING, part=IMPORTS):
        from prospect.demo.run import run_demo

        quiet_libraries()
    feedback = DemoFeedback(options.noise, options.raters, options.keep_desirable, options.keep_undesirable)
    outcome = run_demo(folder, method=options.method, seed=options.seed, feedback=feedback, quiet=options.quiet)
    console = make_console(stderr=True, quiet=options.quiet)
    if options.json:
        print(json.dumps(outcome.as_dict()))
    show(outcome, console)
    return 0


def _run_images(options: argparse.Namespace) -> int:
    """Run the demo on pictures and say what came of it."""
    _refuse(options, _CUSTOMERS, "the demo with images does without")
    folder = _folder(options, f"images-{options.method}")
    with progress.phase(LOADING, part=IMPORTS):
        from prospect.demo.image_run import run_image_demo

        quiet_libraries()
    outcome = run_image_demo(folder, method=options.method, seed=options.seed, noise=options.noise, quiet=options.quiet)
    if options.json:
        print(json.dumps(outcome.as_dict()))
    show_images(outcome, make_console(stderr=True, quiet=options.quiet))
    return 0


def show_images(outcome: Outcome, console: Console) -> None:
    """Print rates with intervals, rule by rule, and where the report lies."""
    console.print(_rules(outcome, "Pictures"))
    console.print(f"95 % intervals over {outcome.before.n} pictures, by draws of held-out prompts.", end=" ")
    console.print(f"The intervals before and after {_verdict(outcome)}.\n")
    console.print(f"report   {outcome.report}   ({outcome.seconds:.0f} s in all)", markup=False, soft_wrap=True)


def _refuse(options: argparse.Namespace, usual: Mapping[str, object], why: str) -> None:
    for name, value in usual.items():
        if getattr(options, name) != value:
            raise UsageError(f"--{name.replace('_', '-')}: {why}. Leave it out.")


def _run_live(options: argparse.Namespace) -> int:
    """Run the live demo and say what came of it."""
    _refuse(options, {"method": "kto", **_CUSTOMERS}, "the live demo has its own")
    folder = _folder(options, "live")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds other files. Choose another --output, or remove the folder.")
    with progress.phase(LOADING, part=IMPORTS), needs_serve("prospect demo --live"):
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
    console.print(_rules(outcome, "Replies"))
    n = outcome.before.n
    console.print(
        f"95 % intervals over {n} held-out customers. Against its start the model keeps more rules on", end=" "
    )
    console.print(f"{_percent(outcome.win_rate)} of them, as many counted half.")
    console.print(f"The intervals before and after {_verdict(outcome)}.\n")
    for example in outcome.examples:
        console.print(_side_by_side(example))
    console.print(f"report   {outcome.report}   ({outcome.seconds:.0f} s in all)", markup=False, soft_wrap=True)


def _verdict(outcome: Outcome) -> str:
    return "overlap: no clear change" if overlap(outcome.before, outcome.after) else "do not touch"


def _rules(outcome: Outcome, what: str) -> Table:
    table = Table(title=f"{what} that keep the rules, before and after {outcome.method}")
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
