"""A server that starts odd models: ``orphans`` prints the process ids and waits; ``loads`` loads two hundred in turn."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import psutil

from penstock_inference.runners.forker import Forker
from tests.unit.inference.runners.conftest import odd_manifest

LOADS = 200
MODEL_BYTES = 4 * 1024 * 1024


async def main(what: str, folder: Path) -> None:
    forker = Forker(run_seconds=60, load_seconds=60, program="tests.unit.inference.runners.odd_models")
    if what == "orphans":
        for name in ("double", "loop"):
            process = await forker.start(odd_manifest(name), folder, threads=1, memory_bytes=2**28)
        asyncio.create_task(process.run([{"x": np.full(1, -1, np.float32)}], 1))  # noqa: RUF006 (until it is killed)
        print(json.dumps([child.pid for child in psutil.Process().children(recursive=True)]), flush=True)
        await asyncio.Event().wait()
    resident = []
    rows = np.ones(MODEL_BYTES // 4, np.float32)
    for _ in range(LOADS):
        process = await forker.start(odd_manifest("double"), folder, threads=1, memory_bytes=2**28)
        await process.run([{"x": rows}], len(rows))
        await process.stop()
        resident.append(psutil.Process().memory_info().rss)
    found = {"resident": resident, "children": len(psutil.Process().children(recursive=True))}
    await forker.close()
    print(json.dumps(found | {"descriptors": psutil.Process().num_fds()}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
