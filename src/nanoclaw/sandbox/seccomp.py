"""Which system calls an agent may make: one list for every kind of sandbox.

Whatever is not known to be needed is denied, as in Docker's default profile, and besides: namespaces, tracing of other
processes, io_uring, and sockets but for local and internet ones. For engines the list is a profile in JSON
(`container/seccomp.json`, written by `container/make_seccomp.py`); for bubblewrap it is a BPF program made here.
"""

import errno
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from nanoclaw.errors import SandboxError

LAST_KNOWN: Final = 462
"""The newest call that the list was made for is number 462 of Linux 6.12, on both machines; later ones do not exist."""

DENIED: Final[dict[str, tuple[int, int | None]]] = {
    # the file system's shape
    "chroot": (161, 51), "fsconfig": (431, 431), "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433),
    "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429), "open_tree": (428, 428),
    "pivot_root": (155, 41), "umount2": (166, 39), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "swapon": (167, 224), "swapoff": (168, 225), "fanotify_init": (300, 262),
    # namespaces
    "setns": (308, 268), "unshare": (272, 97), "sethostname": (170, 161), "setdomainname": (171, 162),
    # other processes
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "get_mempolicy": (239, 236), "mbind": (237, 235),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    # the kernel itself
    "acct": (163, 89), "bpf": (321, 280), "clock_adjtime": (305, 266), "clock_settime": (227, 112),
    "settimeofday": (164, 170), "delete_module": (176, 106), "finit_module": (313, 273), "init_module": (175, 105),
    "ioperm": (173, None), "iopl": (172, None), "kexec_file_load": (320, 294), "kexec_load": (246, 104),
    "lookup_dcookie": (212, 18),
    "lsm_get_self_attr": (459, 459), "lsm_list_modules": (461, 461), "lsm_set_self_attr": (460, 460),
    "modify_ldt": (154, None), "perf_event_open": (298, 241), "reboot": (169, 142), "syslog": (103, 116),
    "vhangup": (153, 58),
    # the kernel's keyring is shared by everything that has the same uid
    "add_key": (248, 217), "keyctl": (250, 219), "request_key": (249, 218),
    # where most escapes were found
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    # long dead
    "_sysctl": (156, None), "afs_syscall": (183, None), "create_module": (174, None), "get_kernel_syms": (177, None),
    "getpmsg": (181, None), "nfsservctl": (180, 42), "putpmsg": (182, None), "query_module": (178, None),
    "security": (185, None), "sysfs": (139, None), "tuxcall": (184, None), "uselib": (134, None), "ustat": (136, None),
    "vserver": (236, None),
}  # fmt: skip
"""Name to number on (x86-64, aarch64). They fail with EPERM; everything else that is denied fails with ENOSYS."""

NAMESPACE_FLAGS: Final = 0x7E020000
"""`clone` with any of these is denied. `clone3` hides its flags from a filter, and so libc is told to use `clone`."""

PERMITTED_ARGUMENTS: Final[dict[str, tuple[int, ...]]] = {
    "socket": (1, 2, 10, 16),  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK; above all not AF_VSOCK, which leaves a VM
    "personality": (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF),
}
"""The only values of the first argument."""

_CLONE3 = 435
_NUMBERS = {"clone": (56, 220), "socket": (41, 198), "personality": (135, 92)}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000

_Instruction = tuple[int, int, int, int]


@cache
def bpf_filter(machine: str) -> bytes:
    """The filter as bubblewrap takes it, for `x86_64` or `aarch64`.

    Raises:
        SandboxError: another machine.
    """
    if machine not in _MACHINES:
        raise SandboxError(f"bubblewrap has no system call filter for {machine}", "use podman or docker")
    column, architecture = _MACHINES[machine]
    numbers = {name: pair[column] for name, pair in _NUMBERS.items()}
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER_EQUAL, 0, 1, LAST_KNOWN + 1),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
        *_refuse(_CLONE3, errno.ENOSYS),
    ]
    for pair in DENIED.values():
        if (number := pair[column]) is not None:
            program += _refuse(number, errno.EPERM)
    for name, values in PERMITTED_ARGUMENTS.items():
        program += _permit_only(numbers[name], values)
    program += (
        (_JUMP_EQUAL, 0, 3, numbers["clone"]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_ANY_BIT, 0, 1, NAMESPACE_FLAGS),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _refuse(number: int, error: int) -> list[_Instruction]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]


def _permit_only(number: int, values: tuple[int, ...]) -> list[_Instruction]:
    block: list[_Instruction] = [(_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for value in values:
        block += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    block.append((_RETURN, 0, 0, _ERROR | errno.ENOSYS))
    return [(_JUMP_EQUAL, 0, len(block), number), *block]


def engine_profile(known: Iterable[str]) -> dict[str, Any]:
    """The profile as engines take it.

    Args:
        known: every system call up to `LAST_KNOWN`, by name.
    """
    special = {"clone", "clone3", *PERMITTED_ARGUMENTS}
    allowed = sorted(set(known) - DENIED.keys() - special)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "archMap": [{"architecture": f"SCMP_ARCH_{machine.upper()}", "subArchitectures": []} for machine in _MACHINES],
        "syscalls": [
            {"names": allowed, "action": "SCMP_ACT_ALLOW"},
            {"names": sorted(DENIED), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
            _allow_if("clone", {"value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}),
            *(
                _allow_if(name, {"value": value, "op": "SCMP_CMP_EQ"})
                for name, values in PERMITTED_ARGUMENTS.items()
                for value in values
            ),
        ],
    }


def _allow_if(name: str, condition: dict[str, Any]) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, **condition}]}
