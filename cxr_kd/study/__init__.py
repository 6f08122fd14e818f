"""A study: from its YAML file to its runs, and to the steps that produce its report."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr_kd.study.load import find_study, load_study
    from cxr_kd.study.study import Study

__all__ = ["Study", "find_study", "load_study"]
_MODULES = {"Study": "study", "find_study": "load", "load_study": "load"}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use (PEP 562): what only reads an exported model needs none of them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
