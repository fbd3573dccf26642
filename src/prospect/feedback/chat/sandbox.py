"""Jinja for chat templates: a sandbox set up as Transformers sets up its own, with a bound on time and size.

A chat template comes with a model and is foreign code. It may loop for hours or build gigabytes, and a timer cannot
interrupt it in every thread. So the compiler puts a check at the head of every loop and macro, and what can make a long
text out of a short one (operators, joining, filters, calls) is looked at before or right after it does.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

SECONDS = 5.0
"""How long a template may take over one conversation; the slowest published ones take a few milliseconds."""
CHARACTERS = 4 << 20
"""How much text it may make of one, a million tokens or so."""

_CHECK, _JOIN, _ADD = "_check_time", "_join", "_add"
_WIDE = re.compile(r"\d{7}|\*")  # a width in a format that is longer than `CHARACTERS`, or may be
# Methods and filters that pad to a width, and those that fill one text into another.
_WIDTHS = {"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "wordwrap", "batch", "slice", "round", "tojson"}
_FILLING = {"replace", "join", "format"}


class TemplateTimeError(Exception):
    """A template takes too long."""


class TemplateSizeError(Exception):
    """A template makes too much text."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The environment that chat templates are compiled in; one for all threads."""

    intercepted_binops = frozenset(("*", "**", "%"))  # for `+` see `_Checks`

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        self._deadline = threading.local()
        filters = {**self.filters, "tojson": _to_json}
        self.filters.update({name: self._bounded(name, function) for name, function in filters.items()})
        self.filters |= {_CHECK: self._check_time, _JOIN: _join, _ADD: _add}
        del self.globals["lipsum"]  # makes as much text as it is asked for
        self.globals |= {"raise_exception": _raise, "namespace": _Namespace, "dict": _make_dict}

    def render(self, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
        """Return what a template makes of its variables.

        Raises:
            TemplateTimeError, TemplateSizeError: it exceeds `SECONDS` or `CHARACTERS`.
        """
        self._deadline.time = time.monotonic() + SECONDS
        try:
            return template.render(variables)
        finally:
            self._deadline.time = math.inf

    # -- what Jinja calls --

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Checks().visit(super()._parse(source, name, filename))

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join the output of a template, a macro or a block."""
        kept, size = [], 0
        for piece in pieces:
            kept.append(piece)
            size += len(piece)
            if size > CHARACTERS:
                raise TemplateSizeError
        return "".join(kept)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator that can make much of little."""
        if operator == "*":
            _require_room(_length(left) * _count(right), _length(right) * _count(left))
        elif operator == "**":
            _require_room(_count(left).bit_length() * _count(right))
        elif operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise TemplateSizeError
        value = super().call_binop(context, operator, left, right)
        if type(value) is int:
            _require_room(value.bit_length())
        return _checked(value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """Call a method or a macro."""
        name = getattr(__obj, "__name__", "")
        if name in _WIDTHS or name in _FILLING:
            _check_arguments(name, __obj, args, kwargs)
        return _checked(super().call(__context, __obj, *args, **kwargs))

    @jinja2.pass_context  # so that the compiler does not work it out once and for all
    def _check_time(self, context: Any = None, value: Any = None) -> None:
        """Stop a template whose time is up."""
        if time.monotonic() > getattr(self._deadline, "time", math.inf):  # no time while a template is compiled
            raise TemplateTimeError

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        grows = name in _WIDTHS or name in _FILLING

        @wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self._check_time()
            if grows:
                _check_arguments(name, None, args, kwargs)
            return _checked(function(*args, **kwargs))

        return bounded


@lru_cache(maxsize=1)
def environment() -> ChatEnvironment:
    """Return the environment."""
    return ChatEnvironment()


@lru_cache(maxsize=64)
def compile_template(text: str) -> jinja2.Template:
    """Return the template of a text, compiled once.

    Raises:
        jinja2.TemplateError: it is no template.
    """
    return environment().from_string(text)


class _Checks(NodeTransformer):
    """Puts a check of the time into every loop and macro, and lets `~` and `+` join by functions of ours."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - as in Jinja
        return self._with_check(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._with_check(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), _JOIN, [], [], None, None).set_lineno(node.lineno)

    def visit_Add(self, node: nodes.Add) -> nodes.Node:  # noqa: N802
        # A chain of `+` is one call: intercepted one by one they are what takes longest in a template.
        items, left = [self.visit(node.right)], node.left
        while isinstance(left, nodes.Add):
            items.append(self.visit(left.right))
            left = left.left
        items.append(self.visit(left))
        return nodes.Filter(nodes.List(items[::-1]), _ADD, [], [], None, None).set_lineno(node.lineno)

    def _with_check(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        check = nodes.Filter(nodes.Const(None), _CHECK, [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(check).set_lineno(node.lineno))
        return node


class _Generation(Extension):
    """`{% generation %}`, which marks the assistant's tokens in Transformers, changes nothing in the text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(Namespace):
    """A namespace without names that Python keeps to itself."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"{name!r} is no name for a namespace")
        super().__setitem__(name, value)


def _join(items: list[Any]) -> str:
    return _checked("".join(map(str, items)))


def _add(items: list[Any]) -> Any:
    total = items[0]
    for item in items[1:]:
        total = total + item
    return _checked(total)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _make_dict(*args: Any, **named: Any) -> dict[str, Any]:
    """Stand for `dict`, whose own attributes are nothing for foreign code."""
    return dict(*args, **named)


def _to_json(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **layout)


def _check_arguments(name: str, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse a call that would make far more text than it is given."""
    if name in _WIDTHS:
        widths = args if method is not None else args[1:]  # a filter gets first what it is applied to
        _require_room(*(_count(value) for value in (*widths, *kwargs.values())))
    else:
        own = getattr(getattr(method, "__wrapped__", method), "__self__", None)
        _require_room(_filled(name, [one for one in (own, *args) if isinstance(one, str | list | tuple | range)]))


def _filled(name: str, given: list[Any]) -> int:
    """Return about how much text a call makes of what it is given."""
    if name == "format":
        return CHARACTERS + 1 if given and _WIDE.search(str(given[0])) else 0
    if name == "replace":
        return given[0].count(given[1]) * len(given[2]) if len(given) == 3 else 0
    return len(given[0]) * len(given[1]) if len(given) == 2 else 0


def _require_room(*sizes: int) -> None:
    if any(size > CHARACTERS for size in sizes):
        raise TemplateSizeError


def _checked(value: Any) -> Any:
    if _length(value) > CHARACTERS:
        raise TemplateSizeError
    return value


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _count(value: Any) -> int:
    return abs(value) if isinstance(value, int) else 0
