"""What is in feedback files, before anything is trained on them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prospect.verbs.arguments import LabelMap, Place, Places, places_of

if TYPE_CHECKING:
    from prospect.feedback.doctor.inspect import Inspection


def inspect(
    files: Places,
    *,
    model: Place | None = None,
    eval_files: Places | None = None,
    max_length: int | None = None,
    label_map: LabelMap | None = None,
) -> Inspection:
    """Say what is in feedback files, what is wrong with them and which method suits them (`prospect data inspect`).

    Args:
        files: paths, globs, folders of images or a hub dataset.
        model: lengths in its tokens, and whether its chat template fits.
        eval_files: files to evaluate on; their prompts should not be in the others.
        max_length: tokens of prompt and completion; None: the model's context, at most 2048.
        label_map: label -> desirable.

    Raises:
        ProspectError: as `prospect.feedback.doctor.inspect.inspect_feedback`.
    """
    from prospect.feedback.doctor.inspect import inspect_feedback

    counter = None
    if model is not None:
        from prospect.config import ModelSettings
        from prospect.data.token_counter import TokenCounter
        from prospect.feedback.chat.rendering import Rendering
        from prospect.models.loading import load_tokenizer

        counter = TokenCounter(load_tokenizer(ModelSettings(name_or_path=os.fspath(model))), Rendering())
    found = places_of(files)
    assert found is not None, "there are files"
    return inspect_feedback(
        found,
        label_map=label_map,
        model=None if model is None else os.fspath(model),
        counter=counter,
        eval_files=places_of(eval_files),
        max_length=max_length,
    )
