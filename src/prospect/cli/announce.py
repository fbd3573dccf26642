"""What a command says of its models before they are loaded."""

from __future__ import annotations

from prospect.evaluation.answers.subject import find_subject
from prospect.terminal import say


def announce_gguf(*names: str | None) -> None:
    """Say of a model that is read from GGUF that its weights are not those that it was trained with."""
    for name in names:
        source = find_subject(name, images=True).source if name else None
        if source is not None and source.root.gguf:
            say(f"{source.root.name}: quantised (GGUF), and dequantised to be used here")
