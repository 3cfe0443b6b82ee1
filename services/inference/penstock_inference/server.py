"""The composition root of the inference service: builds a pod from its settings, runs it, and shuts it down."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import time

import grpc
import structlog
from prometheus_client import start_http_server

from penstock_common.contract import inference_pb2_grpc
from penstock_common.gc_tuning import collect_when_idle, freeze_startup_objects
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_follow import follow
from penstock_common.telemetry import configure_tracing
from penstock_inference.engine.pod_devices import find_devices
from penstock_inference.health import HealthBoard
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.landlock import landlock_version
from penstock_inference.servicer import Servicer
from penstock_inference.settings import InferenceSettings
from penstock_inference.tracing import server_interceptors
from penstock_inference.versions.artifact_cache import ArtifactCache
from penstock_inference.versions.desired import DesiredVersions
from penstock_inference.versions.fetch_and_load import VersionLoader
from penstock_inference.versions.load_gate import LoadGate
from penstock_inference.versions.lookup import VersionLookup
from penstock_inference.versions.memory_needs import MemoryNeeds
from penstock_inference.versions.reconciler import Reconciler

log = structlog.get_logger()

_PR_SET_DUMPABLE = 4
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: Of glibc's mallopt: blocks above the first are given back when they are freed, and free memory above the second.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_KEPT_BLOCK_BYTES = 32 * 1024 * 1024
GRPC_OPTIONS = [
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # Two servers on one port would share its connections at random; better to fail.
    ("grpc.so_reuseport", 0),
    # Envoy pings each second, whether or not there are calls; gRPC's default takes the third such ping as an attack.
    ("grpc.http2.max_ping_strikes", 0),
]


async def serve(settings: InferenceSettings) -> None:
    """Run until SIGTERM or SIGINT, then leave without losing a message."""
    if not landlock_version():
        _hide_memory()
    _keep_freed_memory()
    freeze_startup_objects()
    stop_tracing = configure_tracing("inference")
    leaving = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leaving.set)

    changed = asyncio.Event()
    board = HealthBoard()
    await board.show(False, set())
    metrics, _ = start_http_server(settings.metrics_port, settings.host)
    async with RegistryClient(settings.registry_url, settings.registry_token_file) as registry:
        cache = ArtifactCache(registry, settings.cache_dir, settings.cache_bytes)
        forker = Forker(run_seconds=settings.hang_seconds, load_seconds=settings.load_seconds)
        loader = VersionLoader(
            cache,
            forker,
            LoadGate(settings.parallel_loads, settings.model_memory_bytes),
            MemoryNeeds(settings.cache_dir / "memory.json"),
            find_devices(cores=settings.cores, gpu_runs=settings.gpu_runs, threads=settings.threads),
            max_queue_rows=settings.max_queue_rows,
            max_queue_bytes=settings.max_queue_bytes,
            allow_code=settings.allow_code,
            grace_seconds=settings.grace_seconds,
        )
        reconciler = Reconciler(
            registry,
            loader,
            cache,
            DesiredVersions([pattern.strip() for pattern in settings.models.split(",")]),
            retain_seconds=settings.retain_seconds,
            on_change=changed.set,
        )
        versions = VersionLookup(reconciler)
        servicer = Servicer(reconciler, versions)
        server = grpc.aio.server(interceptors=server_interceptors(), options=GRPC_OPTIONS)
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        board.add_to(server)
        address = _listen(server, settings)
        await server.start()
        log.info("listening", address=address)

        async def show_health() -> None:
            while True:
                await changed.wait()
                changed.clear()
                await board.show(reconciler.synced.is_set(), versions.ready_models())

        background = [
            asyncio.create_task(follow(registry, reconciler.update)),
            asyncio.create_task(reconciler.unload_unnamed()),
            asyncio.create_task(show_health()),
            asyncio.create_task(collect_when_idle()),
        ]
        await leaving.wait()

        log.info("leaving", drain_seconds=settings.drain_seconds)
        started = time.monotonic()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        servicer.draining = True
        await board.show_leaving()
        # The pod still answers until the load balancers have seen the change in their next health checks.
        await asyncio.sleep(settings.drain_seconds)
        servicer.take_no_more()
        await server.stop(settings.grace_seconds)
        await reconciler.close()
        await forker.close()
    metrics.shutdown()
    stop_tracing()
    log.info("left", seconds=round(time.monotonic() - started, 2))


def _hide_memory() -> None:
    """Keep other processes of this user, such as the models', from this one's memory and environment: the token.

    Landlock keeps the models from them anyway; without this, tools of the same user can look at the process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def _keep_freed_memory() -> None:
    """Reuse the memory of large messages instead of returning it to the kernel, which would clear it for the next one.

    That costs up to the bytes of one message more, and saves a third of the CPU time for messages of images.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _MAX_MESSAGE_BYTES)


def _listen(server: grpc.aio.Server, settings: InferenceSettings) -> str:
    """Bind the pod's address and return it."""
    if settings.socket is None:
        address = f"{settings.host}:{settings.port}"
        server.add_insecure_port(address)
    else:
        address = f"unix:{settings.socket}"
        server.add_insecure_port(address)
        settings.socket.chmod(0o600)
    return address
