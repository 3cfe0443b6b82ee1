"""What goes into an engine and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

#: Tensors by name, ``[rows, *shape]`` each.
Arrays = dict[str, NDArray[Any]]
#: Tensors in the order of the signature's outputs, ``[rows, *shape]`` each.
Outputs = list[NDArray[Any]]


@dataclass(slots=True)
class Message:
    """The inputs of one request by name, not yet checked; ``deadline`` is in seconds of ``time.monotonic()``.

    Between messages of different principals, a model takes turns; those of several in one message are none's.
    ``retried`` if another pod had the message before.
    """

    inputs: Mapping[str, NDArray[Any]]
    deadline: float
    principal: str = ""
    retried: bool = False


class CheckedInputs(NamedTuple):
    """The inputs of a message, which fit the signature."""

    arrays: Arrays
    retried: bool
