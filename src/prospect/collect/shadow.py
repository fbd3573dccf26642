"""A model that answers a share of the requests a second time, unseen: people compare both answers afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

import orjson

from prospect.collect.canary import SHADOW, Canary
from prospect.collect.exchange import Exchange
from prospect.collect.metrics import Metrics
from prospect.collect.recorder import Recorder
from prospect.collect.refusals import Refusal
from prospect.collect.stream import parse
from prospect.collect.upstream import Upstream, UpstreamError

AT_ONCE = 4  # answers under way; more would take the upstream from people who wait
_OF_THE_CLIENT = ("stream", "stream_options", "n")  # how the answer comes, and how often
_HEADERS = {"content-type": "application/json"}

_log = logging.getLogger(__name__)


class Shadow:
    """Asks a model what another one has answered, in the background.

    Args:
        model: who is asked, and for which share of the answers.
        upstream: where.
        recorder: writes the turns.
        metrics: counts what was dropped.
    """

    def __init__(self, model: Canary, upstream: Upstream, recorder: Recorder, metrics: Metrics) -> None:
        self._model = model
        self._upstream, self._recorder, self._metrics = upstream, recorder, metrics
        self._under_way: set[asyncio.Task[None]] = set()

    def after(self, seen: Exchange) -> None:
        """Ask what was asked, once its answer is whole and was sent, and if its text may be kept; never wait for it."""
        whole = seen.asked.chat and seen.ended in ("stop", "length")
        if not (whole and seen.may_be_kept and self._model.takes(seen.id)):
            return
        if len(self._under_way) >= AT_ONCE:
            self._metrics.shadows_dropped.inc()
            return
        task = asyncio.ensure_future(self._answer(seen))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def stop(self) -> None:
        """End what is under way; it is not recorded."""
        for task in self._under_way:
            task.cancel()

    async def _answer(self, seen: Exchange) -> None:
        fields = {name: value for name, value in seen.asked.fields.items() if name not in _OF_THE_CLIENT}
        fields["model"] = self._model.model
        exchange = Exchange(
            dataclasses.replace(seen.asked, body=orjson.dumps(fields), fields=fields),
            seen.tenant,
            seen.consent,
            self._model.model,
            SHADOW,
            self._upstream.fingerprint(self._model.model),
            beside=seen.id,
        )
        try:
            await self._ask(exchange)
        except UpstreamError:
            exchange.failed = True
        except Refusal:
            return  # as for people, what was refused is no turn
        except Exception as error:
            _log.error("a shadow's answer failed: %s", type(error).__name__)  # no text of a turn
            return
        self._recorder.record(exchange)

    async def _ask(self, exchange: Exchange) -> None:
        reply = await self._upstream.ask("chat/completions", exchange.asked.body, _HEADERS)
        try:
            content = parse(await reply.whole())
            if reply.status >= 500 or not isinstance(content, dict):
                raise UpstreamError(502, "the upstream gave no answer.")
            if reply.status >= 300:
                raise Refusal(reply.status, "the upstream refused.")
            exchange.heard()
            exchange.answer.add(content)
            exchange.answer.done = True
        finally:
            reply.close()
