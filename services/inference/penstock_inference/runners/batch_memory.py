"""The memory that the server shares with one process for its batches: a block for inputs, and some for outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_inference.runners.shared_tensors import SharedMemory, create_memory, datatype_of, plan
from penstock_inference.runners.wire import OUTPUT_SLOTS, Ran, Room, Run


class BatchMemory:
    """The server's side of it. Outputs stay readable in their block for as long as somebody holds one of them."""

    def __init__(self) -> None:
        self._inputs: SharedMemory | None = None
        self._outputs: list[SharedMemory | None] = [None] * OUTPUT_SLOTS

    @property
    def size(self) -> int:
        """The bytes of all blocks, which the process has mapped too."""
        return sum([memory.size for memory in (self._inputs, *self._outputs) if memory is not None])

    def put(self, batch: Sequence[dict[str, NDArray[Any]]]) -> tuple[Run, list[int]]:
        """Write the inputs of several messages; return the request to run them.

        With it come the descriptors of the blocks that the process does not have yet.
        """
        places, contents, size = plan(
            [(name, datatype_of(array), [inputs[name] for inputs in batch]) for name, array in batch[0].items()]
        )
        request = Run(places, self._free_slot())
        fds = []
        if self._inputs is None or self._inputs.size < size:
            self._inputs, fd = create_memory("inputs", size)
            request.inputs_bytes = self._inputs.size
            fds.append(fd)
        memory = self._outputs[request.slot]
        if memory is None or memory.in_use:
            memory, fd = create_memory("outputs", memory.size if memory else size)
            self._outputs[request.slot] = memory
            request.outputs_bytes = memory.size
            fds.append(fd)
        self._inputs.write(places, contents)
        return request, fds

    def enlarge(self, slot: int, size: int) -> tuple[Room, list[int]]:
        """Replace a slot's block by one of so many bytes."""
        memory, fd = create_memory("outputs", size)
        self._outputs[slot] = memory
        return Room(memory.size), [fd]

    def take(self, reply: Ran, slot: int, outputs: int, rows: int) -> list[NDArray[Any]]:
        """Return the outputs, once they prove to be what the process says and one row for each input row.

        The process can still change their values, and nothing else; it has no reason to, since they are its own.

        Raises:
            PenstockError, ValueError: they are not.
        """
        memory = self._outputs[slot]
        if memory is None or len(reply.outputs) != outputs:
            raise ValueError(f"There are {len(reply.outputs)} outputs and not {outputs}.")
        arrays = [memory.read(place) for place in reply.outputs]
        if any(array.ndim == 0 or len(array) != rows for array in arrays):
            raise ValueError(f"The outputs are not {rows} rows.")
        return arrays

    def close(self) -> None:
        self._inputs, self._outputs = None, [None] * OUTPUT_SLOTS

    def _free_slot(self) -> int:
        """Return a slot whose memory nobody reads; if there is none, one that gets new memory."""
        for slot, memory in enumerate(self._outputs):
            if memory is not None and not memory.in_use:
                return slot
        return self._outputs.index(None) if None in self._outputs else 0
