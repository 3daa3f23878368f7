"""The sandbox in use."""

from typing import Any

import anyio
import structlog

from nanoclaw.config import Settings
from nanoclaw.errors import SandboxError
from nanoclaw.sandbox import choose
from nanoclaw.sandbox.base import Health, Sandbox

log = structlog.stdlib.get_logger()


class ChosenSandbox:
    """Chosen once; while none works, every run asks again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = anyio.Lock()
        self._chosen: tuple[Sandbox, Health] | None = None
        self.problem: SandboxError | None = None

    async def get(self) -> Sandbox:
        """Raises `SandboxError` when none works."""
        async with self._lock:
            if self._chosen is None:
                try:
                    self._chosen = await choose(self._settings)
                except SandboxError as error:
                    self.problem = error
                    raise
                self.problem = None
                chosen, health = self._chosen
                log.info("sandbox.chosen", name=chosen.name, lacks=health.lacks, warning=health.reason)
            return self._chosen[0]

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        if self._chosen is None:
            return {"name": None, "lacks": [], "problem": str(self.problem) if self.problem else None, "warning": None}
        chosen, health = self._chosen
        return {"name": chosen.name, "lacks": list(health.lacks), "problem": None, "warning": health.reason or None}
