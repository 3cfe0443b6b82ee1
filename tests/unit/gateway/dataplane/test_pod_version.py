"""The rows of a version in pods: which share a message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import Version
from penstock_common.tensors import pack_bytes
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.large_request import LargeRequest
from penstock_gateway.dataplane.pod_version import PodVersion
from penstock_gateway.signature.rows import RawOutputs, Rows

MANIFEST = Manifest(
    Format.ONNX,
    "m.onnx",
    Task.TENSOR,
    [Field("x", FieldKind.TENSOR, "FP32", shape=[-1])],
    [Output("y", "FP32", ["boxes", 4])],
)


async def test_rows_of_different_shapes_travel_apart() -> None:
    """Those of one shape leave together, whatever waits between them."""
    bundles: list[list[Any]] = []

    async def send(bundle: Sequence[Rows], deadline: float) -> list[RawOutputs]:
        bundles.append([rows.shapes for rows in bundle])
        return [RawOutputs([b""], [(0, 4)]) for _ in bundle]

    coalescer = Coalescer(send, blames_item=lambda _: False, max_outstanding=lambda: 1)
    version = cast(Version, SimpleNamespace(model="m", version=1, manifest=MANIFEST))
    pods = PodVersion(version, coalescer, cast(Any, None), cast(Any, None))
    rows = [Rows([bytes(4 * size)], 1, shapes=((size,),), principal="ann") for size in (1, 2, 1, 2)]
    await asyncio.gather(*[pods.infer(own, time.monotonic() + 30) for own in rows])
    assert bundles == [[((1,),), ((1,),)], [((2,),), ((2,),)]]


async def test_images_of_many_pixels_travel_apart() -> None:
    """A bundle has no more pixels than its bytes are worth, however small the files are."""
    bundles: list[int] = []

    async def send(bundle: Sequence[Rows], deadline: float) -> list[RawOutputs]:
        bundles.append(len(bundle))
        return [RawOutputs([bytes(4)]) for _ in bundle]

    coalescer = Coalescer(send, blames_item=lambda _: False, max_outstanding=lambda: 1, max_size=8 * 1024 * 1024)
    version = cast(Version, SimpleNamespace(model="m", version=1, manifest=MANIFEST))
    pods = PodVersion(version, coalescer, cast(Any, None), cast(Any, None))
    rows = [Rows([b"few"], 1, image_work=work, principal="ann") for work in (8_000_000, 8_000_000, 9, 9, 9)]
    await asyncio.gather(*[pods.infer(own, time.monotonic() + 30) for own in rows])
    assert bundles == [1, 4]


class Doubling:
    """Pods that double FP32 rows, and keep a call until they are released."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.gate = asyncio.Event()
        self.broken: set[float] = set()

    async def send(self, bundle: Sequence[Rows], deadline: float) -> list[RawOutputs]:
        values = [np.frombuffer(rows.inputs[0], "<f4") for rows in bundle]
        call = np.concatenate(values).tolist()
        self.calls.append(call)
        await self.gate.wait()
        if self.broken & set(call):
            raise PenstockError(422, "bad-row", "a row is bad")
        return [RawOutputs([(2 * own).astype("<f4").tobytes()]) for own in values]

    def version(self, max_batch_size: int = 4, max_outstanding: int = 2, max_queued_rows: int = 4096) -> PodVersion:
        manifest = Manifest(
            Format.ONNX,
            "m.onnx",
            Task.TENSOR,
            [Field("x", FieldKind.TENSOR, "FP32", shape=[1])],
            [Output("y", "FP32", [1])],
            batching=Batching(max_batch_size),
        )
        coalescer: Coalescer[Rows, RawOutputs] = Coalescer(
            self.send,
            blames_item=lambda _: False,
            max_outstanding=lambda: max_outstanding,
            max_rows=max_batch_size,
            max_queued_rows=max_queued_rows,
        )
        version = cast(Version, SimpleNamespace(model="m", version=1, manifest=manifest))
        return PodVersion(version, coalescer, cast(Any, None), cast(Any, None))


def numbers(*values: float, principal: str = "ann") -> Rows:
    return Rows([np.array(values, "<f4").tobytes()], len(values), principal=principal)


def values(answer: RawOutputs) -> list[float]:
    return list(np.frombuffer(answer.tensors[0], "<f4").tolist())


async def test_a_large_request_leaves_in_parts_and_is_answered_as_one() -> None:
    """Each call has the rows of a run at most, and the rows of the answer are in the request's order."""
    pods = Doubling()
    pods.gate.set()
    answer = await pods.version().infer(numbers(*range(10)), time.monotonic() + 30)
    assert values(answer) == [2.0 * n for n in range(10)]
    assert pods.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_small_request_overtakes_the_rest_of_a_large_one() -> None:
    """One caller's row leaves before the parts of another's request that wait."""
    pods = Doubling()
    version = pods.version(max_outstanding=1)
    large = version.infer(numbers(*range(100)), time.monotonic() + 30)
    await asyncio.sleep(0)
    small = version.infer(numbers(500, principal="bob"), time.monotonic() + 30)
    await asyncio.sleep(0)
    pods.gate.set()
    assert values(await small) == [1000.0]
    assert not large.done()
    assert len(values(await large)) == 100
    assert [500.0] in pods.calls[:3]


async def test_a_large_request_is_refused_whole() -> None:
    """If the queue has no room for all of its rows, none of them is sent."""
    pods = Doubling()
    version = pods.version(max_queued_rows=8)
    first = version.infer(numbers(1, 2, 3), time.monotonic() + 30)
    with pytest.raises(PenstockError, match="try again shortly"):
        version.infer(numbers(*range(6)), time.monotonic() + 30)
    pods.gate.set()
    assert values(await first) == [2.0, 4.0, 6.0]
    assert pods.calls == [[1, 2, 3]]


async def test_a_part_that_fails_fails_the_request_and_drops_the_rest() -> None:
    """The parts that wait are not sent, and the error is the request's."""
    pods = Doubling()
    pods.broken = {0.0}
    version = pods.version(max_outstanding=1)
    answer = version.infer(numbers(*range(40)), time.monotonic() + 30)
    pods.gate.set()
    with pytest.raises(PenstockError, match="a row is bad"):
        await answer
    async with asyncio.timeout(10):
        while version.coalescer.queued or version.coalescer.outstanding:
            await asyncio.sleep(0.01)
    assert len(pods.calls) <= 2


async def test_a_client_that_leaves_takes_all_parts_back() -> None:
    """Cancelling the answer empties the queue."""
    pods = Doubling()
    version = pods.version(max_outstanding=1)
    answer = version.infer(numbers(*range(40)), time.monotonic() + 30)
    await asyncio.sleep(0)
    answer.cancel()
    pods.gate.set()
    async with asyncio.timeout(10):
        while version.coalescer.queued or version.coalescer.outstanding:
            await asyncio.sleep(0.01)
    assert len(pods.calls) == 1


async def test_texts_and_absent_inputs_are_cut_by_rows() -> None:
    """Each part has its texts, and an input that the request lacks stays away from all."""
    manifest = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.TENSOR,
        [
            Field("words", FieldKind.TENSOR, "BYTES", shape=[2]),
            Field("scale", FieldKind.TENSOR, "FP32", shape=["n"]),
        ],
        [Output("y", "FP32")],
        batching=Batching(2),
    )
    texts = [b"a", b"bb", b"", b"dddd", b"e", b"f"]
    parts = LargeRequest(manifest).cut(Rows([pack_bytes(texts), b""], 3, shapes=((2,), None), principal="ann"))
    assert [(part.count, part.inputs, part.shapes, part.principal) for part in parts] == [
        (2, [pack_bytes(texts[:4]), b""], ((2,), None), "ann"),
        (1, [pack_bytes(texts[4:]), b""], ((2,), None), "ann"),
    ]


def test_requests_whose_answers_cannot_be_joined_stay_whole() -> None:
    """Outputs of varying sizes, and models without a batch."""
    assert LargeRequest(MANIFEST).most_rows is None
