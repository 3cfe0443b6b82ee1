"""``python -m penstock_inference.check FOLDER``: try an artifact as a pod with this environment's settings would.

The last line on standard output is a ``CheckReport`` in JSON; the status is 1 if a pod would not serve the artifact.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import structlog

from penstock_common.check_report import CheckReport
from penstock_common.settings import load_settings
from penstock_inference.checking.artifact import check_artifact
from penstock_inference.engine.pod_devices import find_devices
from penstock_inference.runners.forker import Forker
from penstock_inference.settings import InferenceSettings
from penstock_inference.versions.load_gate import LoadGate


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    report = asyncio.run(_check(Path(sys.argv[1]).absolute()))
    print(msgspec.json.encode(report).decode(), flush=True)
    sys.exit(0 if report.passed else 1)


async def _check(folder: Path) -> CheckReport:
    os.environ["PENSTOCK_INFERENCE_CACHE_DIR"] = str(folder)  # a setting that pods need; nothing is fetched
    settings = load_settings(InferenceSettings)
    forker = Forker(run_seconds=settings.hang_seconds, load_seconds=settings.load_seconds)
    try:
        return await check_artifact(
            folder,
            forker,
            LoadGate(settings.parallel_loads, settings.model_memory_bytes),
            find_devices(cores=settings.cores, gpu_runs=settings.gpu_runs, threads=settings.threads),
            allow_code=settings.allow_code,
        )
    finally:
        await forker.close()


if __name__ == "__main__":
    main()
