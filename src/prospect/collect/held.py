"""The models in the memory of this process: those it began with, and those of a registry, which come and go."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from prospect.collect.local_job import LocalModel
from prospect.collect.promotion import source_of
from prospect.errors import ProspectError
from prospect.results.registry import RegistryEntry

_log = logging.getLogger(__name__)


class _Which(NamedTuple):
    """A model of a registry."""

    name: str
    source: str


class HeldModels:
    """Models in memory by their names. It belongs to one thread, and loads on another.

    Args:
        given: models that stay, whatever a registry says.
    """

    def __init__(self, given: Sequence[LocalModel]) -> None:
        self._models = {model.name: model for model in given}
        self._given = frozenset(self._models)
        self._sources = {name: source_of(name) for name in self._models}
        self._loading: dict[_Which, Future[LocalModel]] = {}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="model-loader")

    @property
    def names(self) -> list[str]:
        """Whom one can ask."""
        return list(self._models)

    def named(self, name: str) -> LocalModel:
        """Return a model; the first one where none has the name."""
        return self._models.get(name) or next(iter(self._models.values()))

    def hold(self, wanted: Sequence[RegistryEntry], spare: str | None) -> set[str]:
        """Return the names of the wanted models that are here; the others are loaded meanwhile, one after another.

        Once all are here, models that are neither wanted nor spare are forgotten: until then one of them answers. One
        that cannot be loaded is tried again when it is wanted anew.
        """
        loads = {_Which(entry.model, entry.source) for entry in wanted}
        for which in set(self._loading) - loads:
            self._loading.pop(which).cancel()
        here = {which.name for which in loads if self._has(which)}
        if len(here) == len(loads):
            for name in set(self._models) - self._given - here - {spare}:
                del self._models[name], self._sources[name]
        return here

    def load(self, entry: RegistryEntry) -> None:
        """Load a model of a registry now.

        Raises:
            ProspectError: it cannot be loaded.
        """
        which = _Which(entry.model, entry.source)
        self._put(which, self._same(which) or LocalModel.load(which.source))

    def close(self) -> None:
        """Wait for what is loading."""
        self._loader.shutdown(cancel_futures=True)

    def _has(self, which: _Which) -> bool:
        if which.name in self._given or self._sources.get(which.name) == which.source:
            return True
        if (same := self._same(which)) is not None:
            self._put(which, same)
            return True
        if which not in self._loading:
            self._loading[which] = self._loader.submit(_load, which)
        loading = self._loading[which]
        if not loading.done() or loading.exception() is not None:
            return False
        self._put(which, self._loading.pop(which).result())
        return True

    def _same(self, which: _Which) -> LocalModel | None:
        """Return the weights where they are here under another name."""
        name = next((name for name, source in self._sources.items() if source == which.source), None)
        return None if name is None else self._models[name]

    def _put(self, which: _Which, model: LocalModel) -> None:
        self._models[which.name], self._sources[which.name] = replace(model, name=which.name), which.source


def _load(which: _Which) -> LocalModel:
    """Load a model; what goes wrong is logged, for nobody waits for it."""
    try:
        return LocalModel.load(which.source)
    except Exception as error:
        reason = str(error) if isinstance(error, ProspectError) else type(error).__name__
        _log.error("%s cannot answer: %s", which.name, reason)
        raise
