"""What a recipe is doing, for those who wait: lines for the program that makes it."""

from __future__ import annotations

import json
import logging

#: Recipes log what they do here; a recipe that is done within seconds need not.
log = logging.getLogger("penstock_training.recipes")


class Share:
    """Logs how much of a long loop is done, at each tenth.

    Args:
        what: the loop does, such as ``reads sentences``.
        total: steps, at least 1.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._tenths = 0

    def done(self, steps: int) -> None:
        """Take note that so many steps are done in all."""
        tenths = 10 * steps // self._total
        if tenths > self._tenths:
            self._tenths = tenths
            log.info("%s: %d %%", self._what, 10 * tenths)


class JsonLines(logging.Handler):
    """Prints each message as a line of JSON, ``{"progress": "..."}``."""

    def emit(self, record: logging.LogRecord) -> None:
        print(json.dumps({"progress": record.getMessage()}), flush=True)
