"""``model.yaml``: what is refused before a version is registered, and where it says so."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.manifest_yaml import dump_plain_yaml

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and more").decode()


def text(field: dict[str, Any] | None = None, **members: Any) -> str:
    manifest: dict[str, Any] = {
        "format": "onnx",
        "file": "m.onnx",
        "task": "regression",
        "inputs": [{"name": "x", "kind": "number", "datatype": "FP32"} | (field or {})],
        "outputs": [{"name": "y", "datatype": "FP32"}],
    }
    return dump_plain_yaml(manifest | members)


def check(manifest: str) -> None:
    check_manifest_values(parse_manifest(manifest))


def refusal(manifest: str) -> str:
    with pytest.raises(PenstockError) as refused:
        check(manifest)
    assert (refused.value.status, refused.value.code) == (422, "bad-manifest")
    return refused.value.detail


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ({}, "abc"),
        ({}, True),
        ({}, float("nan")),
        ({}, float("inf")),
        ({}, 1e39),
        ({"maximum": 5.0}, 6),
        ({"datatype": "FP16"}, 70000),
        ({"kind": "integer", "datatype": "UINT8"}, 256),
        ({"kind": "integer", "datatype": "INT8"}, 1.5),
        ({"kind": "boolean", "datatype": "BOOL"}, 1),
        ({"kind": "text", "datatype": "BYTES"}, 3),
        ({"kind": "text", "datatype": "BYTES", "max_length": 2}, "abc"),
        ({"kind": "category", "datatype": "BYTES", "categories": ["a", "b"]}, "c"),
        ({"kind": "image", "datatype": "BYTES"}, "no base64!"),
        ({"kind": "image", "datatype": "BYTES"}, base64.b64encode(b"text").decode()),
        ({"kind": "tensor", "shape": [2, 2]}, [[1, 2], [3]]),
        ({"kind": "tensor", "shape": [2]}, [1, "2"]),
        ({"kind": "tensor", "shape": [2]}, 1),
        ({"kind": "tensor", "datatype": "BYTES", "shape": [1]}, [1]),
    ],
)
def test_a_default_that_does_not_fit_its_field_is_refused(field: dict[str, Any], default: object) -> None:
    """Kind, bounds, categories and shape; the answer names the field. The same value is refused as an example."""
    assert "inputs.x.default" in refusal(text(field | {"required": False, "default": default}))
    assert "examples.0" in refusal(text(field, examples=[{"x": default}]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({}, 1),
        ({"minimum": 0.0, "maximum": 1.0}, 0.5),
        ({"kind": "integer", "datatype": "UINT64"}, 2**64 - 1),
        ({"kind": "integer", "datatype": "INT8"}, -128),
        ({"kind": "boolean", "datatype": "BOOL"}, False),
        ({"kind": "text", "datatype": "BYTES", "max_length": 2}, "ab"),
        ({"kind": "category", "datatype": "BYTES", "categories": ["a", "b"]}, "b"),
        ({"kind": "image", "datatype": "BYTES"}, PNG),
        ({"kind": "image", "datatype": "BYTES"}, f"data:image/png;base64,{PNG}"),
        ({"kind": "tensor", "shape": [2, 1]}, [[1], [2.5]]),
        ({"kind": "tensor", "datatype": "BYTES", "shape": [1]}, ["a"]),
    ],
)
def test_a_default_that_fits_its_field_is_accepted(field: dict[str, Any], value: object) -> None:
    """As a default and as an example."""
    check(text(field | {"required": False, "default": value}, examples=[{"x": value}, {}]))


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"examples": [{"x": 1, "z": 2}]}, "examples.0.z"),
        ({"examples": [{}]}, "examples.0: 'x'"),
        ({"preprocess": {"name": "image", "params": {"mean": float("nan")}}}, "preprocess.params.mean"),
        ({"task": "classification", "labels": ["a", "b"]}, "outputs.y.shape"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"outputs": [{"name": "y", "datatype": "FP32"}] * 2}, "outputs"),
        ({"outputs": [{"name": "y", "datatype": "FP32", "shape": [0]}]}, "outputs.y.shape"),
    ],
)
def test_the_rest_of_a_manifest_is_checked_too(members: dict[str, Any], place: str) -> None:
    """Examples have the model's inputs, numbers are finite, labels and outputs fit."""
    assert place in refusal(text(**members))


@pytest.mark.parametrize(
    "field",
    [
        {"minimum": 2.0, "maximum": 1.0},
        {"minimum": float("-inf")},
        {"kind": "text", "datatype": "BYTES", "max_length": 0},
        {"kind": "category", "datatype": "BYTES", "categories": ["a", "a"]},
        {"name": "x\n"},
    ],
)
def test_a_field_that_no_value_fits_is_refused(field: dict[str, Any]) -> None:
    """Empty bounds, doubled categories, a name that ends in a newline."""
    assert "inputs" in refusal(text(field))


def test_aliases_are_refused_before_they_are_expanded() -> None:
    """A few hundred bytes would become hundreds of megabytes."""
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}' if i else 'x'] * 9)}]" for i in range(9)]
    bomb = "\n".join(levels)
    assert len(bomb) < 534
    assert "aliases" in refusal(bomb)
    assert "line 1" in refusal(bomb)


@pytest.mark.parametrize("bad", ["[" * 100_000, "{" * 100_000, "a: " + "[" * 40 + "]" * 40])
def test_deep_nesting_is_refused(bad: str) -> None:
    """It would overflow the stack of every reader."""
    refusal(bad)


@pytest.mark.parametrize("value", ["2026-01-01", "!!binary aGk=", "!!set {a}", "{1: 2}", "9" * 5000, "!!python/none ~"])
def test_a_value_that_json_does_not_have_is_refused(value: str) -> None:
    """It would come back from the log as another one."""
    refusal(text() + f"preprocess: {{name: image, params: {{p: {value}}}}}\n")
