"""``items`` and ``ranking``: names of items in, names of the best ones out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.preprocessing.steps import files_of_step, model_tensors, preprocess

ITEMS = {"name": "items", "kind": "tensor", "datatype": "BYTES", "shape": [-1]}
COUNT = {"name": "count", "kind": "integer", "datatype": "INT32", "minimum": 1, "maximum": 5, "required": False}
RANKING = {"exclude": "items", "count": "count"}


def manifest(
    params: dict[str, Any] = RANKING, inputs: list[Any] | None = None, output: dict[str, Any] | None = None
) -> Manifest:
    document = {
        "format": "onnx",
        "file": "model.onnx",
        "task": "tensor",
        "inputs": inputs or [ITEMS, *[COUNT | {"default": 2}] * (params.get("count") == "count")],
        "outputs": [output or {"name": "items", "datatype": "BYTES"}],
        "preprocess": {"name": "items"},
        "postprocess": {"name": "ranking", "params": params},
    }
    parsed = parse_manifest(msgspec.json.encode(document))
    check_manifest_values(parsed)
    return parsed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "items.txt").write_text("tea\nbread\nmüsli\nmilk\n", encoding="utf-8")
    return tmp_path


def items(*rows: list[str]) -> Any:
    return np.array([[name.encode() for name in row] for row in rows], object)


def test_names_become_positions(folder: Path) -> None:
    """An item that is unknown or repeated has the number of all items."""
    [positions] = preprocess(manifest(), {"items": items(["müsli", "tea", "tea"], ["gin", "tea", "milk"])}, folder)
    assert positions.tolist() == [[2, 0, 4], [4, 0, 3]]
    [tensor] = model_tensors(manifest())
    assert (tensor.name, tensor.shape) == ("items", (-1,))
    assert files_of_step(manifest()) == ["items.txt"]


def rank(params: dict[str, Any], scores: list[Any], folder: Path, **inputs: Any) -> list[Any]:
    chosen = manifest(params)
    [answers] = Postprocessing(chosen, folder).run([np.array(scores, np.float32)], inputs)
    return [json.loads(answer) for answer in answers]


def test_scores_become_the_best_items(folder: Path) -> None:
    """As many as each row asks for; not those that it has, nor those without a finite score; equal ones in order."""
    first, second = rank(
        RANKING,
        [[0.5, 0.25, 1, 0.25], [1, -np.inf, np.nan, 2]],
        folder,
        items=items(["müsli", "gin"], ["gin", "gin"]),
        count=np.array([3, 5], np.int32),
    )
    assert first == [{"item": "tea", "score": 0.5}, {"item": "bread", "score": 0.25}, {"item": "milk", "score": 0.25}]
    assert [entry["item"] for entry in second] == ["milk", "tea"]


def test_a_fixed_number_needs_no_input(folder: Path) -> None:
    """And without ``exclude``, nothing of the request is read."""
    assert rank({"count": 1, "exclude": ""}, [[1, 2, 3, 4]], folder) == [[{"item": "milk", "score": 4.0}]]


def test_scores_of_other_items_are_refused(folder: Path) -> None:
    """With the number that is expected."""
    with pytest.raises(PenstockError, match=r"float32 \[1, 3\]; postprocess ranking takes floats \[rows, 4\]"):
        rank({"count": 1}, [[1, 2, 3]], folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"tea\nbread\ntea\n", "'tea' is there twice"), (b"\xff", "it is not UTF-8 .byte 0")],
)
def test_a_list_of_items_that_cannot_be_read_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "items.txt").write_bytes(content)
    with pytest.raises(PenstockError, match=told):
        preprocess(manifest(), {"items": items(["tea"])}, tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": [ITEMS | {"datatype": "INT64"}]}, "takes one list of texts"),
        ({"inputs": [ITEMS, COUNT | {"name": "other", "default": 1}]}, "ignores other; leave it out"),
        ({"inputs": [ITEMS, COUNT | {"default": 1, "maximum": 2000}]}, "it needs bounds within 1 and 1000"),
        ({"params": {"count": "number"}}, "'number' is not an input of kind integer"),
        ({"params": {"exclude": "count", "count": "count"}}, "'count' is not an input that is a list of texts"),
        ({"params": {"count": 0}}, "postprocess.params of ranking"),
        ({"params": {"file": "../x"}}, "must lie inside the artifact"),
        ({"output": {"name": "items", "datatype": "FP32"}}, "gives a JSON list, BYTES"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(change: dict[str, Any], told: str) -> None:
    """With the place and the remedy."""
    with pytest.raises(PenstockError) as refused:
        manifest(**change)
    assert refused.value.code == "bad-manifest" and told in refused.value.detail
