"""Admission from this process's memory: the embedded default."""

from __future__ import annotations

from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.admission import Usage
from penstock_gateway.limits.headers import rate_limited, ratelimit_headers
from penstock_gateway.limits.token_bucket import TokenBuckets


class ModelRows:
    """A model's rows in this gateway."""

    __slots__ = ("answered", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self.answered = 0


class LocalLease:
    """What one request has cost its principal, and its rows while they are in flight."""

    __slots__ = ("_admission", "_cost", "_model", "_principal", "_rows", "_state")

    def __init__(self, admission: LocalAdmission, principal: Principal, cost: int) -> None:
        self._admission = admission
        self._principal = principal
        self._cost = 0
        self._model: ModelRows | None = None
        self._rows = 0
        self._charge(cost)

    def grow(self, size: int) -> None:
        self._charge(self._admission.cost_of_bytes(size))

    async def admit(self, model: str, rows: int) -> None:
        self._charge(self._rows + rows)
        self._model = self._admission.model(model)
        self._model.in_flight += rows
        self._rows += rows

    def headers(self) -> list[tuple[bytes, bytes]]:
        return ratelimit_headers(self._state)

    def settle(self, usage: Usage) -> None:
        if self._model is not None:
            self._model.in_flight -= self._rows
            self._model.answered += usage.rows
        if usage.refused and self._cost > 1:
            self._admission.buckets.give_back(self._principal, self._cost - 1)

    def _charge(self, cost: int) -> None:
        """Raise what the request costs to ``cost``."""
        if cost <= self._cost:
            return
        self._state = self._admission.buckets.take(self._principal, cost, self._cost)
        if not self._state.allowed:
            raise rate_limited(self._state, cost, self._admission.bytes_per_row)
        self._cost = cost


class LocalAdmission:
    """Refuses a request early for its rate, and counts its rows while it is in flight.

    A request costs its rows, or one for each started ``bytes_per_row`` of its body if that is more. What its
    headers say is charged before its body is read, and its rows once they are known. One that is refused for
    what it holds has cost the bytes, which were read. One that is answered with 503 has cost 1.

    How many rows may wait for a model is bounded by that model's queue; see ``dataplane.coalescer``.
    """

    def __init__(self, buckets: TokenBuckets, bytes_per_row: int = 64 * 1024) -> None:
        self.buckets = buckets
        self.bytes_per_row = bytes_per_row
        self._models: dict[str, ModelRows] = {}

    def arrive(self, principal: Principal, size: int) -> LocalLease:
        return LocalLease(self, principal, self.cost_of_bytes(size))

    def cost_of_bytes(self, size: int) -> int:
        """Rows that a body of ``size`` bytes counts as; 1 at least."""
        return -(-size // self.bytes_per_row) or 1

    def model(self, name: str) -> ModelRows:
        rows = self._models.get(name)
        if rows is None:
            rows = self._models[name] = ModelRows()
        return rows

    def rows(self) -> list[tuple[str, ModelRows]]:
        """The rows of each model that was asked; also called by the thread that answers Prometheus."""
        return list(self._models.items())
