"""``python -m penstock_inference.signature_program FRAMEWORK SERVER DESCRIPTOR``: a parent whose processes read signatures.

A process that reads a signature is confined as one that serves a model. It answers as a model would whose only output
is the signature in JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.file_signature import FileSignature, FoundInput
from penstock_common.manifest import Manifest
from penstock_inference.runners.formats import Framework, import_framework
from penstock_inference.runners.parent import run_parent
from penstock_inference.signatures.read import read_signature


class _Answer:
    longest_run = 0.0

    def __init__(self, signature: FileSignature) -> None:
        self._signature = msgspec.json.encode(signature)

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [np.array([self._signature], dtype=np.object_)]


def _read(manifest: Manifest, folder: Path, threads: int) -> _Answer:
    given = msgspec.json.decode(manifest.description, type=list[FoundInput])
    return _Answer(read_signature(folder / manifest.file, manifest.format, given))


def main() -> None:
    framework, server, connection = sys.argv[1:]
    run_parent(int(server), int(connection), lambda: import_framework(Framework(framework)), _read)


if __name__ == "__main__":
    main()
