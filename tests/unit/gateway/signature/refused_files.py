"""What a field of files refuses, as JSON and as a tensor."""

from __future__ import annotations

import base64

import msgspec
import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.signature.field_check import FieldCheck
from penstock_gateway.signature.row_decoder import RowDecoder


def json_rows(field: str, files: tuple[bytes, ...]) -> bytes:
    """The body of a request with a file in each row."""
    return msgspec.json.encode([{field: base64.b64encode(file).decode()} for file in files])


def refusals(decoder: RowDecoder, check: FieldCheck, files: tuple[bytes, ...]) -> tuple[PenstockError, PenstockError]:
    """The errors for these rows as JSON and as a tensor, which say the same."""
    with pytest.raises(PenstockError) as as_json:
        decoder.decode_json(json_rows(check.name, files))
    array = np.empty(len(files), dtype=np.object_)
    array[:] = files
    with pytest.raises(PenstockError) as as_tensor:
        check.array(array)
    assert as_json.value.detail.removeprefix("Row 0: ") == as_tensor.value.detail
    return as_json.value, as_tensor.value
