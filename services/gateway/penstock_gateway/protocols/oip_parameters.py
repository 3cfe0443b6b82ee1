"""The parameters of an Open Inference Protocol request: each is carried out or refused, none is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock_common.errors import PenstockError
from penstock_gateway.signature.field_check import shown

#: What JSON may hold for parameters. The protocol has no nested ones.
Parameters = dict[str, str | int | float | bool | None]

#: Of a whole request. ``binary_data_output``: answer in binary data. ``timeout``: microseconds, as Triton takes them.
#: ``non_finite_as_null``: write NaN and infinity as null in JSON, where they are otherwise an error.
REQUEST: dict[str, type] = {"binary_data_output": bool, "timeout": int, "non_finite_as_null": bool}
#: Of an input: its bytes behind the JSON.
INPUT: dict[str, type] = {"binary_data_size": int}
#: Of an output. ``classification``: the so many likeliest classes instead of the values.
OUTPUT: dict[str, type] = {"binary_data": bool, "classification": int}

_TYPES = {bool: "true or false", int: "a whole number, 0 or more"}
#: Triton's parameters of stateful models and schedulers, with the values that ask for nothing.
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "sequence_id": (0, ""),
    "sequence_start": (False,),
    "sequence_end": (False,),
    "priority": (0,),
}


def read_parameters(given: Parameters | None, known: Mapping[str, type], where: str) -> dict[str, Any]:
    """The parameters that are set, of those in ``known``.

    Raises:
        PenstockError: 400 ``bad-tensor`` for a wrong type, ``unsupported-parameter`` for any other parameter.
    """
    values: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if value is None or value in _WITHOUT_EFFECT.get(name, ()):
            continue
        if name not in known:
            text = f"{where}: parameter {shown(name)} is not supported here; known are {', '.join(known)}."
            raise PenstockError(400, "unsupported-parameter", text)
        # JSON's 1.0 is a whole number too.
        read: Any = int(value) if known[name] is int and isinstance(value, float) and value.is_integer() else value
        given_type = type(read)
        if given_type is not known[name] or read < 0:
            text = f"{where}: parameter {name!r} must be {_TYPES[known[name]]}, got {shown(value)}."
            raise PenstockError(400, "bad-tensor", text)
        values[name] = read
    return values
