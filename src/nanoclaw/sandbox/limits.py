"""What one sandbox may use."""

import resource

from nanoclaw.config import SandboxSettings
from nanoclaw.sandbox.base import Limits


def limits_of(settings: SandboxSettings) -> Limits:
    """The limits that `[sandbox]` sets.

    Raises:
        ConfigError: `memory` or `disk` is no size.
    """
    return Limits(
        memory_bytes=settings.memory_bytes,
        cpus=settings.cpus,
        pids=settings.pids,
        file_bytes=settings.disk_bytes,
    )


def within_hard_limit(wanted: int, kind: int) -> int:
    """`wanted`, or this process's own hard limit of that kind (`resource.RLIMIT_…`) where that is lower."""
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
