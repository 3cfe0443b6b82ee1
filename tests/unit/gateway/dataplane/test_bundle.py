"""Rows of several requests in one message, and each one's share of the answer."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_common.contract import inference_pb2 as pb
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes
from penstock_gateway.dataplane.bundle import BundleFormat
from penstock_gateway.signature.rows import RawOutputs, Rows


def bundle_format(inputs: list[Field], outputs: list[Output]) -> BundleFormat:
    return BundleFormat("m", 3, Manifest(Format.ONNX, "m.onnx", Task.TENSOR, inputs, outputs))


def tensors(shares: list[RawOutputs]) -> list[list[bytes]]:
    """What each member gets of outputs whose shapes are fixed."""
    assert all(share.shapes is None for share in shares)
    return [share.tensors for share in shares]


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def answer(*outputs: tuple[str, str, list[int], bytes]) -> pb.ModelInferResponse:
    """A pod's message of outputs (name, datatype, shape, raw tensor)."""
    response = pb.ModelInferResponse()
    for name, datatype, shape, raw in outputs:
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(raw)
    return response


PAIR = [Field("x", FieldKind.TENSOR, "FP32", shape=[2]), Field("t", FieldKind.TEXT, "BYTES")]
ONE = bundle_format(PAIR, [Output("y", "FP32")])
TEXTS = bundle_format(PAIR, [Output("t", "BYTES")])
WORDS = bundle_format(PAIR, [Output("w", "BYTES", [2])])
TWO = bundle_format(PAIR, [Output("y", "FP32"), Output("t", "BYTES")])


def test_rows_are_joined_in_their_order() -> None:
    """One message names model and version and has each input once, with the rows of all in the batch dimension."""
    first = Rows([floats(1, 2), pack_bytes([b"a"])], 1)
    second = Rows([floats(3, 4, 5, 6), pack_bytes([b"b", b"c"])], 2)
    request = ONE.merge([first, second], 3)
    assert (request.model_name, request.model_version) == ("m", "3")
    assert [(i.name, i.datatype, list(i.shape)) for i in request.inputs] == [("x", "FP32", [3, 2]), ("t", "BYTES", [3])]
    assert list(request.raw_input_contents) == [floats(1, 2, 3, 4, 5, 6), pack_bytes([b"a", b"b", b"c"])]


def test_a_lone_request_gets_the_answer_as_it_is() -> None:
    """The tensor of a single member is not touched, and so not judged: the presenter does that."""
    assert tensors(ONE.split(answer(("y", "FP32", [2], b"odd")), [2], 2)) == [[b"odd"]]


def test_each_gets_as_many_rows_as_it_sent() -> None:
    """Rows of one width are cut by their number."""
    shares = tensors(ONE.split(answer(("y", "FP32", [4], floats(1, 2, 3, 4))), [1, 3], 4))
    assert shares == [[floats(1)], [floats(2, 3, 4)]]


def test_texts_of_different_lengths_are_cut_between_elements() -> None:
    """BYTES rows have no width: an empty and a long text are a row each."""
    raw = pack_bytes([b"", b"a long text", b"c"])
    assert tensors(TEXTS.split(answer(("t", "BYTES", [3], raw)), [2, 1], 3)) == [
        [pack_bytes([b"", b"a long text"])],
        [pack_bytes([b"c"])],
    ]


def test_a_row_may_have_several_texts() -> None:
    """Elements are counted by the answer's shape."""
    raw = pack_bytes([b"a", b"bb", b"ccc", b""])
    assert tensors(WORDS.split(answer(("w", "BYTES", [2, 2], raw)), [1, 1], 2)) == [
        [pack_bytes([b"a", b"bb"])],
        [pack_bytes([b"ccc", b""])],
    ]


@pytest.mark.parametrize("counts", [[1], [1, 1]])
def test_outputs_are_in_the_order_of_the_signature(counts: list[int]) -> None:
    """Whatever order a pod answers in, and whatever more it answers."""
    total = len(counts)
    texts, values = [b"a", b"b"][:total], [1.0, 2.0][:total]
    response = answer(
        ("extra", "FP32", [total], floats(*[9.0] * total)),
        ("t", "BYTES", [total], pack_bytes(texts)),
        ("y", "FP32", [total], floats(*values)),
    )
    shares = tensors(TWO.split(response, counts, total))
    assert shares == [[floats(value), pack_bytes([text])] for value, text in zip(values, texts, strict=True)]


@pytest.mark.parametrize("counts", [[1], [1, 1]])
def test_a_missing_output_is_the_models_fault(counts: list[int]) -> None:
    """500 names the output that the manifest promises."""
    total = len(counts)
    with pytest.raises(PenstockError, match="'t'") as caught:
        TWO.split(answer(("y", "FP32", [total], floats(*[0.0] * total))), counts, total)
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")


def test_an_output_without_its_contents_is_missing() -> None:
    """A pod that names an output and sends no tensor for it has not answered it."""
    response = answer(("y", "FP32", [1], floats(0)))
    response.outputs.add(name="t", datatype="BYTES", shape=[1])
    with pytest.raises(PenstockError, match="'t'"):
        TWO.split(response, [1], 1)


FIELDS = [
    Field("x", FieldKind.TENSOR, "FP32", shape=[2]),
    Field("n", FieldKind.INTEGER, "INT64"),
    Field("t", FieldKind.TEXT, "BYTES"),
    Field("w", FieldKind.TENSOR, "BYTES", shape=[2]),
]
ECHO = bundle_format(FIELDS, [Output(field.name, field.datatype, field.shape) for field in FIELDS])
SINGLE = st.floats(width=32, allow_nan=False)
TEXT = st.binary(max_size=9)
ROW = st.tuples(st.tuples(SINGLE, SINGLE), st.integers(-(2**63), 2**63 - 1), TEXT, st.tuples(TEXT, TEXT))


@given(st.lists(st.lists(ROW, min_size=1, max_size=4), min_size=1, max_size=6))
def test_whatever_shares_a_message_gets_its_own_back(requests: list[list[tuple[object, ...]]]) -> None:
    """With a model that answers its inputs, each request of any bundle is answered exactly what it sent."""
    bundle = []
    for rows in requests:
        pairs, numbers, texts, words = zip(*rows, strict=True)
        bundle.append(
            Rows(
                [
                    floats(*[value for pair in pairs for value in pair]),  # type: ignore[attr-defined]
                    struct.pack(f"<{len(rows)}q", *numbers),
                    pack_bytes(texts),  # type: ignore[arg-type]
                    pack_bytes([word for pair in words for word in pair]),  # type: ignore[attr-defined]
                ],
                len(rows),
            )
        )
    total = sum(rows.count for rows in bundle)
    request = ECHO.merge(bundle, total)
    response = answer(
        *[
            (tensor.name, tensor.datatype, list(tensor.shape), raw)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        ]
    )
    assert tensors(ECHO.split(response, [rows.count for rows in bundle], total)) == [rows.inputs for rows in bundle]


VARYING = [
    Field("image", FieldKind.TENSOR, "FP32", shape=["height", "width"]),
    Field("scale", FieldKind.NUMBER, "FP32", required=False),
]
BOXES = [Output("boxes", "FP32", [-1, "corners"])]


def test_rows_whose_shape_varies_travel_with_it() -> None:
    """The message has the shape that the rows have, and lacks an input that they lack."""
    rows = Rows([floats(1, 2), b""], 1, shapes=((1, 2), None))
    request = bundle_format(VARYING, BOXES).merge([rows, rows], 2)
    assert [(i.name, list(i.shape)) for i in request.inputs] == [("image", [2, 1, 2])]
    assert list(request.raw_input_contents) == [floats(1, 2, 1, 2)]


def test_shares_have_the_shape_that_the_model_gave() -> None:
    """Of a row, with any number of dimensions that vary; none at all is an answer too."""
    boxes = bundle_format(VARYING, BOXES)
    shares = boxes.split(answer(("boxes", "FP32", [2, 1, 2], floats(1, 2, 3, 4))), [1, 1], 2)
    assert shares == [RawOutputs([floats(1, 2)], [(1, 2)]), RawOutputs([floats(3, 4)], [(1, 2)])]
    assert boxes.split(answer(("boxes", "FP32", [1, 0, 4], b"")), [1], 1) == [RawOutputs([b""], [(0, 4)])]


def test_without_a_batch_tensors_are_exactly_their_shape() -> None:
    """Both ways: there is no dimension of rows."""
    manifest = Manifest(Format.ONNX, "m.onnx", Task.TENSOR, VARYING, BOXES, batch=False)
    whole = BundleFormat("m", 3, manifest)
    request = whole.merge([Rows([floats(1, 2), floats(3)], 1, shapes=((2, 1), ()))], 1)
    assert [list(i.shape) for i in request.inputs] == [[2, 1], []]
    assert whole.split(answer(("boxes", "FP32", [1, 2], floats(1, 2))), [1], 1)[0].shapes == [(1, 2)]
