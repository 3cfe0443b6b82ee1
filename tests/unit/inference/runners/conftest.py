"""Real parents and processes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Resources, Task
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import ModelProcess

ROOT = Path(__file__).resolve().parents[4]
MEMORY_BYTES = 256 * 2**20

Start = Callable[..., Awaitable[ModelProcess]]


def odd_manifest(name: str, datatype: str = "FP32") -> Manifest:
    """A manifest of one of ``odd_models``."""
    return Manifest(
        format=Format.ONNX,
        file="own",
        task=Task.TENSOR,
        inputs=[Field("x", FieldKind.TENSOR, datatype)],
        outputs=[Output("y", datatype)],
        batching=Batching(max_batch_size=64),
        description=name,
    )


@pytest.fixture
async def forker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Forker]:
    """Starts odd models; a process that makes no progress for three seconds is killed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PENSTOCK_INFERENCE_REGISTRY_TOKEN", "secret")
    forker = Forker(run_seconds=3.0, load_seconds=3.0, program="tests.unit.inference.runners.odd_models")
    yield forker
    await forker.close()


@pytest.fixture
def start(forker: Forker, tmp_path: Path) -> Start:
    """Starts one of the odd models by name."""

    async def start(
        name: str, datatype: str = "FP32", folder: Path = tmp_path, resources: Resources | None = None
    ) -> ModelProcess:
        (folder / "own").write_bytes(b"own")
        manifest = replace(odd_manifest(name, datatype), resources=resources or Resources())
        return await forker.start(manifest, folder, threads=1, memory_bytes=MEMORY_BYTES)

    return start
