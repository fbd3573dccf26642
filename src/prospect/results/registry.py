"""The file of a registry: which model answers, and how it came to that."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prospect.results.stored import Part, Stored

State = Literal["candidate", "canary", "current", "retired"]
"""A candidate passed the checks, a canary is tried on a share of the conversations, the current model has the rest."""


class Check(Part):
    """Something that had to hold before a model was promoted."""

    name: str
    passed: bool
    found: str
    """What was found, in words."""
    remedy: str | None = None
    """What to do where it did not pass: a command."""
    waived: bool = False
    """Whether a person went on although it did not pass; the entry says why."""


class RegistryEntry(Part):
    """A model's new state."""

    at: str
    """UTC, ISO 8601."""
    model: str
    """As the server behind the proxy calls it."""
    source: str
    """Run directory, folder or hub name of the weights."""
    state: State
    share: float | None = Field(default=None, gt=0, lt=1)
    """Of the conversations that are a canary's."""
    margin: float | None = Field(default=None, ge=0, lt=1)
    """How much lower a canary's up-share among votes may be than the current model's."""
    replaces: str | None = None
    """Of a current model, the one that was current before and is gone back to."""
    who: str
    reason: str
    checks: list[Check] = Field(default_factory=list)
    """What was looked at before."""


class RegistryFile(Stored):
    """`models.json`: every state of every model, the oldest first. Nothing in it is changed or removed."""

    format: str = "prospect.registry/1"
    history: list[RegistryEntry] = Field(default_factory=list)
