"""``model.yaml``: shapes that vary, models without a batch, constants, absent inputs and padding."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.manifest_yaml import dump_plain_yaml

TENSOR = {"name": "x", "kind": "tensor", "datatype": "FP32", "shape": ["height", -1]}
TOKENS = {"name": "ids", "kind": "tensor", "datatype": "INT64", "shape": ["tokens"]}
SOUND = {"name": "sound", "kind": "audio", "datatype": "BYTES"}
RATE = {"name": "sr", "kind": "integer", "datatype": "INT64"}


def text(*fields: dict[str, Any], **members: Any) -> str:
    manifest: dict[str, Any] = {
        "format": "onnx",
        "file": "m.onnx",
        "task": "tensor",
        "inputs": list(fields),
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, "height", -1]}],
    }
    return dump_plain_yaml(manifest | members)


def check(manifest: str) -> None:
    check_manifest_values(parse_manifest(manifest))


@pytest.mark.parametrize(
    "manifest",
    [
        text(TENSOR | {"max_elements": 100}, examples=[{"x": [[1, 2], [3, 4]]}, {"x": [[1]]}]),
        text(TENSOR, RATE | {"constant": 16000, "batch_axis": None}),
        text(TENSOR, RATE | {"constant": 16000}, batch=False),
        text(TENSOR, RATE | {"required": False}),
        text(TENSOR | {"batch_axis": 2}),
        text(TOKENS | {"pad": {"axis": 0, "value": 1, "sizes": [16, 32]}, "mask": "attention_mask"}),
        text({"name": "a/b:0", "kind": "number", "datatype": "FP16"}, batch=False),
    ],
)
def test_what_makes_sense_is_accepted(manifest: str) -> None:
    """Each capability in its plainest use; what is read is written the same."""
    check(manifest)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (text(TENSOR | {"shape": [0]}), "inputs.x.shape"),
        (text(TENSOR | {"shape": ["a b"]}), "shape"),
        (text(TENSOR | {"shape": [2], "max_elements": 3}), "inputs.x.max_elements"),
        (text(TENSOR | {"max_elements": 3}, examples=[{"x": [[1, 2], [3, 4]]}]), "examples.0.x"),
        (text(TENSOR, examples=[{"x": [[1, 2], [3]]}]), "examples.0.x"),
        (
            text(TENSOR, TENSOR | {"name": "z"}, examples=[{"x": [[1]], "z": [[1], [2]]}]),
            "the size 'height' is 1 in 'x'",
        ),
        (text(TENSOR, RATE | {"constant": 1.5}), "inputs.sr.constant"),
        (text(TENSOR, RATE | {"constant": 1, "required": False}), "inputs.sr.constant"),
        (text(TENSOR, SOUND | {"constant": "ZkxhQw=="}), "inputs.sound.constant"),
        (text(TENSOR | {"max_seconds": 5}), "inputs.x.max_seconds"),
        (text(SOUND | {"max_seconds": 3601}), "max_seconds"),
        (text(RATE | {"constant": 1}), "all are constants"),
        (text(TENSOR, RATE | {"batch_axis": None}), "inputs.sr.batch_axis"),
        (text(TENSOR | {"batch_axis": 3}), "inputs.x.batch_axis"),
        (text(TENSOR | {"batch_axis": 1}, batch=False), "no batch"),
        (text(TENSOR, batch=False, batching={"max_batch_size": 8}), "no batch"),
        (text(TENSOR, outputs=[{"name": "y", "datatype": "FP32", "batch_axis": 1}]), "outputs.y.batch_axis"),
        (text(TENSOR, RATE | {"required": False}, format="xgboost"), "inputs.sr.default"),
        (text(TENSOR | {"pad": {"axis": 1}}), "inputs.x.pad.axis"),
        (text(TENSOR | {"pad": {"axis": 0}}, batch=False), "inputs.x.pad"),
        (text(TENSOR | {"pad": {"axis": 0, "value": "a"}}), "inputs.x.pad.value"),
        (text(TENSOR | {"pad": {"axis": 0, "sizes": [8, 4]}}), "inputs.x.pad.sizes"),
        (text(TENSOR | {"mask": "m"}), "inputs.x.mask"),
        (text(TENSOR, top_k=3), "top_k"),
    ],
)
def test_what_makes_none_is_refused(manifest: str, says: str) -> None:
    """422 names the place."""
    with pytest.raises(PenstockError) as refused:
        check(manifest)
    assert (refused.value.status, refused.value.code) == (422, "bad-manifest")
    assert says in refused.value.detail
