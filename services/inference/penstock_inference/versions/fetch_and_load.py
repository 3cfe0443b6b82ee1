"""Keeps one version on the pod: fetch its files, load it in processes of its own, and start those again that end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

import structlog

from penstock_common.manifest import Format
from penstock_common.registry_models import Version
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.pod_devices import PodDevices
from penstock_inference.engine.streams import StreamEngine
from penstock_inference.metrics import LOAD_FAILURES, RESTARTS
from penstock_inference.runners.device_in_use import CPU
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.formats import CODE_FORMATS, GPU_FORMATS
from penstock_inference.runners.gpu_files import gpu_devices
from penstock_inference.runners.process import LoadFailedError, ModelProcess
from penstock_inference.runners.weight_bytes import weight_bytes
from penstock_inference.versions.artifact_cache import ArtifactCache
from penstock_inference.versions.hosted import HostedVersion
from penstock_inference.versions.load_gate import LoadGate, NoRoomError
from penstock_inference.versions.memory_needs import MemoryNeeds, Need

log = structlog.get_logger()

_MAX_BACK_OFF_SECONDS = 30.0
#: After a failure that the same files would have again. Another artifact, other settings (with which a pod starts anew)
#: and a request to load the model are tried at once.
_FIRST_PERMANENT_SECONDS = 30.0
_MAX_PERMANENT_SECONDS = 600.0
#: A process that lived for so long did not end for what ended those before it.
_HEALTHY_SECONDS = 60.0
#: Processes in a row that are replaced without a pause.
_REPLACED_AT_ONCE = 2
#: How often the memory is looked at for a version for which there was no room.
_LOOK_SECONDS = 0.5


class VersionLoader:
    """Loads versions and keeps them loaded.

    Args:
        cache: fetches a version's files, or has them.
        forker: starts the processes.
        gate: decides when a load may start.
        needs: what is known of how much memory an artifact needs.
        devices: of this pod, which the versions share.
        max_queue_rows: the rows that may wait for one version.
        max_queue_bytes: the bytes of inputs that may wait for one version.
        allow_code: whether models may be loaded that run code of whoever made them.
        grace_seconds: that the streams of a version may take once it is unloaded.
    """

    def __init__(
        self,
        cache: ArtifactCache,
        forker: Forker,
        gate: LoadGate,
        needs: MemoryNeeds,
        devices: PodDevices,
        *,
        max_queue_rows: int,
        max_queue_bytes: int,
        allow_code: bool,
        grace_seconds: float,
    ) -> None:
        self._cache = cache
        self._forker = forker
        self._gate = gate
        self._needs = needs
        self._devices = devices
        self._allow_code = allow_code
        self._max_queue_rows = max_queue_rows
        self._max_queue_bytes = max_queue_bytes
        self._grace_seconds = grace_seconds

    async def keep_loaded(self, hosted: HostedVersion, on_change: Callable[[], None]) -> None:
        """Load all instances of a version, and again each whose process ends, until cancelled.

        The version answers as soon as one instance is loaded; the others are loaded once the first was.

        Args:
            on_change: called whenever the version's state may have changed.
        """
        async with asyncio.TaskGroup() as instances:
            instances.create_task(self._keep_instance(hosted, on_change))
            for _ in range(1, hosted.version.manifest.resources.instances):
                instances.create_task(self._keep_further_instance(hosted, on_change))

    async def _keep_further_instance(self, hosted: HostedVersion, on_change: Callable[[], None]) -> None:
        await hosted.loaded.wait()
        await self._keep_instance(hosted, on_change)

    async def _keep_instance(self, hosted: HostedVersion, on_change: Callable[[], None]) -> None:
        """Load a process of a version, again whenever it ends.

        A load for which there is no memory waits until there is. Another that fails, and a process that ends soon after
        others, are followed by a jittered, growing pause: up to half a minute if the registry or the machine may be
        the cause, up to ten minutes if the model is.
        """
        version = hosted.version
        failures = crashes = 0
        was_loaded = False
        while True:
            try:
                process = await self._load(hosted, replaces_another=was_loaded)
            except Exception as err:  # a model's file can fail in any way; the reason is for its owner
                failures += 1
                hosted.failed(err)
                LOAD_FAILURES.labels(version.model).inc()
                log.warning(
                    "load failed",
                    model=version.model,
                    version=version.version,
                    failures=failures,
                    reason=str(err)[:500],
                    exc_info=not isinstance(err, LoadFailedError),
                )
                on_change()
                if isinstance(err, NoRoomError):
                    await self._wait_for_room(hosted)
                else:
                    await _pause(hosted, failures, permanent=isinstance(err, LoadFailedError) and err.permanent)
                continue
            failures = 0
            was_loaded = True
            on_change()
            loaded = time.monotonic()
            await process.ended.wait()
            crashes = 1 if time.monotonic() - loaded > _HEALTHY_SECONDS else crashes + 1
            RESTARTS.labels(version.model, process.cause).inc()
            log.error(
                "model's process ended",
                model=version.model,
                version=version.version,
                reason=process.reason,
                in_a_row=crashes,
            )
            hosted.lost(process)
            on_change()
            if crashes > _REPLACED_AT_ONCE:
                hosted.failed(f"{process.reason}, {crashes} times in a row")
                on_change()
                await _pause(hosted, crashes - _REPLACED_AT_ONCE, permanent=False)

    async def _load(self, hosted: HostedVersion, *, replaces_another: bool) -> ModelProcess:
        version = hosted.version
        started = time.monotonic()
        refuse_code(version.manifest.format, self._allow_code)
        folder = await self._cache.fetch(version)
        hosted.weight_bytes = await asyncio.to_thread(weight_bytes, folder / version.manifest.file, version.manifest)
        await self._forker.prepare(version.manifest.format)
        async with self._gate.admitted(self._need(hosted), at_once=replaces_another) as memory_bytes:
            process = await self._forker.start(
                version.manifest, folder, threads=self._threads(version), memory_bytes=memory_bytes
            )
        self._needs.remember(hosted.digest, process.most_taken_bytes())
        hosted.succeeded(process, lambda: self._engine(hosted, on_gpu=process.device != CPU))
        log.info(
            "loaded",
            model=version.model,
            version=version.version,
            seconds=round(time.monotonic() - started, 2),
            process=process.pid,
            device=process.device,
        )
        if process.device == CPU and version.manifest.format in GPU_FORMATS and gpu_devices():
            log.warning(
                "a model runs on the CPU of a pod that has a GPU",
                model=version.model,
                version=version.version,
                remedy="use an image whose torch and onnxruntime are built for CUDA, and a driver that they support",
            )
        return process

    def _need(self, hosted: HostedVersion) -> Need:
        file_bytes = sum(file.size for file in hosted.version.files)
        return self._needs.of(hosted.digest, hosted.version.manifest, file_bytes, hosted.weight_bytes)

    def _threads(self, version: Version) -> int:
        threads = self._devices.threads(version.manifest)
        wanted = version.manifest.resources.threads
        if wanted is not None and wanted > threads:
            log.warning(
                "fewer cores than threads", model=version.model, version=version.version, wanted=wanted, threads=threads
            )
        return threads

    async def _wait_for_room(self, hosted: HostedVersion) -> None:
        """Return once there is memory for a version, or somebody asks for its load."""
        while not hosted.try_now.is_set() and not self._gate.fits(self._need(hosted)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hosted.try_now.wait(), _LOOK_SECONDS)
        hosted.try_now.clear()

    def _engine(self, hosted: HostedVersion, *, on_gpu: bool) -> Engine | StreamEngine:
        """Return the version's engine, which outlives its processes."""
        manifest = hosted.version.manifest
        if manifest.stream:
            return StreamEngine(
                manifest,
                max_queue_rows=self._max_queue_rows,
                max_queue_bytes=self._max_queue_bytes,
                grace_seconds=self._grace_seconds,
                metrics=hosted.metrics,
            )
        return Engine(
            manifest,
            max_queue_rows=self._max_queue_rows,
            max_queue_bytes=self._max_queue_bytes,
            metrics=hosted.metrics,
            share=self._devices.share(manifest, on_gpu=on_gpu),
        )


def refuse_code(format_: Format, allow_code: bool) -> None:
    """Refuse a format that runs code of whoever made the model.

    Raises:
        LoadFailedError: the settings do not allow it.
    """
    if format_ in CODE_FORMATS and not allow_code:
        raise LoadFailedError(
            f"Models of the format {format_} run code of whoever made them; this pool does not allow "
            "that. Use another format, or set PENSTOCK_INFERENCE_ALLOW_CODE=true on a pool that trusts its publishers.",
            permanent=True,
        )


def pause_seconds(failures: int, *, permanent: bool) -> float:
    """Return the seconds between the n-th failure in a row and the next try, before jitter."""
    first, longest = (_FIRST_PERMANENT_SECONDS, _MAX_PERMANENT_SECONDS) if permanent else (2.0, _MAX_BACK_OFF_SECONDS)
    return min(longest, first * 2.0 ** min(failures - 1, 10))


async def _pause(hosted: HostedVersion, failures: int, *, permanent: bool) -> None:
    seconds = pause_seconds(failures, permanent=permanent) * random.uniform(0.5, 1.0)  # noqa: S311 (jitter)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(hosted.try_now.wait(), seconds)
    hosted.try_now.clear()
