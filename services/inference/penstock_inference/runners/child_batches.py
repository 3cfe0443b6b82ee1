"""How a model's process answers batches: one after the other, through memory that it shares with the server."""

from __future__ import annotations

import os
from typing import Any, NoReturn, Protocol

from numpy.typing import NDArray

from penstock_inference.runners.failure import failure_of, lost_gpu
from penstock_inference.runners.progress import Progress
from penstock_inference.runners.server_connection import ServerConnection, map_memory
from penstock_inference.runners.shared_tensors import SharedMemory, datatype_of, plan
from penstock_inference.runners.wire import OUTPUT_SLOTS, Ran, Run


class BatchModel(Protocol):
    """A loaded model that answers batches.

    Attributes:
        longest_run: seconds of the longest of the runs by which it was tried; 0 if it was not.
    """

    longest_run: float

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]: ...


class BatchLoop:
    """Runs batches until the server goes.

    A model whose runs are long has a ``tell_progress``, which it calls in between: only a run without progress is a hang.
    """

    def __init__(self, server: ServerConnection, model: BatchModel, progress: Progress) -> None:
        if hasattr(model, "tell_progress"):
            model.tell_progress = progress.working
        self._server = server
        self._model = model
        self._inputs: SharedMemory | None = None
        self._outputs: list[SharedMemory | None] = [None] * OUTPUT_SLOTS

    def serve(self) -> NoReturn:
        while True:
            self._answer()

    def _answer(self) -> None:
        """Wait for a batch, run it and send its outputs, or why there are none."""
        request, fds = self._server.receive()
        if not isinstance(request, Run):
            return
        if request.inputs_bytes:
            self._inputs = map_memory(fds.pop(0), request.inputs_bytes)
        if request.outputs_bytes:
            self._outputs[request.slot] = map_memory(fds.pop(0), request.outputs_bytes)
        memory = self._outputs[request.slot]
        assert self._inputs is not None
        assert memory is not None
        try:
            inputs = {place.name: self._inputs.read(place) for place in request.inputs}
            outputs = self._model.run(inputs)
            places, contents, size = plan([(str(n), datatype_of(output), [output]) for n, output in enumerate(outputs)])
            if size > memory.size:
                room = self._server.ask_for_room(size)
                if room is None:
                    return
                memory = self._outputs[request.slot] = room
            memory.write(places, contents)
        except Exception as err:
            self._server.send(failure_of(err))
            if lost_gpu(err):
                os._exit(1)
        else:
            self._server.send(Ran(places))
