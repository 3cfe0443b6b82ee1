"""No line of a log, and no repetition of one, is longer than its bound."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from penstock_common.log_bounds import MAX_EXCEPTION, MAX_VALUE, REPETITIONS, RepetitionFilter
from penstock_common.telemetry import configure_logging


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a configured service prints."""
    written = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stdout", written)
    configure_logging("test")
    yield written
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_long_texts_lose_their_middle(output: io.StringIO) -> None:
    """In structlog's lines and in those of the standard library; both ends and the missing length are kept."""
    structlog.get_logger().info("request", path="/a" + "b" * 50_000 + "c")
    logging.getLogger("library").warning("odd: %s", "d" * 50_000)
    first, second = map(json.loads, output.getvalue().splitlines())
    assert first["path"].startswith("/ab") and first["path"].endswith("bc") and "characters left out" in first["path"]
    assert second["event"].startswith("odd: d")
    assert all(len(line) < 2 * MAX_VALUE for line in output.getvalue().splitlines())


def test_a_traceback_may_be_longer_but_not_endless(output: io.StringIO) -> None:
    """An exception's text can be what a caller sent."""
    try:
        raise ValueError("e" * 1_000_000)
    except ValueError:
        structlog.get_logger().exception("unhandled")
    line = output.getvalue()
    assert "Traceback" in line and MAX_VALUE < len(line) < 2 * MAX_EXCEPTION


def test_a_repeated_message_is_counted_instead() -> None:
    """A second has so many lines with a message; the next one tells how many there were more. Others are not touched."""
    now = [100.0]
    repetitions = RepetitionFilter(clock=lambda: now[0])

    def line(message: str, *arguments: object) -> str | None:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, message, arguments, None)
        return record.getMessage() if repetitions.filter(record) else None

    passed = [line("Invalid HTTP request from %s", i) for i in range(1000)]
    assert passed[:REPETITIONS] == [f"Invalid HTTP request from {i}" for i in range(REPETITIONS)]
    assert passed[REPETITIONS:] == [None] * (1000 - REPETITIONS)
    assert line("something else") == "something else"
    now[0] += 1.0
    assert line("Invalid HTTP request from %s", 7) == (
        f"Invalid HTTP request from 7 [{1000 - REPETITIONS} more were left out before]"
    )
    assert line("Invalid HTTP request from %s", 8) == "Invalid HTTP request from 8"
