"""What agents run: an image for engines, a folder of programs for bubblewrap."""

from collections.abc import Iterable

import anyio

from nanoclaw.sandbox.base import Sandbox
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding, Progress


class Programs:
    """Image or toolkit of this version."""

    name = "image"
    title = "Agents' programs"

    def look(self, setup: Setup) -> Finding:
        """They are there."""
        chosen, _ = setup.sandbox()
        if anyio.run(chosen.is_built):
            return Finding(done=True, what=f"ready for {chosen.name}")
        return Finding(done=False, what=f"Claude Code and Codex are to be fetched for {chosen.name}, once")

    def needs(self, setup: Setup) -> Iterable[str]:
        """Nothing."""
        return ()

    def do(self, setup: Setup) -> None:
        """Fetch and build them."""
        chosen, _ = setup.sandbox()
        browser = chosen.name != "bubblewrap" and setup.talk.confirm(
            "browser", "Shall agents have a browser (Chromium, some 700 MB more)?", default=True
        )
        with setup.talk.progress("Making what agents run in; the first time takes some minutes") as progress:
            anyio.run(_build, chosen, browser, progress)


async def _build(chosen: Sandbox, browser: bool, progress: Progress) -> None:
    async for line in chosen.build(browser=browser):
        progress.line(line)
