"""What can be refused of a run in a second: before torch is imported, data are read or weights are loaded.

`prepare` asks the same again, of whoever trains without the command line.
"""

from __future__ import annotations

import sys

from prospect.config import Config
from prospect.errors import ModelError
from prospect.feedback.files.sources import find_places
from prospect.losses.declared import check_declared
from prospect.model_source import ModelSource, find_adapter_of_images, find_model, is_path, require_context
from prospect.models.uploading import require_hub
from prospect.training.trackers import require_trackers


def refuse_early(config: Config) -> None:
    """Refuse a recipe that names what is not there, or asks of the model what it cannot.

    Raises:
        ConfigError: an unknown loss or hyperparameter, a tracker that is not installed, `data.max_length` above the
            context that a local model's config.json names.
        DataError: no such file of feedback.
        ModelError: no such model folder; or the model is to go to the hub, and could not.
        UsageError: the same, for want of a token or of a private repository.
    """
    if "prospect.losses.registry" not in sys.modules:  # else it is asked, and knows of losses that were made since
        check_declared(config.loss.name, config.loss.hyperparameters)
    require_trackers(config.train.trackers)
    if config.push_to_hub is not None:
        require_hub(config.push_to_hub)
    find_places(config.data.train)
    if isinstance(config.data.eval, str | list):
        find_places(config.data.eval)
    if is_path(config.model.name_or_path):  # the hub is asked later, and once
        of_images = find_adapter_of_images(config.model.name_or_path)
        source = of_images[0] if of_images else find_model(config.model.name_or_path)
        if config.push_to_hub is not None:
            _require_shared_base(config, source)
        if config.data.max_length is not None:  # in a GGUF file the context takes seconds to find
            require_context(config.data.max_length, source.context)


def _require_shared_base(config: Config, source: ModelSource) -> None:
    """Refuse to train for the hub an adapter on what only this machine has."""
    merged = source.kind == "adapter" and (config.model.lora is not None or config.model.adapter == "merge")
    adapter = config.model.lora is not None or (source.kind == "adapter" and not merged)
    on_the_hub = source.root.kind == "model" and not source.root.is_local and not merged
    if adapter and source.root.kind != "pipeline" and not on_the_hub:
        raise ModelError(
            f"push_to_hub: an adapter on {source.name} would go there, which nobody else could load it on. Train from "
            "the base's hub name, train all weights, or leave push_to_hub out and merge first: prospect merge RUN -o "
            "DIR, then prospect push DIR OWNER/NAME."
        )
