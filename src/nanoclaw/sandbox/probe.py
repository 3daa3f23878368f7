"""A tiny image with which an engine is tried before the agents' own image is built."""

import io
import struct
import tarfile
from typing import Final

from nanoclaw.errors import SandboxError
from nanoclaw.wire import GROUP_DIRECTORY

PROBE_IMAGE: Final = "localhost/nanoclaw-probe:1"
PROBE_COMMAND: Final = ("/true",)

_LOAD_ADDRESS = 0x400000
_HEADERS = 64 + 56
_EXIT_ZERO = {  # ELF machine number, code of `exit(0)`
    "x86_64": (62, bytes.fromhex("b83c000000 31ff 0f05")),
    "aarch64": (183, bytes.fromhex("a80b80d2 000080d2 010000d4")),
}


def probe_image(machine: str) -> bytes:
    """The root file system as a tar: a program that only exits with 0, and the working directory.

    Raises:
        SandboxError: no program for this machine.
    """
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(machine, machine)
    if machine not in _EXIT_ZERO:
        raise SandboxError(f"machines of the kind {machine} are not supported", "x86_64 and aarch64 are")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        directory = tarfile.TarInfo(GROUP_DIRECTORY.removeprefix("/"))
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(directory)
        program = _program(*_EXIT_ZERO[machine])
        entry = tarfile.TarInfo(PROBE_COMMAND[0].removeprefix("/"))
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    return archive.getvalue()


def _program(machine: int, code: bytes) -> bytes:
    """The smallest static ELF file: its header, one loadable segment, the code."""
    size = _HEADERS + len(code)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, machine, 1, _LOAD_ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return elf + segment + code
