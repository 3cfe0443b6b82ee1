"""How long the first chunk of a stream takes, and how fast the others follow."""

from __future__ import annotations

import time

from penstock_common.check_report import StreamTime
from penstock_common.manifest import Manifest
from penstock_inference.engine.message import Arrays
from penstock_inference.engine.padding import Padding
from penstock_inference.runners.process import ModelProcess
from penstock_inference.versions.stream_trials import MOST_CHUNKS, MOST_SECONDS, trial_streams


async def measure_streams(process: ModelProcess, manifest: Manifest) -> list[StreamTime]:
    """Run each example, or a row that is made up, to its end or the bounds of a trial, one after the other."""
    padding = Padding(manifest)
    return [await _measured(process, padding.pad([row])[0]) for row in trial_streams(manifest)]


async def _measured(process: ModelProcess, row: Arrays) -> StreamTime:
    started = time.perf_counter()
    first = 0.0
    chunks = 0
    last = False
    stream = process.open_stream(row)
    try:
        while not last and chunks < MOST_CHUNKS and time.perf_counter() - started < MOST_SECONDS:
            outputs, last = await stream.read()
            if outputs is not None:
                chunks += 1
                first = first or time.perf_counter() - started
    finally:
        stream.close()
    seconds = time.perf_counter() - started
    return StreamTime(chunks, round(1000 * first, 3), round(chunks / seconds, 1))
