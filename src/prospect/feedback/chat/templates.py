"""The chat templates of a tokenizer: which one is used, with what it is told beside the turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta, nodes

from prospect.errors import ConfigError
from prospect.feedback.chat.sandbox import compile_template, environment
from prospect.feedback.wording import names

DEFAULT, WITH_TOOLS = "default", "tool_use"
_GIVEN = ("messages", "tools", "documents", "add_generation_prompt", "strftime_now")


@dataclass(frozen=True)
class ChatTemplates:
    """What a tokenizer has to render conversations with.

    Attributes:
        texts: templates by name; `default` is used but for rows with tools, which take `tool_use` if there is one.
        named: special tokens by name, such as `bos_token`; templates read them.
        owner: the tokenizer's name, for messages.
    """

    texts: Mapping[str, str]
    named: Mapping[str, str]
    owner: str

    def choose(self, value: str) -> ChatTemplates:
        """Return these with one template only.

        Args:
            value: the text of a template, the name of one of these, or a file.

        Raises:
            ConfigError: it is none of the three, or no template.
        """
        return replace(self, texts={DEFAULT: self._read(value)})

    def _read(self, value: str) -> str:
        if "{{" in value or "{%" in value:
            text, where = value, "data.chat_template"
        elif value in self.texts:
            return self.texts[value]
        else:
            text, where = self._read_file(value), value
        try:
            compile_template(text)
        except jinja2.TemplateError as error:
            raise ConfigError(f"{where}: not a Jinja template ({error}). Mend it, or leave it out.") from None
        return text

    def _read_file(self, value: str) -> str:
        try:
            return Path(value).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            own = f"its own are {names(self.texts)}" if self.texts else "it has none of its own"
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8"
            raise ConfigError(
                f"data.chat_template is {value[:80]!r}: {reason.lower()}, and {self.owner} has no such template "
                f"({own}). Give a file, the text of a template, or such a name."
            ) from None

    def text_for(self, tools: Any) -> str | None:
        """Return the template for a row; None where there is none."""
        if tools and WITH_TOOLS in self.texts:
            return self.texts[WITH_TOOLS]
        return self.texts.get(DEFAULT)

    def require_known(self, arguments: Mapping[str, Any]) -> None:
        """Refuse arguments that no template reads.

        Raises:
            ConfigError: with those that are read.
        """
        taken = next((name for name in arguments if name in _GIVEN or name in self.named), None)
        if taken is not None:
            raise ConfigError(f"data.template_arguments: {taken} is filled in by itself. Leave it out.")
        read = self._variables()
        unknown = next((name for name in arguments if name not in read), None)
        if unknown is not None and self.texts:
            others = sorted(self._variables(stated=True) - {*_GIVEN, *self.named, *environment().globals})
            known = f"It reads {names(others)}" if others else "It reads none"
            raise ConfigError(
                f"data.template_arguments: the chat template of {self.owner} does not read {unknown}. {known}."
            )

    @property
    def prints_date(self) -> bool:
        """Whether a template asks for the time of day."""
        return "strftime_now" in self._variables()

    def _variables(self, *, stated: bool = False) -> set[str]:
        """Names that templates look up; `stated` leaves out those that they only ever set themselves."""
        found: set[str] = set()
        for text in self.texts.values():
            try:
                tree = environment().parse(text)
            except jinja2.TemplateError:  # rendering says so, with the row
                continue
            names = list(tree.find_all(nodes.Name))
            tested = {one.node.name for one in tree.find_all(nodes.Test) if isinstance(one.node, nodes.Name)}
            own = {one.name for one in names if one.ctx == "store"} - tested if stated else set()
            found |= meta.find_undeclared_variables(tree) - own
        return found

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None,
        variables: Mapping[str, Any],
        *,
        add_generation_prompt: bool,
    ) -> str | None:
        """Return a conversation as text; None where there is no template. Whatever the template raises is raised."""
        text = self.text_for(tools)
        if text is None:
            return None
        given = {
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return environment().render(compile_template(text), {**self.named, **variables, **given})
