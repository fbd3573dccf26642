"""What tests of rounds share: a small recipe, a judge that logs, and processes that die at a chosen event."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conftest import write_rows
from prospect.results.rounds import Ledger

JUDGE = """
from pathlib import Path

def good(prompt, completion, target=None):
    with (Path(__file__).parent / "asked.log").open("a") as log:
        log.write(f"{prompt}\\t{completion!r}\\n")
    return sum(map(ord, completion)) % 2 == 0
"""


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"number {i} the"} for i in range(count)]


def teacher(count: int) -> list[dict[str, Any]]:
    """A teacher's answer to each of the prompts."""
    return [{"prompt": f"number {i} the", "completion": f" quick fox {i}"} for i in range(count)]


def write_judge(folder: Path, code: str = JUDGE, name: str = "good") -> str:
    """Writes a verifier and returns its name."""
    (folder / "judge.py").write_text(code)
    return f"verifier:python:{folder / 'judge.py'}:{name}"


def small(folder: Path, model: Path, *, teach: bool = False, **rounds: Any) -> dict[str, Any]:
    """A recipe of two rounds that take a second each; `rounds` replaces keys of its section, `a__b` those within."""
    settings: dict[str, Any] = {
        "protocol": "online_kto",
        "count": 2,
        "prompts": str(write_rows(folder / "prompts.jsonl", prompts(18))),
        "samples_per_prompt": 3,
        "temperature": 1.0,
        "max_new_tokens": 6,
        "label": {"judge": write_judge(folder), "cut": "judge"},
        "balance": {"least_rows": 1},
        "evaluate": {"prompts": 6, "kl_prompts": 3},
        "stop": {"no_gain": False, "length": None, "repetition": None},
    }
    if teach:
        settings["teacher"] = str(write_rows(folder / "teacher.jsonl", teacher(18)))
    for key, value in rounds.items():
        outer, _, inner = key.partition("__")
        settings[outer] = {**settings[outer], inner: value} if inner else value
    return {
        "rounds": settings,
        "model": {"name_or_path": str(model)},
        "train": {"batch_size": 8, "learning_rate": 1e-3, "samples": 0, "save_every": None},
        "output": str(folder / "rounds"),
    }


def ledger(values: Mapping[str, Any]) -> Ledger:
    return Ledger.read(Path(values["output"]) / "rounds.json")


def hashes(found: Ledger) -> list[str | None]:
    """The hash of every round's weights, which tells of all before."""
    return [one.trained.weights if one.trained else None for one in found.rounds]


def asked(folder: Path) -> list[str]:
    """What the logging judge was asked."""
    log = folder / "asked.log"
    return log.read_text().splitlines() if log.exists() else []


def die(values: Mapping[str, Any], event: Mapping[str, Any] | int, log: Path) -> int:
    """Makes rounds in a process of their own, which is killed at an event; returns its exit code.

    Args:
        values: the recipe.
        event: the number of a write, rename or kept result; or which call of what, as `STAGES` of the tests name them.
        log: gets a line for each result that is kept.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rounds_runs", "prospect.rounds.run", "prospect.training.train", "transformers"])
    process = context.Process(target=_live, args=(dict(values), event, str(log)))
    process.start()
    process.join()
    return int(process.exitcode or 0)


def _live(values: dict[str, Any], event: Mapping[str, Any] | int, log: str) -> None:
    from prospect.evaluation.answers.keyed_file import KeyedFile
    from prospect.rounds.run import run_rounds

    out = Path(values["output"])
    keep = KeyedFile.put
    count = 0

    def happened() -> None:
        nonlocal count
        count += 1
        if count == event:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self: Any, key: str, value: Any, **more: Any) -> None:
        keep(self, key, value, **more)
        if self.path is not None:
            with Path(log).open("a") as file:
                file.write(json.dumps([str(self.path), key]) + "\n")
            happened()

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        written = name == "os.rename" or (name == "open" and set(str(arguments[1])) & set("wax+"))
        if written and str(arguments[0]).startswith(str(out)):
            happened()

    KeyedFile.put = put  # type: ignore[method-assign]
    if isinstance(event, int):
        sys.addaudithook(hook)
    else:
        _kill_at(**event)
    run_rounds(values, resume=True, quiet=True)
    if count and not isinstance(event, int):
        return
    with Path(f"{log}.count").open("w") as file:
        file.write(str(count))


def _kill_at(of: str, call: int = 1, after: bool = False) -> None:
    """Lets the n-th call of a function or method be the last thing that the process does."""
    import importlib

    module, _, path = of.partition(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def last(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = original(*arguments, **more)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, last)
