"""The inference service's composition root, and how it leaves."""

from __future__ import annotations

import asyncio
import signal
import time

import grpc
import structlog
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from prometheus_client import start_http_server

from penstock_common.contract import inference_pb2_grpc
from penstock_common.garbage import spare_what_stays
from penstock_common.registry_client import RegistryClient, follow
from penstock_common.telemetry import configure_tracing
from penstock_inference.servicer import Servicer
from penstock_inference.settings import InferenceSettings
from penstock_inference.versions.reconciler import Repository

log = structlog.get_logger()

_MAX_MESSAGE = 64 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    # Two servers on one port would share its connections at random; better to fail.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthBoard:
    """grpc.health.v1: the pod as service ``""``, each model under its name."""

    def __init__(self, health: HealthServicer) -> None:
        self._health = health
        self._models: set[str] = set()

    async def show(self, pod_ready: bool, models: set[str]) -> None:
        await self._health.set("", SERVING if pod_ready else NOT_SERVING)
        for name in models:
            await self._health.set(name, SERVING)
        for name in self._models - models:
            await self._health.set(name, NOT_SERVING)
        self._models |= models

    async def leave(self) -> None:
        """NOT_SERVING for all, for good."""
        await self._health.enter_graceful_shutdown()


async def serve(settings: InferenceSettings) -> None:
    """Run until SIGTERM or SIGINT, then leave without losing a message."""
    stop_tracing = configure_tracing("inference")
    torch.set_num_threads(settings.threads)
    spare_what_stays()
    leaving = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leaving.set)

    changed = asyncio.Event()
    health = HealthServicer()
    board = HealthBoard(health)
    await board.show(False, set())
    metrics, _ = start_http_server(settings.metrics_port, settings.host)
    async with RegistryClient(settings.registry_url, settings.registry_token) as registry:
        repository = Repository(
            registry,
            settings.cache_dir,
            patterns=[p.strip() for p in settings.models.split(",")],
            threads=settings.threads,
            max_queue_rows=settings.max_queue_rows,
            retain_seconds=settings.retain_seconds,
            on_change=changed.set,
        )
        servicer = Servicer(repository)
        server = grpc.aio.server(options=_OPTIONS)
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        server.add_insecure_port(f"{settings.host}:{settings.port}")
        await server.start()
        log.info("listening", port=settings.port)

        async def show_health() -> None:
            while True:
                await changed.wait()
                changed.clear()
                await board.show(repository.synced.is_set(), repository.ready_models())

        background = [
            asyncio.create_task(follow(registry, repository.update)),
            asyncio.create_task(repository.sweep()),
            asyncio.create_task(show_health()),
        ]
        await leaving.wait()

        log.info("leaving", drain_seconds=settings.drain_seconds)
        started = time.monotonic()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        servicer.draining = True
        await board.leave()
        # Still answering: the balancers need their health checks' time to look away.
        await asyncio.sleep(settings.drain_seconds)
        await server.stop(settings.grace_seconds)
        await repository.drain()
    metrics.shutdown()
    stop_tracing()
    log.info("left", seconds=round(time.monotonic() - started, 2))
