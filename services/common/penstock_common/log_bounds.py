"""Bounds on what the logs take: the length of a line, and repetitions of a library's message."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog

#: Characters of one value of a line.
MAX_VALUE = 1_000
#: Characters of a traceback.
MAX_EXCEPTION = 16_000
#: Lines a second with the same message of the standard library's loggers, e.g. uvicorn's for malformed requests.
REPETITIONS = 10

_SECOND = 1.0
_MESSAGES = 256  # remembered at once


def shorten_values(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut the middle out of long texts, which may come from a caller."""
    for name, value in event.items():
        if isinstance(value, str):
            most = MAX_EXCEPTION if name == "exception" else MAX_VALUE
            if len(value) > most:
                left_out = len(value) - most
                event[name] = f"{value[: most // 2]} [{left_out} characters left out] {value[-most // 2 :]}"
    return event


class RepetitionFilter(logging.Filter):
    """Drops what repeats a message too often in a second; the next line with it has the number that was dropped."""

    def __init__(self, repetitions: int = REPETITIONS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._repetitions = repetitions
        self._clock = clock
        self._lines: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()  # start of the second, count

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        key = (record.name, str(record.msg))
        start, count = self._lines.pop(key, (now, 0))
        if now - start >= _SECOND:
            if count > self._repetitions:
                record.msg = f"{record.getMessage()} [{count - self._repetitions} more were left out before]"
                record.args = ()
            start, count = now, 0
        self._lines[key] = (start, count + 1)
        if len(self._lines) > _MESSAGES:
            self._lines.popitem(last=False)
        return count < self._repetitions
