"""What a child takes from itself before it touches the first byte of a stranger.

None of this needs root. On Linux (x86-64 and ARM) a seccomp filter leaves it the system calls for computing and for
its one socket: it can open no file, make no connection, start no process and signal nobody, whatever runs in it. Limits
of the kernel hold its memory, its processor time and its files; core dumps, which would hold a patient's data, are off.
Elsewhere only the limits hold, and `confine` says so. It still is the same user: a system account of its own and
namespaces are the business of whoever runs the service (systemd, a container).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP: Final = (317, 277)  # the system call, on x86-64 and ARM
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1

# Classic BPF (linux/filter.h, linux/seccomp.h): load a word, jump if equal, return.
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | 1  # with EPERM

# What computing needs: memory, time, the descriptors at hand, the end. Numbers of the kernel's tables.
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SYSTEM_CALLS: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    "futex": (202, 98),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getrandom": (318, 278),
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "recvmsg": (47, 212),
    "sendmsg": (46, 211),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "set_robust_list": (273, 99),
    "exit": (60, 93),
    "exit_group": (231, 94),
}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jump_true", ctypes.c_ubyte),
        ("jump_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def limit(memory_bytes: int) -> None:
    """Set the kernel's limits: address space, files, processes, no core dump. They can only become tighter."""
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(what)
        limit_now = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (limit_now, limit_now))


def confine() -> bool:
    """Give up every system call that computing does not need, for good; return whether this system can."""
    architectures = list(_ARCHITECTURES)
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in architectures:
        return False
    numbers = [of_call[architectures.index(machine)] for of_call in _SYSTEM_CALLS.values()]
    last = len(numbers)
    instructions = [
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE_AT),
        _Instruction(_JUMP_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        _Instruction(_RETURN, 0, 0, _KILL),
        _Instruction(_LOAD, 0, 0, _NUMBER_AT),
        *(_Instruction(_JUMP_IF_EQUAL, last - at, 0, number) for at, number in enumerate(numbers)),
        _Instruction(_RETURN, 0, 0, _REFUSE),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    ]
    program = _Program(len(instructions), (_Instruction * len(instructions))(*instructions))
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    # Every thread there is, and so every one there will be: the text detector computes in two.
    number = _SECCOMP[architectures.index(machine)]
    answer = system.syscall(number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program))
    return bool(answer == 0)


def allow_seconds(seconds: float) -> None:
    """Let the system end this process after so much processor time from now on; 0 stops the clock."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def leave() -> None:
    """End at once: there is nothing to put in order."""
    os._exit(0)
