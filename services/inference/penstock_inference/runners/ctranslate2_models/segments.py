"""What Whisper's tokens for a window of sound say: segments with their times, and where the next window begins.

The rules are those of OpenAI's ``transcribe`` (whisper/transcribe.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Between two tokens of time.
SECONDS_A_TIMESTAMP = 0.02
#: A window moves on by this at least, whatever the tokens say, so that a sound has an end.
LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text.

    Attributes:
        start, end: in seconds of the window.
        tokens: of the text.
    """

    start: float
    end: float
    tokens: list[int]


def read_segments(tokens: Sequence[int], first_timestamp: int, seconds: float) -> tuple[list[Segment], float]:
    """Return the segments of a window, and by how many seconds the next one moves on.

    Two times side by side end one segment and begin the next. What follows the last such pair is cut off by the window's
    end: the next window begins there. A single time at the end says that nothing follows.

    Args:
        tokens: numbers; times are those from ``first_timestamp`` on.
        seconds: of the window that have sound.
    """
    if all(token >= first_timestamp for token in tokens):
        return [], seconds
    is_time = [token >= first_timestamp for token in tokens]
    ends_once = is_time[-2:] == [False, True]
    borders = [i for i in range(1, len(tokens)) if is_time[i] and is_time[i - 1]]
    if not borders:
        times = [token for token in tokens if token >= first_timestamp]
        end = _time(times[-1], first_timestamp) if times and times[-1] != first_timestamp else seconds
        text = [token for token in tokens if token < first_timestamp]
        return [Segment(0.0, min(end, seconds), text)] if text else [], seconds
    segments = []
    start = 0
    for border in [*borders, len(tokens)] if ends_once else borders:
        part = tokens[start:border]
        text = [token for token in part if token < first_timestamp]
        if text:
            first, last = _time(part[0], first_timestamp), _time(part[-1], first_timestamp)
            segments.append(Segment(first, min(last, seconds), text))
        start = border
    moved = seconds if ends_once else _time(tokens[start - 1], first_timestamp)
    return segments, min(max(moved, LEAST_SECONDS), seconds)


def _time(token: int, first_timestamp: int) -> float:
    return (token - first_timestamp) * SECONDS_A_TIMESTAMP
