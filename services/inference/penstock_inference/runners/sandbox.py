"""What a process gives up before it loads a model: files, network, other processes, memory without bound.

None of it needs a privilege, so it works in a container without any. Where the kernel lacks a part, the others hold;
``features`` says what there is.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sysconfig
from pathlib import Path

import penstock_common
import penstock_inference
from penstock_inference.runners.gpu_files import GPU_SETTINGS, gpu_devices
from penstock_inference.runners.landlock import landlock_version, restrict_files
from penstock_inference.runners.seccomp import filter_system_calls, seccomp_available
from penstock_inference.runners.wire import Features

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT = 24, 38, 28, 47
_CAP_AMBIENT_CLEAR_ALL = 4
#: No capabilities for root either, and no way to get them back (SECBIT_NOROOT, NO_SETUID_FIXUP and their locks).
_SECURE_BITS = 0b1111
_CAPABILITY_VERSION_3 = 0x20080522

#: What the interpreter, the frameworks and their libraries read while they load and run models.
_SYSTEM_PATHS = (
    "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache",
    "/etc/localtime", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm",
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/dev/urandom", "/dev/random",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero")

#: Added to the server's own score: if the kernel has to end a process for lack of memory, it ends a model's.
_OOM_SCORE = 300


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def features() -> Features:
    """Return what this kernel, inside this container, has to confine a process with."""
    return Features(seccomp=seccomp_available(), landlock=landlock_version())


def enter_sandbox(folder: Path) -> None:
    """Confine this process for good; call it before any thread is started.

    Args:
        folder: the one folder of data that it may read.

    Raises:
        OSError: the kernel refused a part that it has.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _drop_capabilities(libc)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    available = features()
    gpu = gpu_devices()
    if available.landlock:
        readable, writable = [*_SYSTEM_PATHS], [*_DEVICES]
        if gpu:
            readable += GPU_SETTINGS
            writable.append("/proc/self/task")  # libcuda gives its threads names, and fails if it cannot
        restrict_files([folder, *_code_paths(), *map(Path, readable)], [*gpu, *map(Path, writable)])
    if available.seccomp:
        filter_system_calls(gpu=bool(gpu))


def bound_resources(memory_bytes: int) -> None:
    """Bound what this process can take: private memory beyond what it has now, written files, core dumps.

    An allocation beyond the bound fails, which frameworks report as an error of the model. With a GPU the files have the
    same bound, because those that libcuda keeps in memory count as written.
    """
    with Path("/proc/self/oom_score_adj").open("r+") as score:
        adjusted = min(1000, int(score.read()) + _OOM_SCORE)
        score.seek(0)
        score.write(str(adjusted))
    bound = data_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    file_bytes = memory_bytes if gpu_devices() else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def data_bytes() -> int:
    """Return the bytes of this process's private writable memory, touched or not: what RLIMIT_DATA bounds."""
    with Path("/proc/self/status").open() as status:
        line = next(line for line in status if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _code_paths() -> list[Path]:
    """Return the folders with the interpreter's library, the installed packages, and the two packages of ours."""
    named = sysconfig.get_paths()
    code = [named[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    code.append(sysconfig.get_config_var("LIBDIR"))
    return [Path(path) for path in [*code, *penstock_common.__path__, *penstock_inference.__path__]]


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up all capabilities, which only a process of root has; without them there is nothing to give up."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_SET_SECUREBITS, _SECURE_BITS, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    _check(libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
