"""scripts/reference.py as a module."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final


def _loaded() -> Any:  # noqa: ANN401 - scripts are no package
    spec = spec_from_file_location("reference", Path(__file__).parents[2] / "scripts" / "reference.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference: Final = _loaded()
