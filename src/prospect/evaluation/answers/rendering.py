"""How the prompts of a model are rendered when it is looked at: as asked, else as in its run, else by the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prospect.evaluation.answers.subject import Subject
from prospect.feedback.chat.rendering import Rendering, SystemRole, UnrenderableError
from prospect.feedback.records import Text

if TYPE_CHECKING:
    from prospect.feedback.chat.renderer import ChatRenderer

_SHOWN, _LONGEST = 3, 40  # prompts of those that were left out, and their characters


@dataclass(frozen=True, kw_only=True)
class RenderingOptions:
    """What is asked for; None where nothing is said. See `Rendering`."""

    chat_template: str | None = None
    template_arguments: Mapping[str, Any] | None = None
    plain_as_chat: bool | None = None
    system_role: SystemRole | None = None
    unrenderable: Literal["refuse", "drop"] | None = None
    date: datetime | None = None

    def for_scoring(self, subject: Subject) -> Rendering:
        """Return how completions are rendered to be scored: in all as in the run."""
        return self._laid_over(_of_run(subject))

    def for_writing(self, subject: Subject, beside: Subject | None = None) -> Rendering:
        """Return how prompts are rendered to be answered.

        The date is today's. Plain prompts are continued as text by a run that learnt from plain text, and by what is
        compared with one; others get them as a user turn if they have a chat template.

        Args:
            subject: who answers.
            beside: who answers the same prompts. The model that its run started from is asked as the run is.
        """
        if subject.config is not None:
            own = replace(_of_run(subject), plain_as_chat=_plain_as_chat(subject))
        elif beside is not None and beside.config is not None:
            alike = Rendering.of(beside.config.data) if _started_from(beside, subject) else Rendering()
            own = replace(alike, plain_as_chat=_plain_as_chat(beside))
        else:
            own = Rendering(plain_as_chat=None)
        return self._laid_over(replace(own, date=None))

    def _laid_over(self, base: Rendering) -> Rendering:
        asked = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}
        if self.template_arguments is not None:
            asked["template_arguments"] = {**base.template_arguments, **self.template_arguments}
        return replace(base, **asked)


def look_over(renderer: ChatRenderer, prompts: Sequence[Text]) -> tuple[list[int], list[str]]:
    """Return which prompts can be rendered, and what a reader of their completions must know.

    Raises:
        UnrenderableError: one cannot be, and none is to be left out.
    """
    kept: list[int] = []
    left_out: dict[str, list[str]] = {}
    for i, prompt in enumerate(prompts):
        try:
            if renderer.is_chat(prompt):
                renderer.prompt(prompt, where=f"prompt {i + 1}")
            kept.append(i)
        except UnrenderableError as error:
            if renderer.settings.unrenderable == "refuse":
                raise
            left_out.setdefault(error.reason, []).append(_beginning(prompt))
    remarks = _remarks(renderer, prompts)
    for reason, some in left_out.items():
        shown = ", ".join([*some[:_SHOWN], *(["..."] if len(some) > _SHOWN else [])])
        remarks.append(f"{len(some)} prompts are left out: {reason} ({shown})")
    return kept, remarks


def _remarks(renderer: ChatRenderer, prompts: Sequence[Text]) -> list[str]:
    remarks = []
    owner = renderer.templates.owner
    if renderer.templates.texts and any(isinstance(prompt, str) for prompt in prompts):
        as_turns = f"are user turns of the chat template of {owner} (--no-chat continues them as text)"
        as_text = f"are continued as text, without the chat template of {owner} (--chat makes them user turns)"
        remarks.append(f"plain prompts {as_turns if renderer.plain_as_chat else as_text}")
    if renderer.templates.prints_date and any(renderer.is_chat(prompt) for prompt in prompts):
        now = renderer.now.strftime("%Y-%m-%d %H:%M")
        remarks.append(f"the chat template prints the date: {now} (--template-date names another)")
    return remarks


def _beginning(prompt: Text) -> str:
    text = prompt if isinstance(prompt, str) else " ".join(turn.content for turn in prompt)
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _of_run(subject: Subject) -> Rendering:
    """Return the settings of a run, whose chat template lies with its tokenizer; the default where there is no run."""
    return replace(Rendering.of(subject.config.data), chat_template=None) if subject.config else Rendering()


def _plain_as_chat(run: Subject) -> bool | None:
    """Whether a run's plain prompts are user turns: as it learnt; by the model where it learnt from conversations."""
    assert run.config is not None and run.run is not None
    if run.config.data.plain_as_chat:
        return True
    return None if run.run.provenance().data.train.plain == 0 else False


def _started_from(run: Subject, subject: Subject) -> bool:
    assert run.config is not None
    start = Path(run.config.model.name_or_path).expanduser()
    return bool(subject.weights) and start in (Path(subject.weights).expanduser(), Path(subject.name).expanduser())
