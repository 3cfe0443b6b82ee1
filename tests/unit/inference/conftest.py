"""What the tests of the pod share."""

from __future__ import annotations

import pytest

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task


@pytest.fixture
def regression() -> Manifest:
    """One number in, one out, four rows at a time."""
    return Manifest(
        format=Format.ONNX,
        file="m.onnx",
        task=Task.REGRESSION,
        inputs=[Field("x", FieldKind.NUMBER, "FP32")],
        outputs=[Output("y", "FP32")],
        batching=Batching(max_batch_size=4),
    )
