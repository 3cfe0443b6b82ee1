"""What a confined process may do beyond others if its pod has a GPU: what libcuda needs to start, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from penstock_inference.runners.gpu_files import gpu_devices, gpu_name

#: Enters the sandbox of a pod whose GPU is the device file of the first argument, and prints what works in it.
PROGRAM = """
import os, socket, sys, threading
from pathlib import Path
from penstock_inference.runners import sandbox

device = Path(sys.argv[1])
sandbox.gpu_devices = lambda: [device] if str(device) != "." else []
sandbox.bound_resources(1 << 30)
sandbox.enter_sandbox(Path(sys.argv[2]))

def name_thread():
    renamed = []
    def rename():
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("cuda")
        renamed.append(True)
    thread = threading.Thread(target=rename)
    thread.start()
    thread.join()
    if not renamed:
        raise OSError

def listening():
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(f"\\0cuda-{os.getpid()}")
    server.listen()
    return server

def connect():
    server = listening()
    socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(server.getsockname())

attempts = {
    "device": lambda: device.open("r+b"),
    "memory-file": lambda: os.ftruncate(os.memfd_create("x"), 1 << 20),
    "name-thread": name_thread,
    "listen": listening,
    "large-memory-file": lambda: os.ftruncate(os.memfd_create("x"), 2 << 30),
    "accept": lambda: listening().accept(),
    "connect": connect,
    "socket-in-folder": lambda: socket.socket(socket.AF_UNIX).bind(f"{sys.argv[2]}/socket"),
    "internet": lambda: socket.socket(socket.AF_INET),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "pair": lambda: socket.socketpair(),
    "oom-score": lambda: Path("/proc/self/oom_score_adj").write_text("500"),
    "write-file": lambda: Path(sys.argv[2], "new").write_bytes(b"x"),
    "fork": lambda: os.fork() or os._exit(0),
}
threading.excepthook = lambda arguments: None
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
"""


def what_works(device: str, folder: Path) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, device, str(folder)]
    # A pipe, because a confined process cannot write to files.
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_libcuda_can_start(tmp_path: Path) -> None:
    """With a GPU: the device, files in memory, names of threads, a socket that nobody can reach; nothing else."""
    assert what_works("/dev/full", tmp_path) == ["device", "memory-file", "name-thread", "listen"]


def test_without_a_gpu_none_of_it_is_allowed(tmp_path: Path) -> None:
    """A pod without a GPU gives its models nothing of this."""
    assert what_works("", tmp_path) == []


def test_a_gpu_is_found_by_the_drivers_file(tmp_path: Path) -> None:
    """The device files count if the driver's own is among them; folders such as nvidia-caps do not."""
    (tmp_path / "nvidia0").touch()
    assert gpu_devices(tmp_path) == []
    for name in ("nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    (tmp_path / "nvidia-caps").mkdir()
    assert gpu_devices(tmp_path) == [tmp_path / name for name in ("nvidia-uvm", "nvidia0", "nvidiactl")]


def test_the_driver_tells_the_gpus_name(tmp_path: Path) -> None:
    """That of the first GPU that the pod was given."""
    assert gpu_name(tmp_path) == "GPU"
    for slot, name in (("0000:41:00.0", "NVIDIA L4"), ("0000:81:00.0", "NVIDIA A2")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 77\n")
    assert gpu_name(tmp_path) == "NVIDIA L4"
