"""A model of this installation for which remotes stand in: local first, then each remote in turn.

Remotes are asked before the pods if more rows than ``in_flight`` are under way here, and after them if no pod can
answer (503) or the answer has not begun after ``wait_seconds``. If no remote answers or the budget is spent, the pods'
answer counts, whatever it is. Once an answer has begun, it stays where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import structlog
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_common.remotes import Fallback
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.remotes.budget import Budget
from penstock_gateway.remotes.embeddings import RemoteEmbeddings, stands_in_for_embeddings
from penstock_gateway.remotes.server import RemoteServer
from penstock_gateway.remotes.text import RemoteText, stands_in_for_text
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

logger = structlog.get_logger()

FALLBACKS = Counter(
    "penstock_gateway_fallbacks_total",
    "Requests to a model of this installation that a remote answered, and why: busy, slow or away.",
    ["model", "remote", "reason"],
)
SPENT = Counter(
    "penstock_gateway_fallback_budget_refusals_total",
    "Requests that no remote was asked for because the day's budget was spent.",
    ["model"],
)

Ask = Callable[[Servable], AsyncGenerator[RawOutputs, None]]


class StandIns:
    """The remotes of one model, and what this gateway knows of its load.

    Args:
        servers: in the order in which they are asked.
        gateways: how many gateways share the budget now.
    """

    def __init__(
        self, model: str, fallback: Fallback, servers: Sequence[RemoteServer], gateways: Callable[[], int]
    ) -> None:
        self.model = model
        self.servers = servers
        self.budget = Budget(fallback, gateways)
        self.in_flight = 0  # rows that the pods are asked

    @property
    def fallback(self) -> Fallback:
        return self.budget.fallback

    def update(self, fallback: Fallback, servers: Sequence[RemoteServer]) -> None:
        """Take over what the list says now; what was spent of the budget stays spent."""
        self.budget.fallback = fallback
        self.servers = servers

    def servables(self, signature: Signature) -> list[tuple[str, Servable]]:
        """Those that can answer in the form of a signature, by the remotes' names."""
        found: list[tuple[str, Servable]] = []
        for server in self.servers:
            if server.remote.width is not None:
                if stands_in_for_embeddings(signature, server.remote):
                    found.append((server.name, RemoteEmbeddings(self.model, server, signature, self.budget.spend)))
            elif stands_in_for_text(signature):
                found.append((server.name, RemoteText(self.model, server, signature, self.budget.spend)))
        return found


class WithStandIns:
    """A servable of pods with remotes behind it.

    Args:
        version: the one that was resolved.
        signature: its own, or that of a remote if it has none.
        local: None if no version is in effect.
        refusal: why it is not.
    """

    def __init__(
        self,
        stand_ins: StandIns,
        version: str,
        signature: Signature,
        local: Servable | None,
        refusal: PenstockError | None = None,
    ) -> None:
        self.model = stand_ins.model
        self.version = version
        self.signature = signature
        self._stand_ins = stand_ins
        self._local = local
        self._refusal = refusal

    async def ready(self) -> bool:
        return (self._local is not None and await self._local.ready()) or any(s.ready for s in self._stand_ins.servers)

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        return asyncio.ensure_future(self._infer(rows, deadline))

    async def _infer(self, rows: Rows, deadline: float) -> RawOutputs:
        async def ask(servable: Servable) -> AsyncGenerator[RawOutputs, None]:
            yield await servable.infer(rows, deadline)

        attempt = await self._begin(rows, ask)
        try:
            outputs = await attempt.first()
        finally:
            await attempt.close()
        assert outputs is not None  # ``ask`` yields once
        return outputs

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        attempt = await self._begin(rows, lambda servable: servable.stream(rows, deadline))
        try:
            outputs = await attempt.first()
            while outputs is not None:
                yield outputs
                outputs = await attempt.next()
        finally:
            await attempt.close()

    async def _begin(self, rows: Rows, ask: Ask) -> _Attempt:
        """The first answer that has begun.

        Raises:
            PenstockError: that of the pods, if there is none.
        """
        fallback = self._stand_ins.fallback
        if self._local is None:
            assert self._refusal is not None
            if attempt := await self._begin_elsewhere(rows, ask, "away"):
                return attempt
            raise self._refusal
        busy = fallback.in_flight is not None and self._stand_ins.in_flight + rows.count > fallback.in_flight
        if busy and (attempt := await self._begin_elsewhere(rows, ask, "busy")):
            return attempt
        local = _Attempt(ask(self._local), rows.count, self._stand_ins)
        try:
            rows.served_by = "local"
            begun, reason = await self._begin_here(local, None if busy else fallback.wait_seconds)
            if begun or busy:
                return local
            if attempt := await self._begin_elsewhere(rows, ask, reason):
                await local.close()
                return attempt
            rows.served_by = "local"
            return local
        except BaseException:
            await local.close()
            raise

    async def _begin_here(self, local: _Attempt, seconds: float | None) -> tuple[bool, str]:
        """Whether the pods' answer has begun within ``seconds``, and why it has not."""
        try:
            return await local.begun(seconds), "slow"
        except PenstockError as err:
            if err.status != 503:
                raise
            return False, "away"

    async def _begin_elsewhere(self, rows: Rows, ask: Ask, reason: str) -> _Attempt | None:
        """The answer of the first remote that gives one."""
        budget = self._stand_ins.budget
        for name, servable in self._stand_ins.servables(self.signature):
            if not budget.take():
                SPENT.labels(self.model).inc()
                return None
            attempt = _Attempt(ask(servable))
            try:
                await attempt.begun(None)
            except PenstockError as err:
                budget.give_back()
                await attempt.close()
                logger.info("a remote did not stand in", model=self.model, remote=name, code=err.code)
            except BaseException:
                budget.give_back()
                await attempt.close()
                raise
            else:
                FALLBACKS.labels(self.model, name, reason).inc()
                return attempt
        return None


class _Attempt:
    """An answer, whose beginning is awaited apart from the rest.

    Args:
        rows: that it counts in ``stand_ins.in_flight`` until it is closed.
    """

    def __init__(
        self, chunks: AsyncGenerator[RawOutputs, None], rows: int = 0, stand_ins: StandIns | None = None
    ) -> None:
        self._chunks = chunks
        self._first = asyncio.ensure_future(anext(chunks, None))
        self._rows = rows
        self._stand_ins = stand_ins
        if stand_ins is not None:
            stand_ins.in_flight += rows

    async def begun(self, seconds: float | None) -> bool:
        """Whether the first chunk is there within ``seconds``; raises what it raised."""
        await asyncio.wait([self._first], timeout=seconds)
        if not self._first.done():
            return False
        self._first.result()
        return True

    async def first(self) -> RawOutputs | None:
        """The first chunk; None if there is none."""
        return await self._first

    async def next(self) -> RawOutputs | None:
        """The chunk after the last one; None at the end."""
        return await anext(self._chunks, None)

    async def close(self) -> None:
        self._first.cancel()
        await asyncio.gather(self._first, return_exceptions=True)
        await self._chunks.aclose()
        if self._stand_ins is not None:
            self._stand_ins.in_flight -= self._rows
            self._stand_ins = None
