"""Whisper's tokens of a window become segments, and say where the next window begins."""

from __future__ import annotations

import pytest

from penstock_inference.runners.ctranslate2_models.segments import LEAST_SECONDS, Segment, read_segments

FIRST = 1000


def time(seconds: float) -> int:
    return FIRST + round(seconds / 0.02)


@pytest.mark.parametrize(
    ("tokens", "segments", "moved"),
    [
        # All of the window: nothing follows the single time at the end.
        ([time(0), 1, 2, time(4.5)], [Segment(0, 4.5, [1, 2])], 30),
        # Two segments, and nothing follows.
        (
            [time(0), 1, time(2), time(3), 2, time(5)],
            [Segment(0, 2, [1]), Segment(3, 5, [2])],
            30,
        ),
        # What follows the last pair is cut off by the end: the next window begins there.
        ([time(0), 1, time(2), time(2), 2], [Segment(0, 2, [1])], 2),
        ([time(0), 1, time(2), time(25), 2, time(28), time(28)], [Segment(0, 2, [1]), Segment(25, 28, [2])], 28),
        # Without times, the text is that of the whole window.
        ([1, 2], [Segment(0, 30, [1, 2])], 30),
        ([time(0), 1, 2], [Segment(0, 30, [1, 2])], 30),
        # Silence.
        ([], [], 30),
        ([time(0), time(30)], [], 30),
    ],
)
def test_segments_of_a_window(tokens: list[int], segments: list[Segment], moved: float) -> None:
    """As OpenAI's own code has it."""
    found, by = read_segments(tokens, FIRST, 30.0)
    assert [(s.start, s.end, s.tokens) for s in found] == [
        (pytest.approx(s.start), pytest.approx(s.end), s.tokens) for s in segments
    ]
    assert by == pytest.approx(moved)


@pytest.mark.parametrize("tokens", [[time(0), time(0), 1], [time(0), 1, time(0.1), time(0.1), 2]])
def test_a_window_always_moves_on(tokens: list[int]) -> None:
    """Times that stay where they are do not hold up a sound."""
    assert read_segments(tokens, FIRST, 30.0)[1] == LEAST_SECONDS


def test_a_sound_that_ends_within_the_window() -> None:
    """No segment is longer than what there is, and the last window is not passed."""
    found, moved = read_segments([time(0), 1, time(29)], FIRST, 7.5)
    assert (found[0].end, moved) == (7.5, 7.5)
    assert read_segments([time(0), 1, time(9), time(9), 2], FIRST, 7.5)[1] == 7.5
