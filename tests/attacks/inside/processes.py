"""Who else runs in the sandbox."""

from pathlib import Path

_RUNNER = "from nanoclaw_runner.main"
"""Part of the command line of the process that speaks with the host."""


def visible() -> dict[int, str]:
    """The command lines of all processes that can be seen, by number."""
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
    return found


def runners() -> list[int]:
    """Every runner that can be seen but process 1, which only waits for its child; there is to be one."""
    return sorted(pid for pid, line in visible().items() if _RUNNER in line and pid != 1)


def runner() -> int:
    """The process that speaks with the host."""
    return runners()[0]
