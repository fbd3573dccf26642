"""A conversation as the model reads it: the text of the prompt, and the text of what is scored.

The prompt is what the model sees when it generates. Where the template writes it otherwise inside the whole
conversation, the completion is what the template writes for the answer, after that prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from prospect.errors import DataError, ModelError
from prospect.feedback.chat.rendering import Rendering, UnrenderableError
from prospect.feedback.chat.sandbox import CHARACTERS, SECONDS, TemplateSizeError, TemplateTimeError
from prospect.feedback.chat.templates import ChatTemplates
from prospect.feedback.chat.thoughts import (
    DEFAULT_TAG,
    PAUSE,
    Opening,
    Thoughts,
    closing,
    closing_tag,
    is_block,
    lead_of,
    read_opening,
    take_thoughts,
)
from prospect.feedback.chat.turns import Turns, as_turns, has_system, place_system, template_message, template_tools
from prospect.feedback.endings import common_ending
from prospect.feedback.records import Message, Text

Tools = Sequence[Mapping[str, Any]] | None

MISMATCH = "the chat template's prompt is no prefix of prompt + completion"
_PROBE = "x"  # stands for an answer while it is looked at what a template writes before one; in no think tag
_DROP = "data.unrenderable: drop (--unrenderable drop) leaves such rows out and counts them"


class Exchange(NamedTuple):
    """Prompt and completion as one text.

    Attributes:
        text: both.
        head: how many of its characters are the prompt's.
    """

    text: str
    head: int


class ChatRenderer:
    """Renders conversations by the templates of one tokenizer.

    Raises:
        ConfigError: settings that its templates do not read.
    """

    def __init__(self, templates: ChatTemplates, settings: Rendering | None = None) -> None:
        self.settings = settings = settings or Rendering()
        if settings.chat_template is not None:
            templates = templates.choose(settings.chat_template)
        if settings.template_arguments:
            templates.require_known(settings.template_arguments)
        self.templates = templates
        asked = settings.plain_as_chat
        self.plain_as_chat = bool(templates.texts) if asked is None else asked
        self.now = settings.date or datetime.now()  # one time for all rows, and for the two renderings of each
        self._variables = {**settings.template_arguments, "strftime_now": lambda layout: self.now.strftime(layout)}
        named = templates.named
        self._control = named["good_token"] if {"good_token", "bad_token"} <= named.keys() else ""
        self.leads: list[str] = []
        self.closings: dict[str, str] = {}

    def is_chat(self, prompt: Text, completion: Text = "") -> bool:
        """Whether a row goes through the template; else prompt and completion are joined as they are."""
        return self.plain_as_chat or not (isinstance(prompt, str) and isinstance(completion, str))

    def prompt(self, prompt: Text, tools: Tools = None, where: str = "prompt") -> str:
        """Return the text from which a completion is generated.

        Raises:
            UnrenderableError: the template refuses the turns.
            DataError: the template takes too long.
            ModelError: there is no template.
        """
        turns = () if prompt == "" else as_turns(prompt, "user")
        return self.render(self._placed(turns), tools, where, asks=True)

    def exchange(self, prompt: Text, completion: Text, tools: Tools = None, where: str = "row") -> Exchange:
        """Return a row as text.

        Raises: as `prompt`, and
            UnrenderableError: the completion holds turns of others, or cannot be told from the prompt.
        """
        if isinstance(prompt, str) and isinstance(completion, str):
            # A plain completion may begin with the space that joins it to its prompt.
            prompt, completion = as_turns(prompt, "user") if prompt else (), completion.removeprefix(" ")
        after = as_turns(completion, "assistant")
        other = next((turn.role for turn in after if turn.role != "assistant"), None)
        if other is not None:
            raise UnrenderableError(
                where,
                "the completion holds a turn that is not the assistant's",
                f"Move the turns before the last answer into the prompt; {_DROP}.",
                found=f'the completion holds a turn of role "{other}", and all of a completion is scored: the model '
                f"would learn to speak as {other}",
            )
        head, rest = _Row(self, self._placed(as_turns(prompt, "user")), after, tools, where).split()
        return Exchange(head + rest, len(head))

    def after_answer(self) -> str:
        """Return what the template writes after an answer, whatever the answer; empty where there is no template."""
        if not self.templates.texts:
            return ""
        user = Message("user", "a")
        for opening in ((user,), (Message("system", "a"), user)):  # few templates insist on a system prompt
            try:
                one, other = (
                    self.render((*opening, Message("assistant", text)), None, "template", asks=False) for text in "bc"
                )
            except DataError:
                continue
            return common_ending(one, other)
        return ""

    def render(self, turns: Turns, tools: Tools, where: str, *, asks: bool) -> str:
        """Return turns as the template writes them, with the beginning of an answer where it `asks` for one.

        Raises:
            UnrenderableError: the template refuses the turns, or makes too much of them.
            DataError: it takes too long.
            ModelError: there is no template.
        """
        try:
            text = self._write(turns, tools, asks)
        except TemplateTimeError:
            raise DataError(
                f"{where}: the chat template ran for {SECONDS:g} seconds on this conversation and was stopped. Use "
                "another one (data.chat_template, --chat-template), or remove the row."
            ) from None
        except TemplateSizeError:
            reason = f"the chat template makes more than {CHARACTERS >> 20} MB of text of this conversation"
            advice = f"Use another one (data.chat_template, --chat-template), or shorten the row; {_DROP}."
            raise UnrenderableError(where, reason, advice) from None
        except Exception as error:  # a template is foreign code and raises what it likes
            reason = f"the chat template refuses this conversation: {str(error).rstrip('.') or type(error).__name__}"
            raise UnrenderableError(where, reason, self._advice(turns, tools, asks)) from None
        if text is None:
            raise ModelError(
                f"{where}: this is a conversation, and the tokenizer of {self.templates.owner} has no chat template. "
                "Use an instruction-tuned model's tokenizer, give one in data.chat_template (--chat-template), or give "
                "prompt and completion as strings."
            )
        # The template ends the prompt with the token that says a verdict; which one it is, is for the encoder to say.
        return text.removesuffix(self._control) if asks and self._control else text

    def _placed(self, turns: Turns) -> Turns:
        return place_system(turns, self.settings.system_role)

    def _write(self, turns: Turns, tools: Tools, asks: bool) -> str | None:
        messages = [template_message(turn) for turn in turns]
        return self.templates.render(messages, template_tools(tools), self._variables, add_generation_prompt=asks)

    def _advice(self, turns: Turns, tools: Tools, asks: bool) -> str:
        """Return what helps with a conversation that is refused."""
        if has_system(turns):
            try:
                self._write(place_system(turns, "fold"), tools, asks)
            except Exception:
                return f"Change the row, or use another template (data.chat_template); {_DROP}."
            return (
                "Set data.system_role: fold (--system-role fold), which puts the system text before the first user "
                "turn, or drop, which leaves it out."
            )
        return f"Change the row, or use another template (data.chat_template); {_DROP}."


@dataclass(frozen=True)
class _Row:
    """One row on its way to text: the turns of its prompt, and those of its completion."""

    renderer: ChatRenderer
    before: Turns
    after: Turns
    tools: Tools
    where: str

    def split(self) -> tuple[str, str]:
        """Return prompt and completion."""
        prompt = self._render(self.before, asks=True)
        opening = read_opening(prompt)
        taken = [take_thoughts(turn) for turn in self.after]
        thoughts, bare = taken[0][0] if taken else None, tuple(turn for _, turn in taken)
        if self.renderer.settings.thoughts == "drop":
            if thoughts and not thoughts.finished:
                reason = "the completion holds thoughts and no answer, and data.thoughts is drop"
                raise UnrenderableError(self.where, reason, f"Set data.thoughts: score, or remove the row; {_DROP}.")
            return self._without_thoughts(prompt, opening, bare)
        if thoughts:
            return self._with_thoughts(prompt, opening, thoughts, bare)
        return self._without_thoughts(prompt, opening, bare if opening.base != prompt else self.after)

    def _without_thoughts(self, prompt: str, opening: Opening, after: Turns) -> tuple[str, str]:
        """Close the think block that the prompt opens, and count the one that the template writes to the prompt."""
        lead, answer = self._answer(prompt, opening, after)
        if opening.tag:
            prompt += lead if lead and not is_block(lead) else self._closing(prompt, opening)
        elif not opening.closed:
            prompt += lead
        return prompt, answer

    def _with_thoughts(self, prompt: str, opening: Opening, thoughts: Thoughts, bare: Turns) -> tuple[str, str]:
        """Score thoughts where the model writes them: after the prompt, whether or not the template prints them."""
        if opening.closed:
            raise UnrenderableError(
                self.where,
                "the completion has thoughts, and the chat template's prompt says that there are none",
                "Set data.thoughts: drop, or let the template ask for thoughts (for many: data.template_arguments: "
                f"{{enable_thinking: true}}); {_DROP}.",
            )
        whole = self._render((*self.before, *self.after))
        if whole.startswith(prompt):
            rest = whole[len(prompt) :]
            if thoughts.text in rest and not lead_of(rest):
                return prompt, rest
        _, answer = self._answer(prompt, opening, bare)
        tag = opening.tag or DEFAULT_TAG
        end = f"\n{closing_tag(tag)}{PAUSE}" if thoughts.finished else ""
        return prompt, ("" if opening.tag else f"{tag}\n") + thoughts.text + end + answer

    def _answer(self, prompt: str, opening: Opening, after: Turns) -> tuple[str, str]:
        """Return the think block that the template writes before the answer, and what it writes from there on."""
        whole = self._render((*self.before, *after))
        rest = _rest(prompt, opening, whole)
        if rest is None:
            rest = self._rest_after_last_turn(whole, after)
        if rest is None:
            raise self._mismatch(prompt, whole)
        lead = self._lead(rest, prompt, opening, after)
        return lead, rest[len(lead) :]

    def _rest_after_last_turn(self, whole: str, after: Turns) -> str | None:
        """Return the completion as it is written after the prompt's last turn alone.

        Some templates put the system text, or the tools, into the last user turn only while no answer follows.
        """
        last = self.before[-1:]
        if len(self.before) < 2:
            return None
        try:
            prompt, short = self._render(last, asks=True), self._render((*last, *after))
        except UnrenderableError:
            return None
        rest = _rest(prompt, read_opening(prompt), short)
        return rest if rest and whole.endswith(rest) else None

    def _lead(self, rest: str, prompt: str, opening: Opening, after: Turns) -> str:
        """Return the empty think block at the beginning of a completion.

        White space after it may be the answer's own: how much is the template's is seen with another answer.
        """
        lead = lead_of(rest)
        if not lead:
            return ""
        known = next((one for one in self.renderer.leads if rest.startswith(one)), None)
        if known is not None:
            return known
        probe = _rest(prompt, opening, self._render((*self.before, Message("assistant", _PROBE), *after[1:])))
        found = (probe or "").partition(_PROBE)[0]
        if not found or lead_of(found) != found or not rest.startswith(found):
            return lead
        self.renderer.leads.append(found)
        return found

    def _closing(self, prompt: str, opening: Opening) -> str:
        """Return what closes the block that the prompt opens, in the template's own way where it shows one."""
        known = self.renderer.closings
        if opening.tag not in known:
            probe = Message("assistant", _PROBE, {"reasoning_content": _PROBE})
            whole = self._render((*self.before, probe))
            pieces = whole.removeprefix(prompt).split(_PROBE) if whole.startswith(prompt) else []
            own = pieces[1] if len(pieces) == 3 and not pieces[0] and lead_of(pieces[1]) else ""
            known[opening.tag] = own or closing(prompt, opening.tag)
        return known[opening.tag]

    def _render(self, turns: Turns, *, asks: bool = False) -> str:
        return self.renderer.render(turns, self.tools, self.where, asks=asks)

    def _mismatch(self, prompt: str, whole: str) -> UnrenderableError:
        same = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
        return UnrenderableError(
            self.where,
            MISMATCH,
            f"Use a template whose prompt is a prefix (data.chat_template), or string prompts; {_DROP}.",
            found="the chat template renders the prompt alone otherwise than inside prompt + completion (they part at "
            f"character {same}: {prompt[same : same + 30]!r} against {whole[same : same + 30]!r}), so the model would "
            "be trained on a prompt it never sees",
            is_mismatch=True,
        )


def _rest(prompt: str, opening: Opening, whole: str) -> str | None:
    """Return what follows the prompt, or the prompt without its think block; None where the whole begins otherwise."""
    start = next((text for text in (prompt, opening.base) if whole.startswith(text)), None)
    return None if start is None else whole[len(start) :]
