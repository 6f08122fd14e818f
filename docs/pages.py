"""Write pages of the library's functions and classes, from their docstrings: python docs/pages.py FOLDER.

`make docs` runs this. A warning of pdoc ends it with an error.
"""

import importlib
import pkgutil
import sys
import warnings
from itertools import chain
from pathlib import Path

import pdoc

import cxr_kd
import cxr_kd.study


def modules(name: str = "cxr_kd") -> list[str]:
    """Return a module and the modules below it that pdoc does not find itself: it stops where `__all__` is defined."""
    module = importlib.import_module(name)
    if not hasattr(module, "__all__") or not hasattr(module, "__path__"):
        return [name]
    below = [modules(f"{name}.{found.name}") for found in pkgutil.iter_modules(module.__path__)]
    return [name, *chain.from_iterable(below)]


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    for package in (cxr_kd, cxr_kd.study):
        for name in package.__all__:  # pdoc sees only what is loaded.
            setattr(package, name, getattr(package, name))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # Modules that must import quickly name some types only for mypy: pdoc prints those as text.
        warnings.filterwarnings("ignore", "Error parsing type annotation")
        pdoc.render.configure(docformat="markdown")
        pdoc.pdoc(*modules(), output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
