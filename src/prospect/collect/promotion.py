"""The steps of a run to the model that answers: what is checked before each, and what a person may waive.

    propose         what the run shows offline          -> candidate
    start_canary    the same, if it is no candidate yet -> canary for a share of the conversations
    make_current    how the canary did                  -> current

The first model of a registry is what is in use already. There is nothing to compare it with, and nothing is checked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from prospect.collect.database import Database
from prospect.collect.offline import check_run
from prospect.collect.registry import Models, Move, Registry
from prospect.collect.trial import Rules, as_check, look
from prospect.errors import PromotionError
from prospect.results.registry import Check
from prospect.run_dir import RunDir


@dataclass(frozen=True)
class Promotion:
    """A run on its way to being the model that answers.

    Attributes:
        registry: where that is kept.
        run: its directory; of the first model whatever names its weights.
        name: what the server behind the proxy calls it.
        margin: how much worse it may be, as a share: 0.05 is 5 points.
        reason: why, for the history.
        waive: names of checks that need not pass.
    """

    registry: Registry
    run: str
    name: str
    margin: float = Rules.margin
    reason: str = ""
    waive: Collection[str] = ()

    def propose(self) -> list[Check]:
        """Make the run a candidate, and return what was checked.

        Raises:
            PromotionError: a check does not pass, or the model is current or a canary already.
        """
        checks = self._pass(self._offline(self.registry.read()))
        self._propose(checks)
        return checks

    def start_canary(self, share: float) -> list[Check]:
        """Let the model answer a share of the conversations, and return what was checked; a canary gets a new share.

        Raises:
            PromotionError: a check does not pass, or there is another canary, or no current model.
        """
        checks = [] if self._is("canary") else self.propose()
        self.registry.start_canary(self.name, share, self.margin, Move(self.reason or "tried"))
        return checks

    def make_current(self, database: Database | None) -> list[Check]:
        """Let the model answer all conversations, and return what was checked.

        Args:
            database: of the store, where a canary's votes are; None looks at no votes.

        Raises:
            PromotionError: a check does not pass, or another model is a canary.
        """
        models = self.registry.read()
        if self._is("canary"):
            checks = self._pass([self._canary(models, database)])
        elif models.current is None:
            checks = []
            self._propose(checks)
        else:
            never = Check(
                name="canary",
                passed=False,
                found="it has been no canary",
                remedy=f"prospect promote {self.run} --registry {self.registry.folder} --canary 5%",
            )
            checks = self._pass([*self._offline(models), never])
            self._propose(checks)
        self.registry.promote(self.name, Move(self.reason or "promoted", checks=checks))
        return checks

    def _is(self, state: str) -> bool:
        entry = self.registry.read().latest(self.name)
        return entry is not None and entry.state == state and entry.source == source_of(self.run)

    def _propose(self, checks: Sequence[Check]) -> None:
        if not self._is("candidate"):
            self.registry.propose(self.name, source_of(self.run), Move(self.reason or "proposed", checks=checks))

    def _offline(self, models: Models) -> list[Check]:
        if models.current is None:
            return []
        run = RunDir(Path(self.run).expanduser())
        if not run.exists():
            raise PromotionError(f"{self.run}: is no run directory, and has no evaluations to go by. Name a run.")
        return check_run(run, models.current, self.margin)

    def _canary(self, models: Models, database: Database | None) -> Check:
        if database is None:
            return Check(name="canary", passed=False, found="its votes were not looked at", remedy="name the --db")
        return as_check(look(database, models))

    def _pass(self, checks: list[Check]) -> list[Check]:
        """Return the checks with those marked that are waived.

        Raises:
            PromotionError: one that is not did not pass.
        """
        for check in checks:
            check.waived = not check.passed and check.name in self.waive
        failed = [line(check) for check in checks if not check.passed and not check.waived]
        if failed:
            said = "\n".join(failed)
            raise PromotionError(
                f"{self.run} is not promoted:\n{said}\nA person may go on without a check: --waive CHECK --reason TEXT."
            )
        return checks


def source_of(name: str) -> str:
    """Return the weights' name as it is kept: a folder of this machine by its whole path."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def line(check: Check) -> str:
    """Return a check in one line."""
    state = "passed" if check.passed else "waived" if check.waived else "failed"
    remedy = f". Do: {check.remedy}" if check.remedy and not check.passed else ""
    return f"{state}  {check.name}: {check.found}{remedy}"
