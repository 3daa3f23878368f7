"""Unit tests take the WhatsApp library's message types without the library: importing `neonize` would start Go here."""

import importlib.util
import sys
from types import ModuleType

if "neonize" not in sys.modules:
    _spec = importlib.util.find_spec("neonize")
    assert _spec is not None
    _package = ModuleType("neonize")
    _package.__path__ = list(_spec.submodule_search_locations or [])
    sys.modules["neonize"] = _package
