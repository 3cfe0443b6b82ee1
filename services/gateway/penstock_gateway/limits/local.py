"""Admission from this process's memory: the embedded default."""

from __future__ import annotations

from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.admission import Cost, Usage
from penstock_gateway.limits.headers import rate_limited, ratelimit_headers
from penstock_gateway.limits.token_bucket import TokenBuckets


class ModelRows:
    """A model's rows in this gateway."""

    __slots__ = ("answered", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self.answered = 0


class LocalLease:
    """Rows of one request, in flight until it is settled."""

    __slots__ = ("_model", "_rows")

    def __init__(self, model: ModelRows, rows: int) -> None:
        self._model = model
        self._rows = rows
        model.in_flight += rows

    def settle(self, usage: Usage) -> None:
        self._model.in_flight -= self._rows
        self._model.answered += usage.rows


class LocalAdmission:
    """Refuses a request early for its rate, and counts its rows while it is in flight.

    How many rows may wait for a model is bounded by that model's queue; see ``dataplane.coalescer``.
    """

    def __init__(self, buckets: TokenBuckets) -> None:
        self._buckets = buckets
        self._models: dict[str, ModelRows] = {}

    def arrive(self, principal: Principal) -> list[tuple[bytes, bytes]]:
        state = self._buckets.take(principal)
        if not state.allowed:
            raise rate_limited(state)
        return ratelimit_headers(state)

    async def admit(self, principal: Principal, model: str, cost: Cost) -> LocalLease:
        rows = self._models.get(model)
        if rows is None:
            rows = self._models[model] = ModelRows()
        return LocalLease(rows, cost.rows)

    def rows(self) -> list[tuple[str, ModelRows]]:
        """The rows of each model that was asked; also called by the thread that answers Prometheus."""
        return list(self._models.items())
