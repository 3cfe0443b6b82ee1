"""A model that answers at once as a stream: each row that the pre-processing makes is a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.runners.row_streams import RowStreams
from penstock_inference.runners.runner import Chunk, FileAnswer, FileTensor
from tests.unit.inference.fake_runner import FakeRunner

MANIFEST = Manifest(
    Format.ONNX,
    "m.onnx",
    Task.TENSOR,
    [Field("text", FieldKind.TEXT, "BYTES")],
    [Output("samples", "FP32", [-1])],
    preprocess=Preprocess("piper"),
    stream=True,
)


class Voice(FakeRunner):
    """Takes what ``piper`` gives; answers with the lengths by the scales."""

    inputs = (FileTensor("input"), FileTensor("scales"), FileTensor("input_lengths"))

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        ids, scales, lengths = inputs
        assert ids is not None and scales is not None and lengths is not None
        assert (len(ids), len(lengths), scales.shape) == (1, 1, (3,))
        if lengths[0] == 13:
            raise ValueError("unlucky")
        return {"output": lengths[:, None] * scales[None]}


def given(*lengths: int) -> list[NDArray[Any] | None]:
    ids = np.zeros((len(lengths), 20), np.int64)
    return [ids, np.array([1, 2, 3], np.float32), np.array(lengths)]


def outputs(chunk: Chunk) -> Any:
    assert isinstance(chunk.outputs, dict)
    return chunk.outputs["output"].tolist()


def test_each_row_is_a_chunk_and_streams_take_turns() -> None:
    """A tensor without rows is the same for each; a stream ends after its last row."""
    streams = RowStreams(Voice(), MANIFEST)
    streams.open(1, given(5, 6))
    streams.open(2, given(7))
    chunks = [chunk for _ in range(5) for chunk in streams.step()]
    assert [(chunk.stream, chunk.last) for chunk in chunks] == [
        (1, False),
        (2, False),
        (1, False),
        (2, True),
        (1, True),
    ]
    assert [outputs(chunk) for chunk in chunks[:3]] == [[[5, 10, 15]], [[7, 14, 21]], [[6, 12, 18]]]
    assert streams.step() == []


def test_an_error_ends_its_own_stream() -> None:
    """The others go on."""
    streams = RowStreams(Voice(), MANIFEST)
    streams.open(1, given(13, 5))
    streams.open(2, given(5))
    [failed], [chunk] = streams.step(), streams.step()
    assert (failed.stream, failed.last, str(failed.error)) == (1, True, "unlucky")
    assert chunk.stream == 2
    assert [chunk.last for chunk in streams.step()] == [True]


def test_a_stream_that_is_paused_or_closed_gives_nothing() -> None:
    """Its turn passes to the next."""
    streams = RowStreams(Voice(), MANIFEST)
    for stream in (1, 2, 3):
        streams.open(stream, given(5, 5))
    streams.paused.add(1)
    streams.close(2)
    streams.close(2)
    assert [chunk.stream for _ in range(2) for chunk in streams.step()] == [3, 3]
    streams.paused.discard(1)
    assert [chunk.stream for chunk in streams.step()] == [1]


def test_an_onnx_file_streams_only_the_rows_of_a_step() -> None:
    """Without one, each request is one row, which needs no stream."""
    plain = Manifest(
        Format.ONNX, "m.onnx", Task.TENSOR, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")], stream=True
    )
    with pytest.raises(PenstockError, match="name the step, or leave stream out"):
        check_manifest_values(plain)
