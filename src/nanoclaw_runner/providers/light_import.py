"""`import claude_agent_sdk` without what it does not need here: 0.15 s instead of 1.4 s of processor time.

The SDK imports `mcp` (1.1 s) and `jsonschema` at its top, for tools that a program serves to Claude from its own
process. The runner serves none: nothing of the two is ever called, and the SDK's import asks of them only names to
annotate with and classes to inherit from. So for the length of that import a stand-in takes their place. Should a later
SDK ask for more than that, the import is done again with the real ones: slower, and right.
"""

import gc
import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from importlib.abc import Loader  # slow to import

_SDK: Final = "claude_agent_sdk"
_HEAVY: Final = ("mcp", "jsonschema")


def import_lightly(name: str) -> ModuleType:
    """Import `name`, which imports the SDK."""
    finder = _StandIn()
    sys.meta_path.insert(0, finder)
    gc.disable()  # a sixth of the time: an import makes much and throws nothing away
    try:
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  # whatever a stand-in breaks, the real thing may mend
        print(f"importing {name} with everything it asks for: {error!r}", file=sys.stderr)  # noqa: T201  # the runner's log
        for loaded in tuple(sys.modules):
            if loaded == name or loaded.partition(".")[0] in (*_HEAVY, _SDK):
                del sys.modules[loaded]
    finally:
        gc.enable()
        sys.meta_path.remove(finder)
    return importlib.import_module(name)


class _StandIn:
    """Finder and loader of the heavy modules: gives a hollow one for each."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in _HEAVY:
            return ModuleSpec(name, cast("Loader", self), is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Hollow(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


class _Hollow(ModuleType):
    """A module in which every public name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Empty,), {})


class _Empty:
    def __init_subclass__(cls, **options: object) -> None:
        """Take the options that pydantic's models take."""
