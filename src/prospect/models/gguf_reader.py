"""One parse of a GGUF file, for which Transformers asks anew with its configuration, its tokenizer and its weights.

A parse makes an object of every token and every merge, which takes seconds where a model has tens of thousands.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_kept: dict[tuple[str, int, int], Any] = {}


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let what is loaded within share the parse of a file, as long as that is not written again."""
    gguf: Any = importlib.import_module("gguf")
    parse = gguf.GGUFReader

    def read(path: str | Path) -> Any:
        state = Path(path).stat()
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in _kept:
            _kept.clear()
            _kept[key] = parse(path)
        return _kept[key]

    gguf.GGUFReader = read
    try:
        yield
    finally:
        gguf.GGUFReader = parse


def forget_parsed() -> None:
    """Free the parse: the weights are loaded, which come last."""
    _kept.clear()
