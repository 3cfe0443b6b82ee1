"""The outputs of models by name, read and checked: what does not fit is the model's fault."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.signature.answer_tensors import answer_array, bad_answer

T = TypeVar("T")
#: Characters of msgspec's explanation that an error quotes.
_EXPLAINED = 200


def texts(answer: Answer, name: str) -> list[str]:
    """The text of each row in an output.

    Raises:
        PenstockError: 500 ``bad-model-answer``.
    """
    try:
        return [element.decode() for element in _elements(answer, name)]
    except UnicodeDecodeError:
        raise bad_answer(answer.servable.model, f"'{name}' that is not UTF-8 text") from None


def documents(answer: Answer, name: str, decoder: msgspec.json.Decoder[T]) -> list[T]:
    """The JSON document of each row in an output.

    Raises:
        PenstockError: 500 ``bad-model-answer``.
    """
    try:
        return [decoder.decode(element) for element in _elements(answer, name)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        what = f"'{name}' that is not the JSON of its service ({str(err)[:_EXPLAINED]})"
        raise bad_answer(answer.servable.model, what) from None


def _elements(answer: Answer, name: str) -> list[bytes]:
    outputs = answer.servable.signature.manifest.outputs
    index = [output.name for output in outputs].index(name)
    array = answer_array(answer.outputs, index, outputs[index], answer.rows.count, answer.servable.model)
    elements: list[bytes] = array.tolist()
    return elements
