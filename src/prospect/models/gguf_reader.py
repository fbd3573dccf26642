"""One parse of a GGUF file, for which Transformers asks anew with its configuration, its tokenizer and its weights.

A parse makes an object of every token and every merge, which takes seconds where a model has tens of thousands. To read
their bytes takes as long, each time, unless they are plain arrays; and Transformers makes the same table of names for
each module of a model.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_kept: dict[tuple[str, int, int], Any] = {}


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let what is loaded within share the parse of a file, as long as that is not written again."""
    gguf: Any = importlib.import_module("gguf")
    parse, name_tensors = gguf.GGUFReader, gguf.get_tensor_name_map

    def read(path: str | Path) -> Any:
        state = Path(path).stat()
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in _kept:
            _kept.clear()
            reader = parse(path)
            for one in reader.fields.values():
                one.parts[:] = [np.asarray(part) for part in one.parts]
            _kept[key] = reader
        return _kept[key]

    gguf.GGUFReader, gguf.get_tensor_name_map = read, functools.cache(name_tensors)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = parse, name_tensors


def forget_parsed() -> None:
    """Free the parse: the weights are loaded, which come last."""
    _kept.clear()
