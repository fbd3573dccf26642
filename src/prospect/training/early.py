"""What can be refused of a run in a second: before torch is imported, data are read or weights are loaded.

`prepare` asks the same again, of whoever trains without the command line.
"""

from __future__ import annotations

import sys

from prospect.config import Config
from prospect.feedback.files.sources import find_places
from prospect.losses.declared import check_declared
from prospect.model_source import find_adapter_of_images, find_model, is_path, require_context
from prospect.training.trackers import require_trackers


def refuse_early(config: Config) -> None:
    """Refuse a recipe that names what is not there, or asks of the model what it cannot.

    Raises:
        ConfigError: an unknown loss or hyperparameter, a tracker that is not installed, `data.max_length` above the
            context that a local model's config.json names.
        DataError: no such file of feedback.
        ModelError: no such model folder.
    """
    if "prospect.losses.registry" not in sys.modules:  # else it is asked, and knows of losses that were made since
        check_declared(config.loss.name, config.loss.hyperparameters)
    require_trackers(config.train.trackers)
    find_places(config.data.train)
    if isinstance(config.data.eval, str | list):
        find_places(config.data.eval)
    if is_path(config.model.name_or_path):  # the hub is asked later, and once
        of_images = find_adapter_of_images(config.model.name_or_path)
        source = of_images[0] if of_images else find_model(config.model.name_or_path)
        if config.data.max_length is not None:  # in a GGUF file the context takes seconds to find
            require_context(config.data.max_length, source.context)
