"""The text with which a user says what a tensor is: ``readings=FP32[4]``."""

from __future__ import annotations

import re

from penstock_common.errors import PenstockError
from penstock_common.file_signature import FoundInput, FoundOutput
from penstock_common.manifest import DATATYPES

_PATTERN = re.compile(r"(?:(?P<name>.+)=)?(?P<datatype>[A-Z]+[0-9]*)(?:\[(?P<shape>[0-9, ]*)\])?")


def parse_input(text: str) -> FoundInput:
    """Return ``name=DATATYPE[shape of one row]``; without a shape it is a scalar, without a name that is None.

    Raises:
        PenstockError: 422 ``bad-tensor``.
    """
    found = _PATTERN.fullmatch(text.strip())
    if found is None or found["datatype"] not in DATATYPES:
        raise PenstockError(
            422,
            "bad-tensor",
            f"{text!r} does not say what a tensor is; write e.g. readings=FP32[4], with the shape of one row and a type "
            f"of {', '.join(DATATYPES)}.",
        )
    shape = [int(size) for size in (found["shape"] or "").split(",") if size.strip()]
    return FoundInput(found["name"], found["datatype"], shape)


def parse_output(text: str) -> FoundOutput:
    """Return the same for an output."""
    tensor = parse_input(text)
    return FoundOutput(tensor.name, tensor.datatype or "", tensor.shape or [])
