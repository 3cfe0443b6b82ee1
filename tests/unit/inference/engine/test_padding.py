"""Messages of different sizes share a batch as their manifest declares, and each gets its own size back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Pad, Task
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.message import Message, Outputs
from penstock_inference.engine.model import LoadedModel
from penstock_inference.engine.padding import Padding
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError
from penstock_inference.versions.warm_up import warm_up
from tests.unit.inference.in_process import InProcess

IDS = Field("ids", FieldKind.TENSOR, "INT64", shape=["tokens"], pad=Pad(0, 7), mask="attention_mask")


def manifest(field: Field = IDS, **members: Any) -> Manifest:
    outputs = [Output("sums", "INT64"), Output("doubled", "INT64", ["tokens"])]
    return Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [field], outputs, **members)


class Masked:
    """Sums the ids that the mask has, and doubles each; ``careless`` sums the padding too."""

    inputs = (FileTensor("attention_mask", "FP32", (-1, -1)), FileTensor("ids", "INT64", (-1, -1)))

    def __init__(self, *, careless: bool = False) -> None:
        self._careless = careless
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Any) -> FileAnswer:
        mask, ids = inputs
        self.shapes.append(ids.shape)
        assert mask.dtype == np.float32
        used = ids if self._careless else ids * mask.astype(np.int64)
        return {"sums": used.sum(axis=1), "doubled": ids * 2}

    def changed_state(self) -> list[str]:
        return []


def ids(*values: int) -> dict[str, NDArray[Any]]:
    return {"ids": np.array([values])}


def test_messages_are_filled_up_to_the_longest() -> None:
    """With the value of the manifest, and a mask of what was there before."""
    short, long = Padding(manifest()).pad([ids(1, 2), ids(3, 4, 5)])
    assert short["ids"].tolist() == [[1, 2, 7]]
    assert short["attention_mask"].tolist() == [[1, 1, 0]]
    assert long["ids"].tolist() == [[3, 4, 5]]
    assert long["attention_mask"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(("length", "padded"), [(1, 2), (2, 2), (3, 8), (8, 8), (9, 9)])
def test_sizes_are_rounded_up_to_those_declared(length: int, padded: int) -> None:
    """A message longer than all of them keeps its size."""
    field = Field("ids", FieldKind.TENSOR, "INT64", shape=["tokens"], pad=Pad(0, 0, [2, 8]))
    (filled,) = Padding(manifest(field)).pad([ids(*range(length))])
    assert filled["ids"].shape == (1, padded)


def test_what_agrees_but_for_padding_is_of_one_kind() -> None:
    """Other dimensions have to agree, and an absent input is another kind."""
    image = Field("image", FieldKind.TENSOR, "FP32", shape=["h", "w"], pad=Pad(1))
    scale = Field("scale", FieldKind.NUMBER, "FP32", required=False)
    padding = Padding(Manifest(Format.ONNX, "m", Task.TENSOR, [image, scale], [Output("y", "FP32")]))
    kinds = [padding.kind({"image": np.zeros((1, *shape))}) for shape in ((2, 3), (2, 5), (3, 3))]
    assert kinds[0] == kinds[1] != kinds[2]
    assert padding.kind({"image": np.zeros((1, 2, 3)), "scale": np.zeros(1)}) != kinds[0]
    fixed = Manifest(Format.ONNX, "m", Task.TENSOR, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")])
    assert Padding(fixed).kind({"x": np.zeros(1)}) is None


async def together(m: Manifest, runner: Any, *messages: dict[str, NDArray[Any]]) -> list[Outputs]:
    """The answers to messages that wait while there is no process, and leave when there is."""
    engine = Engine(m, max_queue_rows=99, max_queue_bytes=9999, metrics=VersionMetrics("padded", 1))
    answers = [engine.submit(Message(inputs, time.monotonic() + 30)) for inputs in messages]

    async def wait(answer: Any) -> Outputs:
        outputs: Outputs = await answer
        return outputs

    waiting = [asyncio.create_task(wait(answer)) for answer in answers]
    engine.run_on(InProcess(m, runner))
    return await asyncio.gather(*waiting)


async def test_each_message_is_answered_in_its_own_size() -> None:
    """One run for all; outputs with the padded dimension are cut back, and padding does not count."""
    runner = Masked()
    answers = await together(manifest(), runner, ids(1, 2), ids(3, 4, 5), ids(6))
    assert runner.shapes == [(3, 3)]
    assert [[output.tolist() for output in outputs] for outputs in answers] == [
        [[3], [[2, 4]]],
        [[12], [[6, 8, 10]]],
        [[6], [[12]]],
    ]


async def test_messages_of_other_shapes_run_apart() -> None:
    """Without padding only what agrees shares a run, and none waits behind the others for ever."""

    class Sum:
        inputs = (FileTensor("x", "FP32", (-1, -1)),)
        shapes: list[tuple[int, ...]] = []  # noqa: RUF012

        def run(self, inputs: Any) -> FileAnswer:
            self.shapes.append(inputs[0].shape)
            return [inputs[0].sum(axis=1)]

        def changed_state(self) -> list[str]:
            return []

    m = Manifest(
        Format.ONNX, "m", Task.TENSOR, [Field("x", FieldKind.TENSOR, "FP32", shape=[-1])], [Output("y", "FP32")]
    )
    messages = [{"x": np.ones((1, size), np.float32)} for size in (2, 3, 2, 3)]
    answers = await together(m, Sum(), *messages)
    assert [outputs[0].tolist() for outputs in answers] == [[2], [3], [2], [3]]
    assert sorted(Sum.shapes) == [(2, 2), (2, 3)]


def test_padding_that_shows_in_an_answer_is_refused() -> None:
    """Before the model serves; the reason names the remedy."""
    examples = [{"ids": [1, 2, 3]}, {"ids": [4, 5, 6]}, {"ids": [9]}]
    warm_up(LoadedModel(manifest(examples=examples), Masked()))
    with pytest.raises(ModelMismatchError, match="depends on the padding"):
        warm_up(LoadedModel(manifest(examples=examples), Masked(careless=True)))
