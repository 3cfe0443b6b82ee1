"""``acceleration`` in a manifest: what fits the format and the signature is accepted, and the rest refused."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Precision, dump_manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.manifest_yaml import dump_plain_yaml

FIELD = {"name": "x", "kind": "tensor", "datatype": "FP32", "shape": [3]}
OUTPUT = {"name": "y", "datatype": "FP32"}
MLP = {"format": "safetensors", "file": "m.safetensors", "architecture": {"name": "mlp", "params": {"sizes": [3, 1]}}}


def text(acceleration: dict[str, Any], **members: Any) -> str:
    manifest = {
        "format": "torch-export",
        "file": "m.pt2",
        "task": "tensor",
        "inputs": [FIELD],
        "outputs": [OUTPUT],
        "batching": {"max_batch_size": 32},
        "acceleration": acceleration,
    }
    return dump_plain_yaml(manifest | members)


@pytest.mark.parametrize(
    "manifest",
    [
        text({"dtype": "bfloat16", "batch_sizes": [1, 8, 32], "cuda_graphs": True, "gpu_memory_mb": 4000}),
        text({"dtype": "float16"}, format="torchscript"),
        text({"dtype": "bfloat16", "batch_sizes": [8], "cuda_graphs": True, "gpu_memory_mb": 500}, **MLP),
        text({"batch_sizes": [16], "gpu_memory_mb": 100}, format="onnx"),
        text({}, format="lightgbm"),
        text({"dtype": "float32"}, outputs=[OUTPUT | {"datatype": "FP16"}]),
        text({"batch_sizes": [4]}, inputs=[FIELD, FIELD | {"name": "z", "constant": [1, 2, 3]}]),
    ],
)
def test_what_makes_sense_is_accepted(manifest: str) -> None:
    """Each option with the formats that have it."""
    parsed = parse_manifest(manifest)
    check_manifest_values(parsed)
    assert parse_manifest(dump_manifest(parsed)) == parsed


def test_a_manifest_without_it_says_nothing_of_it() -> None:
    """The defaults are float32 and no GPU options, and are not written."""
    manifest = text({}).replace("acceleration: {}\n", "")
    assert "acceleration" not in manifest
    plain = parse_manifest(manifest)
    assert plain.acceleration.dtype is Precision.FLOAT32
    assert "acceleration" not in dump_manifest(plain)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (text({"dtype": "int8"}), "acceleration.dtype"),
        (text({"compile": True}), "cuda_graphs spare"),
        (text({"fast": True}), "fast"),
        (text({"dtype": "bfloat16"}, format="onnx"), "acceleration.dtype: the format onnx does not have it"),
        (text({"gpu_memory_mb": 5}, format="xgboost"), "acceleration.gpu_memory_mb: the format xgboost"),
        (text({"dtype": "float16"}, outputs=[OUTPUT | {"datatype": "FP16"}]), "declared as FP16"),
        (text({"dtype": "bfloat16"}, outputs=[OUTPUT | {"datatype": "BF16"}]), "declared as BF16"),
        (text({"batch_sizes": [8, 4]}), "ascending order"),
        (text({"batch_sizes": [4, 4]}), "ascending order"),
        (text({"batch_sizes": [4, 64]}), "max_batch_size, which is 32"),
        (text({"batch_sizes": [0]}), "batch_sizes"),
        (text({"batch_sizes": [4]}, inputs=[FIELD | {"batch_axis": 1}]), "first axis of every tensor"),
        (text({"batch_sizes": [4]}, outputs=[OUTPUT | {"shape": [2], "batch_axis": 1}]), "first axis of every tensor"),
        (text({"batch_sizes": [1]}, batch=False, batching={}), "first axis of every tensor"),
        (text({"cuda_graphs": True}), "batch_sizes"),
        (text({"cuda_graphs": True, "batch_sizes": [4]}, inputs=[FIELD | {"shape": ["n"]}]), "input 'x' varies"),
        (text({"gpu_memory_mb": 0}), "gpu_memory_mb"),
    ],
)
def test_what_does_not_is_refused(manifest: str, says: str) -> None:
    """The error names the option and the remedy."""
    with pytest.raises(PenstockError) as caught:
        check_manifest_values(parse_manifest(manifest))
    assert caught.value.status == 422
    assert says in caught.value.detail
