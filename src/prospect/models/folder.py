"""What can be said of a model's folder before anything is loaded. No torch."""

from __future__ import annotations

from pathlib import Path

from prospect.errors import ConfigError, ModelError


def require_there(name: str) -> None:
    """Refuse a name that can only be a path, where there is nothing.

    Raises:
        ModelError: a mistyped path would be looked up on the hub, with a puzzling answer.
    """
    if looks_local(name) and not Path(name).expanduser().exists():
        raise missing_folder(name)


def missing_folder(name: str) -> ModelError:
    """Return the refusal of a path that leads to no folder."""
    return ModelError(f"{name}: there is no such model folder.")


def looks_local(name: str) -> bool:
    """Return whether a name can only be a path."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def require_context(max_length: int | None, context: int | None) -> None:
    """Refuse rows that are longer than what the model reads.

    Raises:
        ConfigError: naming both.
    """
    if max_length is not None and context is not None and max_length > context:
        raise ConfigError(
            f"data.max_length is {max_length} and the model reads {context} tokens at most. Lower it to {context}."
        )
