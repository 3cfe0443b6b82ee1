"""Events out of bytes, however they are cut."""

from __future__ import annotations

import pytest

from penstock_gateway.remotes.event_reader import MAX_EVENT_BYTES, EventReader, EventTooLargeError

STREAM = b': a comment\n\ndata: {"a": 1}\r\n\r\nevent: error\nid: 7\ndata:two\ndata: lines\n\n\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_events_are_the_same_in_pieces_of_any_size(size: int) -> None:
    """Comments and names are left out, and the lines of one event are joined."""
    reader = EventReader()
    pieces = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert [data for piece in pieces for data in reader.feed(piece)] == [b'{"a": 1}', b"two\nlines", b"[DONE]"]


def test_an_event_without_its_empty_line_is_not_one() -> None:
    """What a connection that broke has left behind is not passed on."""
    assert list(EventReader().feed(b"data: half\n")) == []


@pytest.mark.parametrize("line", [b"x", b"data: x\n"])
def test_an_event_is_bounded(line: bytes) -> None:
    """In one line that never ends, and in lines without an end."""
    reader = EventReader()
    with pytest.raises(EventTooLargeError):
        for _ in range(MAX_EVENT_BYTES // len(line)):
            list(reader.feed(line * 1000))
