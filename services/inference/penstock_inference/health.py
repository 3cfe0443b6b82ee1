"""The pod's answers to gRPC health checks (``grpc.health.v1``), which Envoy and Kubernetes ask for."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
#: Answered by the event loop, so a loop that is stuck gives no answer. No model can have this name.
LIVE = "/live"


class HealthBoard:
    """The status of the pod, which is the service ``""``, and of each model under its name.

    The service ``/live`` is SERVING from the start to the end, also while the pod loads or leaves.
    """

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing in grpc-stubs
        self._models: set[str] = set()
        self._leaving = False

    def add_to(self, server: object) -> None:
        """Register the health service with a gRPC server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def show(self, pod_ready: bool, ready_models: set[str]) -> None:
        """Set the pod's status, and SERVING for the models that are ready; those that no longer are: NOT_SERVING."""
        if self._leaving:
            pod_ready, ready_models = False, set()
        await self._servicer.set(LIVE, SERVING)
        await self._servicer.set("", SERVING if pod_ready else NOT_SERVING)
        for name in ready_models:
            await self._servicer.set(name, SERVING)
        for name in self._models - ready_models:
            await self._servicer.set(name, NOT_SERVING)
        self._models |= ready_models

    async def show_leaving(self) -> None:
        """Set NOT_SERVING for the pod and all models; later calls of ``show`` change nothing."""
        self._leaving = True
        await self.show(False, set())
