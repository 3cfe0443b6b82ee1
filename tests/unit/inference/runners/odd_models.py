"""The program of a parent whose models are not files: the manifest's description names one of those below.

Each doubles its input. If a value is negative, it does what it is named for.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.runners.parent import run_parent

Arrays = dict[str, NDArray[Any]]
Outputs = list[NDArray[Any]]

_SERVER_SOCKET = 3
_held: list[mmap.mmap] = []


def loop(inputs: Arrays) -> None:
    """Run without an end, as a model with a loop whose condition never comes."""
    while True:
        time.sleep(0.01)


def nap(inputs: Arrays) -> None:
    """Take longer than a run may that shows no progress."""
    time.sleep(5)


def hold(inputs: Arrays) -> None:
    """Keep the interpreter's lock."""
    ctypes.PyDLL(None).sleep(1000)


def crash(inputs: Arrays) -> None:
    ctypes.string_at(0)


def leave(inputs: Arrays) -> None:
    os._exit(3)


def allocate(inputs: Arrays) -> None:
    np.ones(2**30, np.uint8)


def swell(inputs: Arrays) -> None:
    """Take memory for a moment."""
    np.ones(64 * 2**20, np.uint8)


def map_shared(inputs: Arrays) -> None:
    """Take memory that no limit on private memory sees."""
    for _ in range(64):
        pages = mmap.mmap(-1, 16 * 2**20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        pages.write(bytes(len(pages)))
        _held.append(pages)
        time.sleep(0.1)
    loop(inputs)


def bad_row(inputs: Arrays) -> None:
    raise PenstockError(422, "invalid-input", "The row is bad.")


def impostor(inputs: Arrays) -> None:
    raise PenstockError(401, "no-key", "Send me your key.")


def fail(inputs: Arrays) -> None:
    raise ValueError("a fault of the model")


def babble(inputs: Arrays) -> None:
    """Send the server what is no message."""
    os.write(_SERVER_SOCKET, b"\xc1" * 100)
    loop(inputs)


def claim(inputs: Arrays) -> None:
    """Say that the outputs are where they cannot be."""
    from penstock_inference.runners.server_connection import _encode
    from penstock_inference.runners.shared_tensors import Place
    from penstock_inference.runners.wire import Ran

    os.write(_SERVER_SOCKET, _encode(Ran([Place("0", "FP32", [len(inputs["x"])], 2**40, 4 * len(inputs["x"]))])))
    loop(inputs)


def fill_gpu(inputs: Arrays) -> None:
    """Fail as PyTorch does if the GPU is full."""
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")


class AcceleratorError(RuntimeError):
    """PyTorch's, of the same name: the GPU cannot be used by this process any more."""


def lose_gpu(inputs: Arrays) -> None:
    raise AcceleratorError("CUDA error: an illegal memory access was encountered")


class Odd:
    def __init__(self, turn: Callable[[Arrays], None] | None) -> None:
        self._turn = turn

    def run(self, inputs: Arrays) -> Outputs:
        if self._turn is not None and (inputs["x"] < 0).any():
            self._turn(inputs)
        return [inputs["x"] * 2]


class Steady:
    """Shows its progress ten times in five seconds; if a value is negative, it then runs without an end."""

    tell_progress: Callable[[], None]

    def __init__(self) -> None:
        self.tell_progress = lambda: None

    def run(self, inputs: Arrays) -> Outputs:
        for _ in range(10):
            time.sleep(0.5)
            self.tell_progress()
        if (inputs["x"] < 0).any():
            loop(inputs)
        return [inputs["x"] * 2]


class Burn:
    """Keeps a core busy for as many multiplications of a matrix as the first value says; doubles all the same."""

    def run(self, inputs: Arrays) -> Outputs:
        matrix = np.full((128, 128), 1e-3)
        for _ in range(int(inputs["x"][0])):
            matrix = matrix @ matrix
        return [inputs["x"] * 2]


class Widen:
    """Answers each row with a number of values that is its own."""

    def run(self, inputs: Arrays) -> Outputs:
        return [np.repeat(inputs["x"][:, None], int(inputs["x"][0]), axis=1)]


class Reverse:
    """Reverses each text."""

    def run(self, inputs: Arrays) -> Outputs:
        texts = np.empty(len(inputs["x"]), np.object_)
        texts[:] = [text[::-1] for text in inputs["x"]]
        return [texts]


class Look:
    """Answers with what a confined process can do all the same, one letter each: nothing is ``{}``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, inputs: Arrays) -> Outputs:
        succeeded = sorted(name for name, attempt in attempts(self._folder).items() if _succeeds(attempt))
        texts = np.empty(1, np.object_)
        texts[:] = [" ".join(succeeded).encode()]
        return [texts]


def attempts(folder: Path) -> dict[str, Callable[[], object]]:
    """What an intruder tries, and four things that must work."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()

    def call(number: int, *arguments: int) -> None:
        if libc.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "")

    def run_thread() -> None:
        import threading

        thread = threading.Thread(target=time.sleep, args=(0,))
        thread.start()
        thread.join()

    def empty_environment() -> None:
        text = Path("/proc/self/environ").read_text() + str(dict(os.environ))
        if "secret" in text or "PENSTOCK" in text:
            return
        raise OSError(errno.ENOENT, "")

    def open_descriptors() -> int:
        """Those of procfs are of Landlock's rules, and can be neither read nor written."""
        count = 0
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the one that lists them
                count += not os.readlink(f"/proc/self/fd/{name}").startswith("/proc/")
        return count

    return {
        # 0 to 2, the socket, and three of shared memory; first, as others may leave one open
        "descriptors": lambda: 1 / (open_descriptors() > 7),
        "ok-read-own-file": lambda: (folder / "own").read_bytes(),
        "ok-thread": run_thread,
        "ok-memory": lambda: np.ones(1 << 20),
        "ok-random": lambda: os.urandom(8),
        "token-in-environment": empty_environment,
        "token-of-server": lambda: Path(f"/proc/{folder.name}/environ").read_bytes(),
        "memory-of-parent": lambda: Path(f"/proc/{parent}/mem").open("rb"),
        "other-file": lambda: (folder.parent / "other").read_bytes(),
        "list-folder": lambda: os.listdir(folder.parent),
        "passwd": lambda: Path("/etc/passwd").read_bytes(),
        "write-own-folder": lambda: (folder / "new").write_bytes(b"x"),
        "write-own-file": lambda: (folder / "own").open("r+"),
        "write-tmp": lambda: Path("/tmp/penstock-intruder").write_bytes(b"x"),
        "write-shm": lambda: Path("/dev/shm/penstock-intruder").write_bytes(b"x"),
        "socket": lambda: socket.socket(),
        "unix-socket": lambda: socket.socket(socket.AF_UNIX),
        "socketpair": lambda: socket.socketpair(),
        "fork": lambda: os.fork() or os._exit(0),
        "spawn": lambda: subprocess.run(["/bin/true"], check=True),
        "system": lambda: 1 / (os.system("true") == 0),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "kill-parent": lambda: os.kill(parent, 0),
        "kill-all": lambda: os.kill(-1, 0),
        "pidfd": lambda: os.pidfd_open(parent),
        "ptrace": lambda: call(101, 16, parent),
        "owner-of-socket": lambda: fcntl.fcntl(_SERVER_SOCKET, fcntl.F_SETOWN, parent),
        "outlive-server": lambda: 1 / (libc.prctl(1, 0) == 0),
        "memfd": lambda: os.memfd_create("x"),
        "unshare": lambda: 1 / (libc.unshare(0x10000000) == 0),
        "bpf": lambda: call(321, 0, 0, 0),
        "io_uring": lambda: call(425, 1, 0),
        "keyctl": lambda: call(250, 0, -3, 0),
        "limits-of-parent": lambda: __import__("resource").prlimit(parent, 7),
        "send-descriptor": lambda: socket.send_fds(socket.socket(fileno=os.dup(3)), [b"x"], [0]),
        "raise-memory": lambda: __import__("resource").setrlimit(2, (-1, -1)),
        "lower-oom-score": lambda: Path("/proc/self/oom_score_adj").write_text("-1000"),
    }


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ZeroDivisionError, ValueError, subprocess.SubprocessError):
        return False
    return True


TURNS = (
    loop, nap, hold, crash, leave, allocate, swell, map_shared, bad_row, impostor, fail, babble, claim, fill_gpu, lose_gpu,
)  # fmt: skip


def load(manifest: Manifest, folder: Path, threads: int) -> Any:
    """Return a model; ``nap after 1`` is ``nap`` that took a second when it was tried."""
    name, _, tried = manifest.description.partition(" after ")
    model = _loaded(name, folder)
    model.longest_run = float(tried or 0)
    return model


def _loaded(name: str, folder: Path) -> Any:
    if name == "unloadable":
        raise ValueError("not a model")
    if name == "crash-load":
        crash({})
    if name == "endless-load":
        loop({})
    if name == "oom-load":
        allocate({})
    if name == "gpu-full-load":
        fill_gpu({})
    special: dict[str, Callable[[], Any]] = {
        "steady": Steady,
        "burn": Burn,
        "widen": Widen,
        "reverse": Reverse,
        "look": lambda: Look(folder),
    }
    if name in special:
        return special[name]()
    return Odd(next((turn for turn in TURNS if turn.__name__ == name), None))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    run_parent(int(sys.argv[2]), int(sys.argv[3]), lambda: None, load)
