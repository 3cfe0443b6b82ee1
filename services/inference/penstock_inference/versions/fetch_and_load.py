"""Brings one version onto the pod: fetch its files and verify them, load the model, warm it up, give it an engine."""

from __future__ import annotations

import asyncio
import random
import time
from functools import cache
from pathlib import Path

import structlog

from penstock_common.gc_tuning import freeze_startup_objects
from penstock_common.manifest import Manifest
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.model import LoadedModel
from penstock_inference.metrics import LOAD_FAILURES
from penstock_inference.runners.check_file import check_file
from penstock_inference.runners.formats import CODE_FORMATS, import_format
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.artifact_cache import ArtifactCache
from penstock_inference.versions.hosted import HostedVersion
from penstock_inference.versions.warm_up import warm_up

log = structlog.get_logger()

_MAX_BACK_OFF_SECONDS = 30.0


class VersionLoader:
    """Loads versions, one at a time: there may not be memory to load two at once.

    Args:
        cache: fetches a version's files, or has them.
        threads: the threads of one operator of a model.
        max_queue_rows: the rows that may wait for one version.
        max_queue_bytes: the bytes of inputs that may wait for one version.
        allow_code: whether models may be loaded that run code of whoever made them.
    """

    def __init__(
        self, cache: ArtifactCache, *, threads: int, max_queue_rows: int, max_queue_bytes: int, allow_code: bool
    ) -> None:
        self._cache = cache
        self._allow_code = allow_code
        self._threads = threads
        self._max_queue_rows = max_queue_rows
        self._max_queue_bytes = max_queue_bytes
        self._one_at_a_time = asyncio.Lock()

    async def load(self, hosted: HostedVersion) -> None:
        """Return once the version is READY. A load that fails is tried again with a jittered, growing pause."""
        version = hosted.version
        failures = 0
        while True:
            try:
                async with self._one_at_a_time:
                    await self._load_once(hosted)
                return
            except Exception as err:  # a model's file can fail in any way; the reason is for its owner
                failures += 1
                hosted.failed(err)
                LOAD_FAILURES.labels(version.model).inc()
                log.exception("load failed", model=version.model, version=version.version, failures=failures)
            pause = min(_MAX_BACK_OFF_SECONDS, 2.0 ** min(failures, 5))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)

    async def _load_once(self, hosted: HostedVersion) -> None:
        version = hosted.version
        started = time.monotonic()
        if version.manifest.format in CODE_FORMATS and not self._allow_code:
            raise ModelMismatchError(
                f"Models of the format {version.manifest.format} run code of whoever made them; this pool does not allow "
                "that. Use another format, or set PENSTOCK_INFERENCE_ALLOW_CODE=true on a pool that trusts its publishers."
            )
        folder = await self._cache.fetch(version)
        # In the thread of its later runs, because a framework may keep caches for each thread.
        model = await asyncio.get_running_loop().run_in_executor(
            hosted.executor, load_model, version.manifest, folder, self._threads
        )
        engine = Engine(
            model,
            hosted.executor,
            max_queue_rows=self._max_queue_rows,
            max_queue_bytes=self._max_queue_bytes,
            metrics=hosted.metrics,
        )
        hosted.succeeded(engine)
        log.info("loaded", model=version.model, version=version.version, seconds=round(time.monotonic() - started, 2))


def load_model(manifest: Manifest, folder: Path, threads: int) -> LoadedModel:
    """Load the model of an artifact's folder and warm it up; blocks. Raises whatever its framework raises."""
    load = import_format(manifest.format)
    _spare_libraries()
    path = folder / manifest.file
    check_file(path, manifest.format)
    model = LoadedModel(manifest, load(path, manifest, threads))
    warm_up(model)
    return model


@cache
def _spare_libraries() -> None:
    """Once in a process, exclude from garbage collection what is imported so far.

    The moment is after the first framework is imported and before the first model
    is loaded. Later it would also exclude models, whose memory would then not be
    freed when they are unloaded.
    """
    freeze_startup_objects()
