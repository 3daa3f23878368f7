"""Writes `seccomp.json` beside itself from the kernel's own tables of system calls.

    python container/make_seccomp.py x86/asm/unistd_64.h arm64/asm/unistd_64.h

The two files are in Debian 13's `linux-libc-dev`, below `/usr/lib/linux/uapi`. To be done whenever
`nanoclaw.sandbox.seccomp` changes.
"""

import json
import re
import sys
from pathlib import Path

from nanoclaw.sandbox.seccomp import LAST_KNOWN, engine_profile


def known_calls(header: Path) -> set[str]:
    """The names that a kernel header numbers."""
    lines = re.findall(r"^#define __NR_(\w+)\s+(\d+)$", header.read_text(encoding="ascii"), re.MULTILINE)
    return {name for name, number in lines if int(number) <= LAST_KNOWN}


def main() -> None:
    """Read the headers named on the command line; write the profile."""
    known = set[str]().union(*(known_calls(Path(name)) for name in sys.argv[1:]))
    profile = json.dumps(engine_profile(known), indent=1)
    Path(__file__).with_name("seccomp.json").write_text(profile + "\n", encoding="ascii")


main()
