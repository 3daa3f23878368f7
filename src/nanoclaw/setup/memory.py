"""What somebody decided that cannot be seen in the world: `run/setup.json`. Never a secret."""

import json
from typing import Any, cast

from nanoclaw.atomic import replace_file
from nanoclaw.config import Home, make_private


class Memory:
    """Decisions by name, kept over interruptions of the set-up."""

    def __init__(self, home: Home) -> None:
        self._path = home.run / "setup.json"
        self._home = home

    def recall(self, name: str) -> Any:  # noqa: ANN401 - whatever was remembered
        """The decision; None: there is none."""
        return self._read().get(name)

    def remember(self, **decisions: object) -> None:
        """Keep decisions."""
        make_private(self._home.run)
        replace_file(self._path, json.dumps({**self._read(), **decisions}, ensure_ascii=False, indent=1) + "\n")

    def _read(self) -> dict[str, Any]:
        """A file that cannot be read costs questions that are asked again."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
