"""Compressed bodies are decoded within bounds, and answers compressed if that is asked for and worth it."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_common.errors import PenstockError
from penstock_gateway.edge.content_encoding import FREE_BYTES, decode_body, encode_body

MB = 1024 * 1024
RATIO = 100
JSON = b'{"text": "hello", "number": 1.25},' * 4000


async def refused(body: bytes, encoding: bytes, limit: int = 8 * MB) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await decode_body(body, encoding, limit, RATIO)
    return caught.value


@pytest.mark.parametrize("content", [b"", b"{}", JSON, random.Random(1).randbytes(2 * MB)], ids=len)
async def test_bodies_are_decoded(content: bytes) -> None:
    """gzip and deflate of any size, in any case of their names; identity and nothing pass."""
    for encoding, body in (
        (b"gzip", gzip.compress(content)),
        (b" GZip ", gzip.compress(content)),
        (b"x-gzip", gzip.compress(content)),
        (b"deflate", zlib.compress(content)),
        (b"identity", content),
        (b"", content),
    ):
        assert await decode_body(body, encoding, 8 * MB, RATIO) == content


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"x" * 10_000, b"\xff"])
async def test_another_encoding_is_415(encoding: bytes) -> None:
    """The refusal says what is accepted, in its text and in its header."""
    error = await refused(b"x", encoding)
    assert (error.status, error.code) == (415, "unsupported-encoding")
    assert error.headers == {"Accept-Encoding": "gzip, deflate"}
    assert len(error.detail) < 200


async def test_a_body_is_bounded_by_its_decoded_size() -> None:
    """One byte beyond the limit is 413, whatever its size on the way."""
    content = random.Random(1).randbytes(2 * MB)
    assert await decode_body(gzip.compress(content), b"gzip", 2 * MB, RATIO) == content
    error = await refused(gzip.compress(content + b"x"), b"gzip", 2 * MB)
    assert (error.status, error.code) == (413, "body-too-large")
    assert error.extra == {"bound": "max_body_bytes", "limit": 2 * MB}
    assert (await refused(zlib.compress(bytes(1000)), b"deflate", 999)).status == 413


async def test_a_body_is_bounded_by_its_ratio() -> None:
    """Zeros may grow to a megabyte from nothing, and to no more than a hundred times their size beyond."""
    assert len(await decode_body(gzip.compress(bytes(FREE_BYTES)), b"gzip", 8 * MB, RATIO)) == FREE_BYTES
    error = await refused(gzip.compress(bytes(4 * MB)), b"gzip")
    assert (error.status, error.code) == (413, "body-too-large")
    assert error.extra == {"bound": "max_decoded_ratio", "limit": 100}


async def test_a_bomb_of_bombs_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of zeros is given up at the bound; no more is ever decoded."""
    stream = zlib.compressobj(9, wbits=31)
    bomb = b"".join([stream.compress(bytes(MB)) for _ in range(1024)]) + stream.flush()
    sizes: list[int] = []
    original = zlib.decompressobj

    class Recording:
        def __init__(self, wbits: int) -> None:
            self._stream = original(wbits)

        def decompress(self, data: bytes, most: int) -> bytes:
            decoded = self._stream.decompress(data, most)
            sizes.append(len(decoded))
            return decoded

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

    monkeypatch.setattr(zlib, "decompressobj", Recording)
    assert (await refused(bomb, b"gzip")).status == 413
    assert sizes == [8 * MB + 1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not compressed",
        gzip.compress(JSON)[:-1],
        gzip.compress(JSON)[:-8] + bytes(8),
        gzip.compress(JSON) + b"more",
        gzip.compress(b"a") + gzip.compress(b"b"),
    ],
)
async def test_a_broken_stream_is_400(body: bytes) -> None:
    """What is cut, corrupt, followed by something or not compressed at all is the caller's error."""
    error = await refused(body, b"gzip")
    assert (error.status, error.code) == (400, "bad-encoding")


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate"]))
async def test_any_bytes_are_decoded_or_refused(body: bytes, encoding: bytes) -> None:
    """No body makes the decoder fail in any other way."""
    try:
        await decode_body(body, encoding, 1000, RATIO)
    except PenstockError as err:
        assert err.status in (400, 413)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"gzip, deflate, br", b"gzip"),
        (b"deflate, GZIP;q=0.5", b"deflate"),
        (b"br;q=1.0, *;q=0.1", b"gzip"),
        (b"*, gzip;q=0", b"deflate"),
        (b"gzip ; q=0.000", b""),
        (b"gzip;q=high", b""),
        (b"br", b""),
        (b"identity", b""),
        (b"", b""),
        (b"," * 100_000, b""),
    ],
)
async def test_an_answer_is_encoded_as_the_client_likes(accepted: bytes, encoding: bytes) -> None:
    """The weights of Accept-Encoding choose between gzip, deflate and nothing."""
    for body in (JSON[:5000], JSON):
        sent, chosen = await encode_body(body, accepted)
        assert chosen == encoding
        assert await decode_body(sent, chosen, 8 * MB, RATIO) == body
        assert not chosen or len(sent) < len(body) / 5


async def test_an_answer_is_left_alone_if_little_is_won() -> None:
    """Small answers and those that do not shrink, as random floats do not, are sent as they are."""
    for body in (b"{}", JSON[:1000], random.Random(1).randbytes(100_000)):
        assert await encode_body(body, b"gzip") == (body, b"")
