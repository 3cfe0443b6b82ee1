"""Models that are Python code, which an operator has to allow: a file with a class ``Model``.

    class Model:
        def load(self, folder: pathlib.Path) -> None: ...
        def predict(self, inputs: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]: ...

The arrays are batches ``[N, ...]``, or as the manifest says, and named as there; BYTES are object arrays of ``bytes``.
A ``predict`` that takes long calls ``self.tell_progress()`` every few seconds, or counts as hanging.
If the manifest says ``stream: true``, it has instead of ``predict``, for one row at a time:

        def stream(self, inputs: dict[str, numpy.ndarray]) -> Iterator[dict[str, numpy.ndarray]]: ...
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.runner import Chunk, FileAnswer, FileTensor, ModelMismatchError, tell_nobody

#: Streams that may be open at once if the model does not say.
_MOST_STREAMS = 8


class PythonRunner:
    """Runs the ``predict`` of a ``Model``."""

    def __init__(self, model: Any, manifest: Manifest) -> None:
        self._model = model
        self.tell_progress: Callable[[], None] = tell_nobody
        with contextlib.suppress(AttributeError):  # a class with slots
            model.tell_progress = lambda: self.tell_progress()
        self.inputs = _inputs(manifest)

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        return _dict(self._model.predict(_named(self.inputs, inputs)), "predict returns")

    def changed_state(self) -> list[str]:
        return []  # whether a call changes the next is up to the code


class PythonStreamingRunner:
    """Runs the ``stream`` of a ``Model``: a step is the next chunk of one open stream, and they take turns.

    A model says how many streams may be open with an attribute ``most_streams``.
    """

    def __init__(self, model: Any, manifest: Manifest) -> None:
        self._model = model
        self.inputs = _inputs(manifest)
        self.paused: set[int] = set()
        self._open: dict[int, Iterator[Any]] = {}  # the stream whose turn it is first

    @property
    def most_streams(self) -> int:
        return int(getattr(self._model, "most_streams", _MOST_STREAMS))

    def open(self, stream: int, inputs: Sequence[NDArray[Any] | None]) -> None:
        chunks = self._model.stream(_named(self.inputs, inputs))
        if not isinstance(chunks, Iterator):
            raise ModelMismatchError(f"stream yields dicts of arrays by name; it returned {type(chunks).__name__}.")
        self._open[stream] = chunks

    def step(self) -> list[Chunk]:
        stream = next((stream for stream in self._open if stream not in self.paused), None)
        if stream is None:
            return []
        chunks = self._open.pop(stream)
        try:
            outputs = next(chunks, None)
            if outputs is None:
                return [Chunk(stream, last=True)]
            chunk = Chunk(stream, _dict(outputs, "stream yields"))
        except Exception as err:
            return [Chunk(stream, last=True, error=err)]
        self._open[stream] = chunks
        return [chunk]

    def close(self, stream: int) -> None:
        chunks = self._open.pop(stream, None)
        if isinstance(chunks, Generator):
            with contextlib.suppress(Exception):  # of a model that nobody waits for
                chunks.close()


def _inputs(manifest: Manifest) -> list[FileTensor]:
    return [
        FileTensor(
            tensor.name,
            tensor.datatype,
            tensor.file_shape,
            required=not (tensor.optional or tensor.may_be_absent),
        )
        for tensor in model_tensors(manifest)
    ]


def _named(taken: Sequence[FileTensor], inputs: Sequence[NDArray[Any] | None]) -> dict[str, NDArray[Any]]:
    return {str(tensor.name): array for tensor, array in zip(taken, inputs, strict=True) if array is not None}


def _dict(answer: Any, what: str) -> dict[str, NDArray[Any]]:
    if not isinstance(answer, dict):
        raise ModelMismatchError(f"{what} a dict of arrays by name; this is a {type(answer).__name__}.")
    return answer


def load(path: Path, manifest: Manifest, threads: int) -> PythonRunner:
    """Import a ``.py`` file, make its ``Model`` and load it."""
    return PythonRunner(_model(path, "predict"), manifest)


def load_streaming(path: Path, manifest: Manifest, threads: int) -> PythonStreamingRunner:
    """Do the same for a model that streams."""
    return PythonStreamingRunner(_model(path, "stream"), manifest)


def _model(path: Path, call: str) -> Any:
    spec = importlib.util.spec_from_file_location("penstock_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # for the modules beside it
    spec.loader.exec_module(module)
    if not hasattr(getattr(module, "Model", None), call):
        raise ModelMismatchError(f"{path.name} has no class Model with load(folder) and {call}(inputs).")
    model = module.Model()
    model.load(path.parent)
    return model
