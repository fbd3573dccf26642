"""The registry: which model is current, which one is tried beside it, and how it came to that.

    DIR/models.json    an append-only history; each model's last entry is its state

    candidate -> canary -> current -> retired

At most one model is current and one is a canary. The file is written whole and atomically by one writer at a time; who
serves reads it again when it has changed.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from prospect.errors import CheckpointError, PromotionError
from prospect.outputs import output_folder
from prospect.results.registry import Check, RegistryEntry, RegistryFile, State
from prospect.training.run_lock import locked

MODELS = "models.json"
_PATIENCE = 5.0  # seconds to wait for another writer, who needs milliseconds
_LONGEST_NAME = 200  # characters


@dataclass(frozen=True)
class Models:
    """What a registry says.

    Attributes:
        history: every entry, the oldest first.
    """

    history: Sequence[RegistryEntry] = ()

    @property
    def current(self) -> RegistryEntry | None:
        """The model that answers."""
        return self._only("current")

    @property
    def canary(self) -> RegistryEntry | None:
        """The model that answers a share of the conversations."""
        return self._only("canary")

    def latest(self, model: str) -> RegistryEntry | None:
        """Return a model's last entry."""
        return next((entry for entry in reversed(self.history) if entry.model == model), None)

    @property
    def states(self) -> dict[str, RegistryEntry]:
        """Each model's last entry by its name, in the order in which they came."""
        return {entry.model: entry for entry in self.history}

    def _only(self, state: State) -> RegistryEntry | None:
        return next((entry for entry in self.states.values() if entry.state == state), None)


@dataclass(frozen=True)
class Move:
    """Who changes a registry, and why.

    Attributes:
        reason: in words.
        who: the user of this machine if not given.
        checks: what was looked at before.
    """

    reason: str
    who: str = field(default_factory=lambda: _user())
    checks: Sequence[Check] = ()


class Registry:
    """The folder of a registry, to read and to write.

    Attributes:
        path: of its file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / MODELS

    def read(self) -> Models:
        """Return what it says; nothing where there is no file yet.

        Raises:
            CheckpointError: the file cannot be read.
        """
        return Models(RegistryFile.read(self.path).history) if self.path.exists() else Models()

    def propose(self, model: str, source: str, move: Move) -> Models:
        """Enter a model as a candidate.

        Raises:
            PromotionError: it is current or a canary, or its name is none.
        """
        if not model.strip() or not model.isprintable() or len(model) > _LONGEST_NAME:
            raise PromotionError(f"{model!r:.60}: no name of a model. Give the name under which the server has it.")
        with self._changing() as models:
            entry = models.latest(model)
            if entry is not None and entry.state in ("current", "canary"):
                raise PromotionError(f"{model} is {entry.state} already. See prospect promote --registry {self.folder}")
            return self._append(models, _entry(model, source, "candidate", move))

    def start_canary(self, model: str, share: float, margin: float, move: Move) -> Models:
        """Give a candidate a share of the conversations, or a canary another share; its votes count from now on.

        Raises:
            PromotionError: there is no current model or another canary, or the model is neither of these.
        """
        if not 0 < share < 1:
            raise PromotionError(f"a canary's share is {share:.0%}; expected more than 0 % and less than 100 %.")
        with self._changing() as models:
            entry, canary = self._require(models, model, "candidate", "canary"), models.canary
            if models.current is None:
                raise PromotionError("no model is current, so there is none to compare with. Promote one with --full.")
            if canary is not None and canary.model != model:
                raise PromotionError(f"{canary.model} is a canary already. End it with --full or --rollback first.")
            return self._append(models, _entry(model, entry.source, "canary", move, share=share, margin=margin))

    def promote(self, model: str, move: Move) -> Models:
        """Make a candidate or a canary the current model; the one before is retired.

        Raises:
            PromotionError: the model is neither of these, or another model is a canary.
        """
        with self._changing() as models:
            entry, before = self._require(models, model, "candidate", "canary"), models.current
            canary = models.canary
            if canary is not None and canary.model != model:
                raise PromotionError(f"{canary.model} is a canary. End it with --rollback first.")
            replaces = None if before is None else before.model
            return self._append(
                models, *_retired(before, move), _entry(model, entry.source, "current", move, replaces=replaces)
            )

    def end_canary(self, model: str, move: Move) -> Models:
        """Retire a canary, and give its conversations back to the current model.

        Raises:
            PromotionError: the model is no canary.
        """
        with self._changing() as models:
            return self._append(models, *_retired(self._require(models, model, "canary"), move))

    def roll_back(self, move: Move, model: str | None = None) -> Models:
        """End the canary; where there is none, go back to the model that was current before.

        Args:
            move: who, and why.
            model: the one to leave; whatever can be left if not given.

        Raises:
            PromotionError: there is nothing to go back from or to, or `model` is neither canary nor current.
        """
        with self._changing() as models:
            leaving = models.canary or models.current
            if leaving is None:
                raise PromotionError(f"{self.path}: no model is current. There is nothing to go back from.")
            if model is not None and leaving.model != model:
                raise PromotionError(f"{model} is not what would be left: that is {leaving.model}, {leaving.state}.")
            if leaving.state == "canary":
                return self._append(models, *_retired(leaving, move))
            before = None if leaving.replaces is None else models.latest(leaving.replaces)
            if before is None:
                raise PromotionError(f"{leaving.model} replaced no other model. There is nothing to go back to.")
            # What that one replaced itself stays known, so that one can go back further.
            was = [entry for entry in models.history if entry.model == before.model and entry.state == "current"]
            entry = _entry(before.model, before.source, "current", move, replaces=was[-1].replaces)
            return self._append(models, *_retired(leaving, move), entry)

    def _require(self, models: Models, model: str, *states: State) -> RegistryEntry:
        entry = models.latest(model)
        if entry is None or entry.state not in states:
            found = "not there" if entry is None else entry.state
            raise PromotionError(
                f"{self.path}: {model} is {found}; expected {' or '.join(states)}. Enter it first with "
                f"prospect promote RUN --registry {self.folder}"
            )
        return entry

    @contextmanager
    def _changing(self) -> Iterator[Models]:
        """Hold the registry as its only writer, and give what it says."""
        output_folder(self.folder).mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + _PATIENCE
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(locked(self.folder))
                    break
                except CheckpointError:
                    if time.monotonic() > deadline:
                        raise PromotionError(f"{self.path}: another program changes it. Try again.") from None
                    time.sleep(0.05)
            yield self.read()

    def _append(self, models: Models, *entries: RegistryEntry) -> Models:
        history = [*models.history, *entries]
        RegistryFile(history=history).write(self.path)
        return Models(history)


def _entry(model: str, source: str, state: State, move: Move, **more: object) -> RegistryEntry:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    fields = {"at": at, "model": model, "source": source, "state": state, "who": move.who, "reason": move.reason}
    return RegistryEntry.model_validate({**fields, "checks": list(move.checks), **more})


def _retired(entry: RegistryEntry | None, move: Move) -> list[RegistryEntry]:
    return [] if entry is None else [_entry(entry.model, entry.source, "retired", Move(move.reason, move.who))]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for the number, as in some containers
        return "unknown"
