"""The tensors of a manifest and of a file are matched by name; what does not match is refused with both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_inference.engine.bindings import InputBinding, OutputBinding
from penstock_inference.runners.runner import FileTensor, ModelMismatchError


def manifest(inputs: list[Field], outputs: list[Output] | None = None, **members: Any) -> Manifest:
    return Manifest(Format.ONNX, "m.onnx", Task.TENSOR, inputs, outputs or [Output("y", "FP32")], **members)


def number(name: str, source: str = "") -> Field:
    return Field(name, FieldKind.NUMBER, "FP32", source=source)


def column(value: float) -> NDArray[Any]:
    return np.full(2, value, np.float32)


def bound(inputs: list[Field], taken: Sequence[FileTensor], **members: Any) -> list[float | None]:
    """The value that each input of the file gets, of 0, 1, ... for the fields."""
    arrays = [column(i) for i in range(len(inputs))]
    return [
        None if array is None else float(array.ravel()[0])
        for array in InputBinding(manifest(inputs, **members), taken).bind(arrays)
    ]


def named(*names: str) -> list[FileTensor]:
    return [FileTensor(name, "FP32", (-1,)) for name in names]


def test_inputs_are_bound_by_name_in_any_order() -> None:
    """The file's order is its own affair."""
    assert bound([number("a"), number("b"), number("c")], named("c", "a", "b")) == [2, 0, 1]


def test_a_source_is_the_name_in_the_file() -> None:
    """Names such as converters give, which a client should not have to know."""
    assert bound([number("a", source="input.1:0"), number("b")], named("b", "input.1:0")) == [1, 0]


def test_position_is_used_if_the_file_has_no_names() -> None:
    """As many inputs as the manifest has."""
    assert bound([number("a"), number("b")], [FileTensor(None), FileTensor(None)]) == [0, 1]


def test_a_lone_input_needs_no_name() -> None:
    """Nothing can be confused with it, not even an input that the file has a value for."""
    assert bound([number("a")], named("input.1")) == [0]
    assert bound([number("a")], [FileTensor("x"), FileTensor("scale", required=False)]) == [0, None]


def test_an_input_that_the_file_has_a_value_for_is_left_out_or_given() -> None:
    """By its name."""
    taken = [FileTensor("x"), FileTensor("scale", required=False), FileTensor("z")]
    assert bound([number("z"), number("x")], taken) == [1, None, 0]
    assert bound([number("scale"), number("x"), number("z")], taken) == [1, 0, 2]


@pytest.mark.parametrize(
    "taken",
    [
        named("x", "b"),
        named("a"),
        named("a", "b", "c"),
        [FileTensor(None)],
        [FileTensor(None)] * 3,
    ],
)
def test_other_names_or_numbers_are_refused_with_both_sides(taken: list[FileTensor]) -> None:
    """The manifest's inputs, the file's, and the remedy."""
    with pytest.raises(ModelMismatchError, match=r"gives 'a' FP32 \[-1\], 'b' FP32 \[-1\]; the file takes .*`source`"):
        bound([number("a"), number("b")], taken)


@pytest.mark.parametrize(
    ("taken", "refusal"),
    [
        (FileTensor("a", "FP64", (-1, 3)), r"gives FP32 \[-1, 3\], the file takes FP64 \[-1, 3\]"),
        (FileTensor("a", "FP32", (-1, 4)), r"the file takes FP32 \[-1, 4\]"),
        (FileTensor("a", "FP32", (-1, 3, 1)), r"the file takes FP32 \[-1, 3, 1\]"),
        (FileTensor("a", "FP32", (1, 3)), r"exactly 1 rows at once.*max_batch_size: 1"),
        (FileTensor("a", "FP32", (8, 3)), r"exactly 8 rows at once.*varies\."),
    ],
)
def test_another_type_or_shape_is_refused_with_both_sides(taken: FileTensor, refusal: str) -> None:
    """What the file says of itself must fit what it would be given."""
    with pytest.raises(ModelMismatchError, match=refusal):
        InputBinding(manifest([Field("a", FieldKind.TENSOR, "FP32", shape=[3])]), [taken])


def test_a_file_for_one_row_serves_a_manifest_for_one_row() -> None:
    """With ``max_batch_size: 1``."""
    fields = [Field("a", FieldKind.TENSOR, "FP32", shape=[3])]
    InputBinding(manifest(fields, batching=Batching(1)), [FileTensor("a", "FP32", (1, 3))])


def test_a_scalar_is_given_as_a_column_if_the_file_takes_columns() -> None:
    """scikit-learn's converter declares ``[None, 1]`` for each column of a table."""
    binding = InputBinding(manifest([number("a"), number("b")]), [FileTensor("a", "FP32", (-1, 1)), *named("b")])
    assert [array is not None and array.shape for array in binding.bind([column(0), column(1)])] == [(2, 1), (2,)]


def test_a_table_without_categories_needs_no_tensor_for_them() -> None:
    """The tensor of a kind of columns that the table does not have is given only to a file that takes it."""
    members = {"preprocess": Preprocess("tabular")}
    arrays = [np.zeros((2, 2), np.float32), np.zeros((2, 0), np.int64)]
    table = manifest([number("a"), number("b")], **members)
    assert len(InputBinding(table, [FileTensor("X", "FP32", (-1, 2))]).bind(arrays)) == 1
    both = [FileTensor("indices"), FileTensor("numbers")]
    assert [array is arrays[1] for array in InputBinding(table, both).bind(arrays)] == [True, False]


def outputs(answer: dict[str, Any] | list[Any], *wanted: Output) -> list[Any]:
    return OutputBinding(wanted, answer, batch=True).take(answer)


def test_outputs_are_bound_by_name_and_may_be_a_subset() -> None:
    """A converter's ``label`` before ``probabilities`` does no harm."""
    answer = {"label": 0, "probabilities": 1, "z:0": 2}
    assert outputs(answer, Output("probabilities", "FP32"), Output("z", "FP32", source="z:0")) == [1, 2]


def test_outputs_without_names_are_bound_by_position() -> None:
    """All of them in order, or each by a ``source`` that is its position."""
    assert outputs([7, 8], Output("a", "FP32"), Output("b", "FP32")) == [7, 8]
    assert outputs([7, 8, 9], Output("a", "FP32", source="2")) == [9]


def test_a_lone_output_needs_no_name() -> None:
    """Nothing can be confused with it."""
    assert outputs({"output_0": 7}, Output("y", "FP32")) == [7]


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ({"label": 0, "scores": 1}, "names the outputs 'p'; the file gives 'label', 'scores'.*`source`"),
        ([0, 1], r"names 1 outputs \('p'\); the file gives 2 without names"),
        ({}, "the file gives nothing"),
    ],
)
def test_an_output_that_is_not_there_is_refused_with_both_sides(answer: Any, refusal: str) -> None:
    """The manifest's outputs, the file's, and the remedy."""
    with pytest.raises(ModelMismatchError, match=refusal):
        outputs(answer, Output("p", "FP32"))
