"""The rows of a version in pods: which share a message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import Version
from penstock_gateway.dataplane.coalescer import Coalescer
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
