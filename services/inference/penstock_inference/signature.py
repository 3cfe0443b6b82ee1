"""``python -m penstock_inference.signature``: read the signature of a model's file in a confined process.

Standard input is a ``SignatureRequest`` in JSON. The last line on standard output is a ``FileSignature``, and the status
0; or, with the status 1, ``Unreadable``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import numpy as np
import structlog

from penstock_common.file_signature import SignatureRequest, Unreadable
from penstock_common.manifest import Field, FieldKind, Manifest, Output, Task
from penstock_inference import signature_program
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.memory import read_memory
from penstock_inference.runners.process import LoadFailedError, ModelFailedError, ProcessEndedError

_SECONDS = 300.0


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=SignatureRequest)
    try:
        answer = asyncio.run(_read(request))
    except (LoadFailedError, ModelFailedError, ProcessEndedError) as err:
        print(msgspec.json.encode(Unreadable(str(err))).decode(), flush=True)
        sys.exit(1)
    print(answer, flush=True)


async def _read(request: SignatureRequest) -> str:
    """Return the signature in JSON.

    Raises:
        LoadFailedError: there is none; the text says why.
    """
    forker = Forker(run_seconds=_SECONDS, load_seconds=_SECONDS, program=signature_program.__name__)
    try:
        process = await forker.start(
            _manifest(request), Path(request.folder), threads=1, memory_bytes=read_memory().available
        )
        [answer] = await process.run([{"row": np.zeros(1, np.bool_)}], 1)
    finally:
        await forker.close()
    return str(answer[0], "utf-8")


def _manifest(request: SignatureRequest) -> Manifest:
    """Return a manifest for a process that gives a signature; its description carries what was given of the inputs."""
    return Manifest(
        format=request.format,
        file=request.file,
        task=Task.TENSOR,
        inputs=[Field("row", FieldKind.BOOLEAN, "BOOL")],
        outputs=[Output("signature", "BYTES")],
        description=msgspec.json.encode(request.inputs).decode(),
    )


if __name__ == "__main__":
    main()
