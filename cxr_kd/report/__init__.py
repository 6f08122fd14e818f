"""Tables, figures and pages of a study. Its modules load at their first use: `cxr_kd.report.figures`."""

import importlib
from pkgutil import iter_modules
from typing import Any


def __getattr__(name: str) -> Any:
    """Import a module of this package at its first use (PEP 562)."""
    if name not in {module.name for module in iter_modules(__path__)}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
