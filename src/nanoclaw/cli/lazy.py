"""Commands whose modules are imported when they are needed: importing all of them takes a second of the processor."""

from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

import typer
import typer.main
from typer.core import TyperGroup


def lazy_group(places: Mapping[str, str]) -> type[TyperGroup]:
    """A group for `typer.Typer(cls=…)`.

    Args:
        places: the commands in the order in which they are listed: name to `module:attribute` below `nanoclaw.cli`,
            where a function is a command, and a `typer.Typer` a family of them.
    """

    class LazyGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:  # noqa: ANN401  # typer's own
            super().__init__(**settings)
            self.commands = cast("Any", _Commands(places))

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401  # typer's own
            return list(places)

    return LazyGroup


class _Commands(UserDict[str, Any]):
    """Places, each replaced by its command when somebody looks."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # typer's commands have no public type
        found = self.data[name]
        if isinstance(found, str):
            found = self.data[name] = _loaded(name, found)
        return found


def _loaded(name: str, place: str) -> Any:  # noqa: ANN401
    module, _, attribute = place.partition(":")
    found: Any = getattr(import_module(f"nanoclaw.cli.{module}"), attribute)
    alone = typer.Typer()
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name)(found)
    return typer.main.get_group(alone).commands[name]
