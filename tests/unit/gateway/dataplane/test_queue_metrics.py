"""What Prometheus is told of the gateway's queues."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import Version
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.pod_version import PodVersion
from penstock_gateway.dataplane.queue_metrics import QueueMetrics
from penstock_gateway.limits.admission import Usage
from penstock_gateway.limits.local import LocalAdmission
from penstock_gateway.limits.token_bucket import TokenBuckets
from penstock_gateway.signature.rows import RawOutputs, Rows

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)


class OneVersion:
    """A catalog of one version."""

    def __init__(self, servable: PodVersion) -> None:
        self._servable = servable

    def servables(self) -> list[PodVersion]:
        return [self._servable]


def values(metrics: QueueMetrics) -> dict[str, float]:
    """Each series by its name; every one has the labels that it should."""
    samples = [sample for family in metrics.collect() for sample in family.samples]
    for sample in samples:
        assert sample.labels["model"] == "spam"
        assert sample.labels.get("version", "3") == "3"
    return {sample.name: sample.value for sample in samples}


async def ready() -> bool:
    return True


async def test_rows_that_wait_calls_under_way_and_rows_in_flight() -> None:
    """With one call under way and rows behind it, each series has its number, by model and version."""
    go = asyncio.Event()

    async def send(items: Sequence[Rows], deadline: float) -> list[RawOutputs]:
        await go.wait()
        return [[] for _ in items]

    coalescer: Coalescer[Rows, RawOutputs] = Coalescer(send, blames_item=lambda _: False, max_outstanding=lambda: 1)
    version = Version("spam", 3, MANIFEST, [], "2026-01-01T00:00:00Z")
    servable = PodVersion(version, coalescer, ready, cast(Any, None))
    admission = LocalAdmission(TokenBuckets(100, 100))
    metrics = QueueMetrics(cast(Catalog, OneVersion(servable)), admission)
    lease = admission.arrive(Principal("ann", "Ann"), 100)
    await lease.admit("spam", 5)
    first = servable.infer(Rows([], 1), time.monotonic() + 30)
    while not coalescer.outstanding:
        await asyncio.sleep(0)
    second = servable.infer(Rows([], 4), time.monotonic() + 30)
    assert values(metrics) == {
        "penstock_gateway_queue_rows": 4,
        "penstock_gateway_outstanding_calls": 1,
        "penstock_gateway_rows_in_flight": 5,
        "penstock_gateway_rows_answered_total": 0,
    }
    go.set()
    await asyncio.gather(first, second)
    lease.settle(Usage(rows=5))
    assert values(metrics)["penstock_gateway_rows_in_flight"] == 0
    assert values(metrics)["penstock_gateway_rows_answered_total"] == 5
