"""A line in the log for each request, or for each that failed."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

logger = structlog.get_logger()

#: What no rate limit bounds: no key, or more requests than its limit allows.
_UNBOUNDED = frozenset({401, 429})
#: Characters of a path.
_PATH = 200


class AccessLog:
    """Writes the lines.

    Of refusals that cost a caller nothing, the first of each second are written in full, and the others counted in
    one line at the second's end; otherwise callers without a key could fill the disk. Metrics count all.

    Args:
        log_all: whether requests that succeeded have a line too.
        refusals: lines a second of each status that is limited.
    """

    def __init__(self, *, log_all: bool, refusals: int) -> None:
        self._log_all = log_all
        self._refusals = refusals
        #: Requests of the present second, by limited status.
        self._refused: Counter[int] = Counter()

    def write(self, route: str, path: str, status: int, code: str | None, seconds: float, request_id: bytes) -> None:
        """Write the line of a request that was answered after ``seconds``, if it gets one."""
        if status < 400 and not self._log_all:
            return
        if status in _UNBOUNDED and self._is_left_out(status):
            return
        logger.info(
            "request",
            route=route,
            path=path[:_PATH],
            status=status,
            code=code,
            ms=round(seconds * 1000, 2),
            request_id=request_id.decode(),
        )

    def _is_left_out(self, status: int) -> bool:
        if not self._refused:
            asyncio.get_running_loop().call_later(1.0, self.end_second)
        self._refused[status] += 1
        return self._refused[status] > self._refusals

    def end_second(self) -> None:
        """Report what was left out of the second that ends."""
        for status, count in self._refused.items():
            if count > self._refusals:
                logger.info("requests left out of the log", status=status, count=count - self._refusals)
        self._refused.clear()
