"""A filter of system calls (seccomp, Linux 3.5) for a process that runs a model.

It forbids what a model has no use for and an intruder has: sockets, other programs and processes, other processes'
memory, mounts and namespaces, the kernel's rarely used entrances. It is a list of what is forbidden, not of what is
allowed, because the frameworks' threads, allocators and GPU drivers use many calls, and change them with each release.
Calls that are younger than this list do not exist for the process. With a GPU a few more are allowed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_PR_SET_SECCOMP, _PR_GET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 21, 2
_PR_SET_PDEATHSIG = 1
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
#: Offsets in ``struct seccomp_data``; an argument's lower half comes first.
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16
_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

#: Threads only, and no new namespaces: flags that ``clone`` must have, and must not have.
_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020000

#: The first number above all system calls that this list knows (Linux 6.18); those with 32-bit pointers are above it.
_UNKNOWN = 471
#: machine -> its number in the kernel's audit interface
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

#: name -> number on x86_64, number on aarch64 (0: it does not exist)
_FORBIDDEN: dict[str, tuple[int, int]] = {
    # The network, and descriptors to others. A process reads its socket with recvmsg and writes it with write.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    # Other programs and other processes.
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, 0), "vfork": (58, 0),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # Memory that is not counted as the process's own, and queues between processes.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "mq_open": (240, 180), "mq_unlink": (241, 181),
    # Files by other ways than their path, mounts and namespaces.
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "setns": (308, 268), "unshare": (272, 97),
    # Entrances to the kernel that were often holes.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "syslog": (103, 116), "iopl": (172, 0),
    "ioperm": (173, 0), "vhangup": (153, 58), "personality": (135, 92), "modify_ldt": (154, 0),
    # Other identities.
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91),
}  # fmt: skip

#: What libcuda does at its start, and fails without: files in memory, and a socket at which it would hand its own
#: descriptor to other processes. It is never used here: nobody can connect to it, since ``accept`` is forbidden.
_FOR_A_GPU = frozenset({"memfd_create", "socket", "bind", "listen"})
_SOCKET, _AF_UNIX = (41, 198), 1

#: Calls of which an argument decides.
_CLONE, _CLONE3 = (56, 220), (435, 435)
#: The numbers of a call, an argument's index, and the values that it must not have: not to outlive the server; not to
#: have the kernel send signals to the owner of a descriptor (F_SETOWN, F_SETSIG, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP).
_FORBIDDEN_VALUES = {
    "prctl": ((157, 167), 0, [_PR_SET_PDEATHSIG]),
    "fcntl": ((72, 25), 1, [8, 10, 15]),
    "ioctl": ((16, 29), 1, [0x8901, 0x8902]),
}
#: Calls whose first argument must be the process itself.
_OF_ITSELF = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "sched_setaffinity": (203, 122)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def seccomp_available() -> bool:
    """Return whether this kernel filters system calls, on a machine whose numbers are known here."""
    return platform.machine() in _AUDIT_ARCH and _libc().prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def filter_system_calls(*, gpu: bool) -> None:
    """Apply the filter to this thread and those that it starts. It cannot be taken off. Needs ``no_new_privs``.

    Args:
        gpu: allow what libcuda needs.

    Raises:
        OSError: the kernel refused it.
    """
    code = _program(platform.machine(), os.getpid(), gpu=gpu)
    program = _Program(len(code) // 8, code)
    libc = _libc()
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _program(machine: str, pid: int, *, gpu: bool) -> bytes:
    """Return the filter in classic BPF (``struct sock_filter``: operation, jumps if true and if false, operand)."""
    column = list(_AUDIT_ARCH).index(machine)
    refuse = _ERRNO | errno.EPERM
    missing = _ERRNO | errno.ENOSYS
    code = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
        *_when(_GREATER_EQUAL, _UNKNOWN, [_instruction(_RETURN, missing)]),
        # clone3 has its flags in memory, which a filter cannot read; without it, the C library uses clone.
        *_when(_EQUAL, _CLONE3[column], [_instruction(_RETURN, missing)]),
    ]
    for name, numbers in _FORBIDDEN.items():
        if numbers[column] and not (gpu and name in _FOR_A_GPU):
            code += _when(_EQUAL, numbers[column], [_instruction(_RETURN, refuse)])
    if gpu:
        code += _when(_EQUAL, _SOCKET[column], _by_argument(0, [_AF_UNIX], _ALLOW, refuse))
    code += _when(
        _EQUAL,
        _CLONE[column],
        [
            _instruction(_LOAD, _ARGUMENT),
            _instruction(_ANY_BIT, _CLONE_NAMESPACES, 2, 0),
            _instruction(_ANY_BIT, _CLONE_THREAD, 0, 1),
            _instruction(_RETURN, _ALLOW),
            _instruction(_RETURN, refuse),
        ],
    )
    for numbers, index, values in _FORBIDDEN_VALUES.values():
        code += _when(_EQUAL, numbers[column], _by_argument(index, values, refuse, _ALLOW))
    for numbers in _OF_ITSELF.values():
        code += _when(_EQUAL, numbers[column], _by_argument(0, [0, pid], _ALLOW, refuse))
    code.append(_instruction(_RETURN, _ALLOW))
    return b"".join(code)


def _instruction(operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", operation, if_true, if_false, operand)


def _when(test: int, operand: int, then: list[bytes]) -> list[bytes]:
    """Return the instructions that do ``then``, which ends with a return, if the loaded value passes a test."""
    return [_instruction(test, operand, 0, len(then)), *then]


def _by_argument(index: int, values: list[int], result: int, otherwise: int) -> list[bytes]:
    """Return the instructions that return ``result`` if the lower half of an argument is one of the values."""
    tests = [_instruction(_EQUAL, value, len(values) - n, 0) for n, value in enumerate(values)]
    return [
        _instruction(_LOAD, _ARGUMENT + 8 * index),
        *tests,
        _instruction(_RETURN, otherwise),
        _instruction(_RETURN, result),
    ]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
