"""What the server, a framework's parent and the models' processes say to each other.

Each message is one packet of a SOCK_SEQPACKET pair, encoded as MessagePack. Descriptors travel beside it, in the order
in which the message mentions them. A model's process is not trusted: what it says is decoded into these types only,
and its texts are cut.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from penstock_common.manifest import Manifest
from penstock_inference.runners.shared_tensors import Place

#: Bytes of one packet at most.
MAX_PACKET = 128 * 1024
#: Memories for outputs: the answers of one batch are sent while the next one runs.
OUTPUT_SLOTS = 2
#: Characters of a failure's text at most.
MAX_TEXT = 2000
#: Bytes of one row's tensors that travel in the packet itself.
MAX_INLINE = 32 * 1024
#: Bytes of one chunk at most: what a gRPC message of the pod can carry.
MAX_CHUNK_BYTES = 64 * 1024 * 1024
#: A stream whose reader has not read so many chunks, or so many bytes, is behind; its model may wait for it.
BEHIND_CHUNKS = 4
BEHIND_BYTES = 8 * 1024 * 1024

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class Order(msgspec.Struct):
    """What a process is to load. It travels in a memfd, because a manifest can be larger than a packet.

    Attributes:
        folder: of the version's files.
        threads: of one operator.
        memory_bytes: that the process may take beyond what it shares with its parent.
    """

    manifest: Manifest
    folder: str
    threads: int
    memory_bytes: int


class Fork(msgspec.Struct, tag=True, array_like=True):
    """To a parent: fork a process. Beside it: the process's socket, its order, and the page of its ``Progress``."""


class Features(msgspec.Struct, tag=True, array_like=True):
    """From a parent, once: its framework is imported. What this machine's kernel has to confine processes with."""

    seccomp: bool
    landlock: int  # the version of its interface; 0 if there is none


class Forked(msgspec.Struct, tag=True, array_like=True):
    """From a parent, in the order of the ``Fork``. Beside it: a pidfd of the process."""

    pid: int


class Died(msgspec.Struct, tag=True, array_like=True):
    """From a parent: a process has ended; ``status`` as ``os.waitstatus_to_exitcode`` gives it."""

    pid: int
    status: int


class Run(msgspec.Struct, tag=True, array_like=True):
    """To a process: run a batch. Beside it: the new memory for inputs, and the new memory for outputs, if any.

    Attributes:
        slot: which of the memories for outputs is free.
        inputs_bytes: the size of the new memory for inputs; 0 if it is the old one.
        outputs_bytes: the same for outputs.
    """

    inputs: list[Place]
    slot: int = 0
    inputs_bytes: int = 0
    outputs_bytes: int = 0


class Room(msgspec.Struct, tag=True, array_like=True):
    """To a process: here is the memory for outputs of which it said ``TooSmall``. Beside it: its descriptor.

    With 0 bytes: there will be none, and no answer is expected.
    """

    outputs_bytes: int


class Parcel(msgspec.Struct, array_like=True):
    """The tensors of one row of a stream: in the packet if they are small, and else in memory of their own.

    Attributes:
        data: the tensors; empty if they are in memory.
        memory_bytes: the size of that memory; 0 if they are in ``data``.
    """

    places: list[Place]
    data: bytes = b""
    memory_bytes: int = 0


class Open(msgspec.Struct, tag=True, array_like=True):
    """To a process: begin a stream, whose number is new. Beside it: the memory of the parcel, if it has any."""

    stream: int
    inputs: Parcel


class Close(msgspec.Struct, tag=True, array_like=True):
    """To a process: nobody reads the stream any more. It may have ended already."""

    stream: int


class Credit(msgspec.Struct, tag=True, array_like=True):
    """To a process: so many more chunks of the stream were read."""

    stream: int
    chunks: int


class Loaded(msgspec.Struct, tag=True, array_like=True):
    """From a process: the model is loaded and warm.

    Attributes:
        seconds: that the load and the warm-up took.
        device: what it runs on, ``cpu`` or the name of a GPU.
        gpu_bytes: of the GPU's memory that the process holds.
        most_streams: that may be open at once; 0 if the model does not stream.
        longest_run: seconds of the longest run of the trials.
    """

    seconds: float
    device: Annotated[str, msgspec.Meta(max_length=100)] = "cpu"
    gpu_bytes: int = 0
    most_streams: int = 0
    longest_run: float = 0.0


class Ran(msgspec.Struct, tag=True, array_like=True):
    """From a process: the outputs of the batch."""

    outputs: list[Place]


class TooSmall(msgspec.Struct, tag=True, array_like=True):
    """From a process: the outputs of the batch, or of the next chunk, need memory of that many bytes."""

    outputs_bytes: int


class Failed(msgspec.Struct, tag=True, array_like=True):
    """From a process: the load or the run failed.

    Attributes:
        kind: the name of the exception's type.
        status: of a ``PenstockError``; 0 if it was another exception.
        out_of_memory: the process may not take as much memory as this needs.
        of_gpu: it is the GPU's memory.
    """

    kind: Text
    text: Text
    status: int = 0
    out_of_memory: bool = False
    of_gpu: bool = False


class StreamChunk(msgspec.Struct, array_like=True):
    """What a step gave one stream.

    Attributes:
        outputs: of one row; if they are in memory, in that of the newest ``Room``. None without any.
        last: the stream has ended.
        failed: the stream has ended with this.
    """

    stream: int
    outputs: Parcel | None = None
    last: bool = False
    failed: Failed | None = None


class Chunks(msgspec.Struct, tag=True, array_like=True):
    """From a process: what a step gave some streams, those included that the server has closed meanwhile."""

    chunks: list[StreamChunk]


FromServer = Run | Room | Open | Close | Credit
FromParent = Features | Forked | Died
FromProcess = Loaded | Ran | TooSmall | Failed | Chunks
