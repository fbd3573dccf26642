"""What the server counts, for Prometheus. No text and no name of a person is in it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MOST_MODELS = 50  # labels of models; clients choose the names, and those beyond are "other"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 20, 60, 300)


class Metrics:
    """The counters of one server.

    Args:
        waiting: how many writes wait for the store.
        open_answers: how many answers are under way.
    """

    def __init__(self, waiting: Callable[[], int], open_answers: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._models: set[str] = set()
        self._turns = Counter("prospect_turns", "Answers that ended.", ["model", "arm", "ended"], registry=registry)
        self._votes = Counter("prospect_votes", "Votes kept.", ["value", "model"], registry=registry)
        self._refused = Counter("prospect_refused", "Requests answered with an error.", ["status"], registry=registry)
        self.unrecorded = Counter("prospect_unrecorded_turns", "Turns that the store did not keep.", registry=registry)
        self.shadows_dropped = Counter(
            "prospect_shadows_dropped",
            "Answers of a shadow that were not asked for: too many were under way.",
            registry=registry,
        )
        self.overhead = Histogram(
            "prospect_overhead_seconds",
            "Time in the proxy, without the upstream's.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.upstream = Histogram(
            "prospect_upstream_seconds", "Time until the upstream's last byte.", buckets=_SECONDS, registry=registry
        )
        Gauge("prospect_queue_depth", "Writes that wait for the store.", registry=registry).set_function(waiting)
        Gauge("prospect_open_answers", "Answers under way.", registry=registry).set_function(open_answers)

    def turn(self, model: str, arm: str, ended: str) -> None:
        """Count a turn."""
        self._turns.labels(self._label(model), arm, ended).inc()

    def vote(self, value: int, model: str) -> None:
        """Count a vote that was kept on an answer of a model."""
        self._votes.labels({1: "up", -1: "down", 0: "retracted"}[value], self._label(model)).inc()

    def refused(self, status: int) -> None:
        """Count a request that was answered with an error of ours."""
        self._refused.labels(str(status)).inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def _label(self, model: str) -> str:
        if model not in self._models:
            if len(self._models) == MOST_MODELS:
                return "other"
            self._models.add(model)
        return model
