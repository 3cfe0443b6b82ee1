"""What waits in the gateway, read when Prometheus asks for it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.pod_version import PodVersion
from penstock_gateway.limits.local import LocalAdmission

#: Its sum grows each second by as many seconds as messages wait, so its rate is the number of messages that wait, on
#: which the pools' autoscalers scale.
QUEUE_SECONDS = Histogram(
    "penstock_gateway_queue_seconds",
    "How long the first request of each message to the pods has waited in the gateway.",
    ["model", "pool"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_LABELS = ["model", "version"]


class QueueMetrics(Collector):
    """The queues of the versions that get traffic, and the rows in flight of each model that was asked."""

    def __init__(self, catalog: Catalog, admission: LocalAdmission) -> None:
        self._catalog = catalog
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        queued = GaugeMetricFamily(
            "penstock_gateway_queue_rows", "Rows that wait to be sent to the pods.", labels=_LABELS
        )
        outstanding = GaugeMetricFamily(
            "penstock_gateway_outstanding_calls", "Messages that the pods are at work on.", labels=_LABELS
        )
        for servable in self._catalog.servables():
            if isinstance(servable, PodVersion):
                labels = [servable.model, servable.version]
                queued.add_metric(labels, servable.coalescer.queued)
                outstanding.add_metric(labels, servable.coalescer.outstanding)
        in_flight = GaugeMetricFamily(
            "penstock_gateway_rows_in_flight", "Rows of admitted requests that are not answered yet.", labels=["model"]
        )
        answered = CounterMetricFamily(
            "penstock_gateway_rows_answered", "Rows in successful answers.", labels=["model"]
        )
        for model, rows in self._admission.rows():
            in_flight.add_metric([model], rows.in_flight)
            answered.add_metric([model], rows.answered)
        yield from (queued, outstanding, in_flight, answered)
