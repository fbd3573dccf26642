"""How rows become text: the settings, and what is said of a row that cannot be rendered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from prospect.errors import DataError

if TYPE_CHECKING:
    from prospect.config import DataSettings

SystemRole = Literal["keep", "fold", "drop"]


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How rows become text; the same settings wherever a policy's prompts are rendered.

    Attributes:
        chat_template: the text of a template, a file, or the name of one of the tokenizer's several; None for its own.
        template_arguments: what the template is told beside the turns.
        plain_as_chat: whether a plain prompt is a user turn and a plain completion the answer; None for yes if the
            tokenizer has a template.
        system_role: what becomes of system turns.
        thoughts: whether the thoughts of a completion are scored or left out.
        unrenderable: whether a row that the template cannot render is refused, or left out and counted.
        date: what a template that prints the date is told; None for now.
    """

    chat_template: str | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    plain_as_chat: bool | None = False
    system_role: SystemRole = "keep"
    thoughts: Literal["score", "drop"] = "score"
    unrenderable: Literal["refuse", "drop"] = "refuse"
    date: datetime | None = None

    @classmethod
    def of(cls, settings: DataSettings) -> Rendering:
        """Return what a recipe says."""
        names = [one.name for one in fields(cls) if one.name != "date"]
        return cls(**{name: getattr(settings, name) for name in names}, date=settings.template_date)

    @property
    def identity(self) -> str:
        """Return a text that differs where a prompt may be rendered otherwise; empty for the default."""
        default = Rendering()
        values = {one.name: (getattr(self, one.name), getattr(default, one.name)) for one in fields(self)}
        changed = {name: value for name, (value, usual) in values.items() if value != usual}
        return json.dumps(changed, sort_keys=True, default=str) if changed else ""


class UnrenderableError(DataError):
    """A row that the chat template cannot render; a caller may choose to leave such rows out.

    Attributes:
        reason: in a phrase, the same for all rows like it.
        is_mismatch: whether the template renders the prompt otherwise than inside the whole.
    """

    def __init__(self, where: str, reason: str, advice: str, *, found: str = "", is_mismatch: bool = False) -> None:
        super().__init__(f"{where}: {found or reason}. {advice}")
        self.reason = reason
        self.is_mismatch = is_mismatch
