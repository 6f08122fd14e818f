"""Write pages of the library's functions and classes, from their docstrings: python docs/pages.py FOLDER.

`make docs` runs this. A warning of pdoc ends it with an error.
"""

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import cxr_kd


def modules() -> list[str]:
    """Return the package and every module of it. pdoc alone would stop where a package names its `__all__`."""
    found = pkgutil.walk_packages(cxr_kd.__path__, "cxr_kd.")
    return ["cxr_kd", *(module.name for module in found if not module.name.endswith("__main__"))]


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    for name in cxr_kd.__all__:  # pdoc sees only what is loaded.
        setattr(cxr_kd, name, getattr(cxr_kd, name))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # Modules that must import quickly name some types only for mypy: pdoc prints those as text.
        warnings.filterwarnings("ignore", "Error parsing type annotation")
        pdoc.render.configure(docformat="markdown")
        pdoc.pdoc(*modules(), output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
