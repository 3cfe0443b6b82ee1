"""Checks an artifact: what the registry checks, the load in a process of its own, the examples, and how fast it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import structs

from penstock_common.check_report import CheckReport
from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Manifest, bad_manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.checking.batch_times import best_rows, measure
from penstock_inference.checking.stream_times import measure_streams
from penstock_inference.engine.message import Arrays
from penstock_inference.engine.padding import Padding
from penstock_inference.engine.pod_devices import PodDevices
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import LoadFailedError, ModelFailedError, ModelProcess, ProcessEndedError
from penstock_inference.runners.weight_bytes import weight_bytes
from penstock_inference.versions.fetch_and_load import refuse_code
from penstock_inference.versions.load_gate import LoadGate
from penstock_inference.versions.memory_needs import need_of
from penstock_inference.versions.trial_rows import trial_rows

#: Examples from which on the trials are as good as they get.
_ENOUGH_EXAMPLES = 3


async def check_artifact(
    folder: Path, forker: Forker, gate: LoadGate, devices: PodDevices, *, allow_code: bool
) -> CheckReport:
    """Return whether a pod with these settings would serve an artifact, and how fast it is."""
    report = CheckReport(passed=False)
    try:
        manifest = read_manifest(folder)
        report.format = manifest.format
        refuse_code(manifest.format, allow_code)
        report.file_bytes = _bytes(folder)
        need = need_of(manifest, report.file_bytes, weight_bytes(folder / manifest.file, manifest))
        threads = devices.threads(manifest)
        async with gate.admitted(need, at_once=True) as memory_bytes:
            process = await forker.start(manifest, folder, threads=threads, memory_bytes=memory_bytes)
        await _try(process, manifest, report)
    except PenstockError as err:
        report.reason = err.detail
    except (LoadFailedError, ModelFailedError, ProcessEndedError) as err:
        report.reason = str(err)
    else:
        report.passed = True
        report.advice = [*_advice(manifest, report), *_resources_advice(manifest, threads, process.most_taken_bytes())]
    return report


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder, checked as at registration.

    Raises:
        PenstockError: 422 ``bad-manifest``.
    """
    try:
        manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    except OSError as err:
        raise bad_manifest(f"cannot be read ({err.strerror}); penstock import writes it for a model's file") from None
    check_manifest_values(manifest)
    if not (folder / manifest.file).exists():
        raise bad_manifest(f"file: {manifest.file!r} is not in the folder; put it there, or correct the path")
    return manifest


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def _try(process: ModelProcess, manifest: Manifest, report: CheckReport) -> None:
    """Run all examples, each alone, and then batches of all sizes, if the model does not stream."""
    report.load_seconds = round(process.load_seconds, 2)
    if manifest.stream:
        report.streams = await measure_streams(process, manifest)
        report.examples = len(manifest.examples)
        report.memory_bytes = process.resident_bytes()
        return
    padding = Padding(manifest)
    for example in manifest.examples:
        row = trial_rows(structs.replace(manifest, examples=[example]), 1)
        await process.run(padding.pad([row]), 1)
        report.examples += 1
    rows = padding.pad([trial_rows(manifest, 1)])[0]
    run: Callable[[int], object] = lambda count: process.run([_repeated(rows, count)], count)  # noqa: E731
    report.times = await measure(run, manifest.batching.max_batch_size)  # type: ignore[arg-type]
    report.best_rows = best_rows(report.times)
    report.memory_bytes = process.resident_bytes()


def _repeated(row: Arrays, count: int) -> Arrays:
    return {name: np.repeat(array, count, axis=0) for name, array in row.items()}


def _advice(manifest: Manifest, report: CheckReport) -> list[str]:
    advice = []
    if len(manifest.examples) < _ENOUGH_EXAMPLES:
        advice.append(
            f"The manifest has {len(manifest.examples)} examples, so the trials used rows that were made up; with "
            f"{_ENOUGH_EXAMPLES} that differ, more mistakes are found."
        )
    if manifest.stream:
        return advice
    slow = report.times[-1]
    if len(report.times) > 1 and slow.rows_per_second < 0.8 * max(entry.rows_per_second for entry in report.times):
        advice.append(
            f"Batches of {slow.rows} give fewer rows per second than those of {report.best_rows}; set batching: "
            f"{{max_batch_size: {report.best_rows}}}."
        )
    return advice


def _resources_advice(manifest: Manifest, threads: int, taken_bytes: int) -> list[str]:
    advice = []
    resources = manifest.resources
    if resources.threads is not None and resources.threads > threads:
        advice.append(
            f"resources.threads is {resources.threads}; this machine has {threads} cores, and every pod uses those that it "
            "has at most."
        )
    taken = -(-taken_bytes // 2**20)
    if resources.memory_mb is not None and taken > resources.memory_mb:
        advice.append(
            f"The process took {taken} MB; resources.memory_mb says {resources.memory_mb}, so a pod may load it where it "
            f"does not fit. Set memory_mb: {taken}, or leave it out."
        )
    return advice
