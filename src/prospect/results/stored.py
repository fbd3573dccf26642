"""A file of ours: a JSON object with a format and a version, written and read through its model.

`format` is `NAME/MAJOR` or `NAME/MAJOR.MINOR`. A minor version adds fields, which an older reader ignores. A major
version changes what is there, and an older reader refuses it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import core_schema

from prospect.atomic import write_json
from prospect.errors import CheckpointError

# What is written holds nothing but its fields, and no infinity, which JSON has not.
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=True)


class Part(BaseModel):
    """An object inside a file. Its constructor refuses unknown fields."""

    model_config = _STRICT

    def as_dict(self) -> dict[str, Any]:
        """Return the object as JSON holds it."""
        return self.model_dump(mode="json")


class Stored(Part):
    """A whole file. A subclass gives `format` a default and declares its fields."""

    format: str
    older_formats: ClassVar[tuple[int | None, ...]] = ()
    """What the files of 0.1 hold in place of the format's name."""

    def write(self, path: Path) -> None:
        """Write the file, atomically."""
        write_json(path, self.as_dict())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the file.

        Raises:
            CheckpointError: it is not valid JSON, of another format or of a newer major version, or a field is wrong.
        """
        return cls.parse(read_json(Path(path)), path)

    @classmethod
    def parse(cls, value: object, where: str | Path) -> Self:
        """Return the model of an object that was read; fields of a newer minor version are left out.

        Args:
            value: the object.
            where: the file, for messages.

        Raises:
            CheckpointError: the object is of another format or of a newer major version, or a field is wrong.
        """
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{where}: holds no object. Was it edited by hand?")
        cls._require_format(value.get("format"), where)
        return parse_part(cls, {**value, "format": _format_of(cls)}, where)

    @classmethod
    def _require_format(cls, found: object, where: str | Path) -> None:
        if any(found == older and type(found) is type(older) for older in cls.older_formats):
            return
        ours, theirs = _split(_format_of(cls)), _split(found)
        if theirs is None or ours is None or ours[0] != theirs[0]:
            raise CheckpointError(f"{where}: format is {found!r}; expected {_format_of(cls)}. Is it another file?")
        if theirs[1] > ours[1]:
            raise CheckpointError(
                f"{where}: format is {found}; expected {_format_of(cls)} or older. Read it with the version that "
                "wrote it, or a newer one."
            )


AnyPart = TypeVar("AnyPart", bound=Part)


def parse_part(kind: type[AnyPart], value: object, where: str | Path) -> AnyPart:
    """Return the model of an object that was read; fields that it does not know are left out.

    Raises:
        CheckpointError: a field is wrong.
    """
    try:
        return kind.model_validate(value, extra="ignore")
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"])) or "it"
        what = detail["msg"][:1].lower() + detail["msg"][1:]
        raise CheckpointError(f"{where}: {place} cannot be read: {what}. Was it edited by hand?") from None


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        CheckpointError: it is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken JSON, or bytes that are no text
        raise CheckpointError(f"{path}: not valid JSON ({error}). Was it edited by hand?") from None


def _format_of(model: type[Stored]) -> str:
    return str(model.model_fields["format"].default)


def _split(text: object) -> tuple[str, int] | None:
    """Return the name and the major version of a format; None where it is none."""
    found = re.fullmatch(r"([a-z_.]+)/(\d+)(?:\.\d+)?", text) if isinstance(text, str) else None
    return (found[1], int(found[2])) if found else None


class _AsObject:
    """Reads and writes a named tuple, and those inside it, as a JSON object of its fields."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        model = _object_of(source)
        inner = handler.generate_schema(model)

        def to_tuple(read: BaseModel) -> Any:
            return source(**{name: getattr(read, name) for name in source._fields})

        def to_object(value: Any) -> Any:
            return value._asdict() if isinstance(value, source) else value

        return core_schema.no_info_before_validator_function(
            to_object,
            core_schema.no_info_after_validator_function(to_tuple, inner),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: model.model_construct(**value._asdict()), return_schema=inner
            ),
        )


AS_OBJECT = _AsObject()
"""Annotates a field that is a named tuple: `Annotated[Rate, AS_OBJECT]`."""


@cache
def _object_of(source: type) -> type[BaseModel]:
    """Return a model with the fields of a named tuple."""
    fields: dict[str, Any] = {name: (_nested(hint), ...) for name, hint in get_type_hints(source).items()}
    return create_model(source.__name__, __config__=_STRICT, __doc__=source.__doc__, **fields)


def _nested(hint: Any) -> Any:
    """Return a field's type with the named tuples in it annotated."""
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return Annotated[hint, AS_OBJECT]
    origin, inner = get_origin(hint), tuple(_nested(part) for part in get_args(hint))
    if origin in (Union, UnionType):
        return Union[inner]  # noqa: UP007  of types that are made here
    return tuple.__class_getitem__(inner) if origin is tuple else hint
