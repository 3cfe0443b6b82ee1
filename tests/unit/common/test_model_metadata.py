"""The metadata document of a model version."""

from __future__ import annotations

from penstock_common.contract import inference_pb2 as pb
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.model_metadata import model_metadata


def test_the_document_is_the_protocols_over_rest_and_grpc() -> None:
    """Each tensor has the batch as its first dimension; the same document makes the gRPC message."""
    fields = [Field("x", FieldKind.TENSOR, "FP32", shape=[3, 2]), Field("t", FieldKind.TEXT, "BYTES")]
    manifest = Manifest(Format.TORCH_EXPORT, "m.pt2", Task.TENSOR, fields, [Output("y", "FP32", [2])])
    document = model_metadata("spam", "7", manifest)
    assert document == {
        "name": "spam",
        "versions": ["7"],
        "platform": "penstock_torch_export",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 3, 2]},
            {"name": "t", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    message = pb.ModelMetadataResponse(**document)
    assert list(message.inputs[0].shape) == [-1, 3, 2]
