"""Whether a model's folder gives elsewhere what it gives here: what `prospect check-model --json` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from prospect.results.stored import Part, Stored

FindingName = Literal["files", "loading", "template", "end_token", "answer", "log_probs"]


class ModelFinding(Part):
    """One thing that was looked at."""

    name: FindingName
    state: Literal["ok", "wrong", "unknown"]
    """Unknown where what it would be compared with is not here."""
    found: str
    do: str = ""
    """What to do; empty where nothing is."""


class CheckedRow(Part):
    """A prompt as a server renders it, and what the model answers."""

    prompt: JsonValue
    """Text, or the turns of a conversation."""
    served: str
    """What the model reads, as Transformers alone renders it; empty where it cannot."""
    trained: str | None = None
    """The same as the run rendered it for training; null where no run is known."""
    answer: str | None = None
    """Greedy, by Transformers alone; null where it does not load."""
    finished: bool | None = None
    """False where the limit of tokens cut it."""


class ModelCheck(Stored):
    """What `prospect check-model` finds."""

    format: str = "prospect.model_check/1"
    prospect: str
    model: str
    kind: Literal["model", "adapter"]
    run: str | None = None
    """The run that made it, whose recipe says what training saw; null where none is known."""
    rows_from: str
    findings: list[ModelFinding]
    rows: list[CheckedRow]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state != "wrong" for finding in self.findings)
