"""Diffusers, which is an extra: whether it is there, and what it says when something cannot be loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from prospect.errors import ModelError
from prospect.models.loading import first_line


def require_diffusers() -> None:
    """Refuse to go on without the extra.

    Raises:
        ModelError: naming what to install.
    """
    missing = [name for name, module in (("diffusers", "diffusers"), ("pillow", "PIL")) if not _installed(module)]
    if missing:
        raise ModelError(
            f"models that make images need {' and '.join(missing)}. Install them: pip install "
            "'prospect-align[diffusion]'"
        )


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Turn any error of diffusers, which raises half a dozen kinds, into a ModelError.

    Args:
        name: of the pipeline.
        what: the part of it that is loaded.
    """
    require_diffusers()
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"{name}: the {what} could not be loaded ({first_line(error)}). A pipeline's folder needs each part's "
            "configuration and safetensors weights: save it with pipeline.save_pretrained(folder). Weights in .bin "
            "files are pickle, which can run code, and are not read."
        ) from error
