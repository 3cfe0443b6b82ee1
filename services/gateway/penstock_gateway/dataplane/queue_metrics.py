"""What waits in the gateway, read when Prometheus asks for it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from penstock_gateway.dataplane.catalog import Catalog

_LABELS = ["model", "version"]


class Queues(Collector):
    """The coalescers of the versions that have a route; a version that has none any more has no series."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterator[GaugeMetricFamily]:
        rows = GaugeMetricFamily(
            "penstock_gateway_queue_rows", "Rows that wait to be sent to the pods.", labels=_LABELS
        )
        calls = GaugeMetricFamily(
            "penstock_gateway_outstanding_calls", "Messages that the pods are at work on.", labels=_LABELS
        )
        for route in self._catalog.routes():
            labels = [route.model, route.version]
            rows.add_metric(labels, route.coalescer.queued)
            calls.add_metric(labels, route.coalescer.outstanding)
        yield rows
        yield calls
