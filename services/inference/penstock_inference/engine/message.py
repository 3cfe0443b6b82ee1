"""What goes into an engine and what comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Mapping
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


class Answer:
    """What an engine answers to one message: a sequence of outputs, which has one element if a model does not stream.

    ``await answer`` gives the single outputs; ``async for outputs in answer``
    gives all of them as they come. Cancelling the task that waits withdraws the message.
    """

    __slots__ = ("_outputs",)

    def __init__(self, outputs: asyncio.Future[Outputs]) -> None:
        self._outputs = outputs

    def __await__(self) -> Generator[Any, None, Outputs]:
        return self._outputs.__await__()

    async def __aiter__(self) -> AsyncIterator[Outputs]:
        yield await self._outputs
