"""How many streams may be open."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from prometheus_client import REGISTRY

from penstock_common.errors import PenstockError
from penstock_gateway.dataplane.open_streams import OpenStreams


def value(name: str) -> float:
    return REGISTRY.get_sample_value(f"penstock_gateway_{name}") or 0.0


def test_one_key_cannot_have_all() -> None:
    """It is refused at its bound, another is not; a stream that ends makes room."""
    streams = OpenStreams(3, 2)
    with ExitStack() as anns:
        for _ in range(2):
            anns.enter_context(streams.opened("ann"))
        with pytest.raises(PenstockError) as caught, streams.opened("ann"):
            pass
        assert (caught.value.status, caught.value.code) == (429, "too-many-streams")
        assert caught.value.extra["bound"] == "max_streams_per_key"
        with streams.opened("bob"):
            pass
    with streams.opened("ann"):
        pass


def test_there_is_a_bound_for_all() -> None:
    """503, whoever asks."""
    streams = OpenStreams(1, 1)
    before = value("streams_open")
    with streams.opened("ann"):
        assert value("streams_open") == before + 1
        with pytest.raises(PenstockError) as caught, streams.opened("bob"):
            pass
        assert (caught.value.status, caught.value.extra["bound"]) == (503, "max_streams")
    assert value("streams_open") == before


def test_a_stream_that_fails_is_not_open_any_more() -> None:
    """Whatever ended it; its first chunk is measured once."""
    streams = OpenStreams(1, 1)
    chunks, firsts = value("stream_chunks_total"), value("first_chunk_seconds_count")
    with pytest.raises(ValueError), streams.opened("ann") as stream:
        stream.count_chunk()
        stream.count_chunk()
        raise ValueError
    with streams.opened("ann"):
        pass
    assert (value("stream_chunks_total"), value("first_chunk_seconds_count")) == (chunks + 2, firsts + 1)
