"""The two canaries of `prospect demo --live`: one that people like better, and one that is worse on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from prospect import progress
from prospect.collect.migrating import opened
from prospect.collect.promotion import Promotion, line
from prospect.collect.registry import Move, Registry
from prospect.collect.trial import look
from prospect.demo.base import BASE
from prospect.demo.live_customers import Acknowledged, customers_of, visit
from prospect.demo.live_server import BETWEEN_LOOKS, Desk
from prospect.demo.world import training_prompts
from prospect.errors import PromotionError
from prospect.run_dir import RunDir

SHARE = 0.5  # of the conversations: fewer would need more customers
WAVE = 40  # customers between two looks
MOST_WAVES = 10
_PATIENCE = 30.0  # seconds for the server's next looks, after the last customer
_NO_BENCHMARKS = "a demo has no benchmarks"
_ALL = ["contest", "thumbs", "benchmarks", "alarms"]


class Canaries:
    """Lets models be tried by further customers.

    Attributes:
        acknowledged: the votes that the server said it has kept.
    """

    def __init__(self, desk: Desk, seed: int, noise: float) -> None:
        self.acknowledged: list[Acknowledged] = []
        self._desk, self._seed, self._noise = desk, seed, noise
        self._registry = Registry(desk.registry)
        self._models: dict[str, Path] = {}

    def begin(self) -> None:
        """Make the base model the current one."""
        Promotion(self._registry, str(BASE), "base", reason="what is in use").make_current(None)
        self._models["base"] = BASE

    def promote(self, run: RunDir) -> tuple[bool, str]:
        """Try a run beside the current model, and make it current if its canary allows it; return that, and why."""
        promotion = self._proposal(run, "kto", _NO_BENCHMARKS, ["benchmarks"])
        try:
            for check in promotion.start_canary(SHARE):
                progress.note(line(check))
        except PromotionError as error:
            return False, str(error)
        self._serve("kto", run, lambda: self._verdict() in ("equal", "better", "worse"))
        entry = self._registry.read().latest("kto")
        if entry is not None and entry.state == "retired":
            return False, entry.reason
        try:
            with opened(str(self._desk.store)) as database:
                checks = promotion.make_current(database)
        except PromotionError as error:
            self._registry.end_canary("kto", Move("its votes did not show enough"))
            return False, str(error)
        return True, "; ".join(check.found for check in checks)

    def try_worse(self, run: RunDir) -> tuple[bool, str]:
        """Try a run that the checks refuse; return whether the server ended it, and why."""
        try:
            self._proposal(run, "worse", _NO_BENCHMARKS, ["benchmarks"]).propose()
        except PromotionError as error:
            progress.note(f"{error}\nA person insists, to show what the votes do.")
        self._proposal(run, "worse", "to show a rollback", _ALL).start_canary(SHARE)
        self._serve("worse", run, lambda: self._registry.read().canary is None, patience=_PATIENCE)
        entry = self._registry.read().latest("worse")
        assert entry is not None, "it was a canary"
        return entry.state == "retired", entry.reason

    def _proposal(self, run: RunDir, name: str, reason: str, waive: list[str]) -> Promotion:
        return Promotion(self._registry, str(run.path), name, reason=reason, waive=waive)

    def _serve(self, name: str, run: RunDir, over: Callable[[], bool], patience: float = 0.0) -> None:
        """Let customers come, wave by wave, until it is over or they are all there."""
        self._models[name] = run.model_path
        inquiries = training_prompts(WAVE * MOST_WAVES, self._seed + len(self._models))
        people = customers_of(inquiries, f"{name}-visitor", 1, self._noise)
        with progress.phase(f"customers meet {name} and the current model"), self._desk.open(self._models) as url:
            for start in range(0, len(people), WAVE):
                self.acknowledged += visit(url, people[start : start + WAVE], self._seed)
                if over():
                    return
            deadline = time.monotonic() + patience
            while not over() and time.monotonic() < deadline:
                time.sleep(BETWEEN_LOOKS)

    def _verdict(self) -> str:
        models = self._registry.read()
        if models.canary is None:  # the server has ended it
            return "worse"
        with opened(str(self._desk.store)) as database:
            return look(database, models).verdict
