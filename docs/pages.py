"""Write the documentation as pages that need no network: python docs/pages.py FOLDER [STUDY].

The site has an index page, the notebooks, the pages of docs/, the sample reports, and a page for each module of the
library. `make docs` runs this. Notebooks are those of an executed study, if there is one in reports/ (STUDY, or the
demo, or the first by name); the others are shown as they are stored, without results. A warning of pdoc ends it with an
error.
"""

import importlib
import pkgutil
import re
import shutil
import sys
import warnings
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import nbformat
import pdoc
from nbformat import v4

import cxr_kd
import cxr_kd.study
from cxr_kd.report.markdown import code, text
from cxr_kd.report.notebook_page import notebook_page

ROOT = Path(__file__).resolve().parents[1]
TITLE = "cxr_kd"
Pages = list[tuple[str, str]]  # file name, title
DEFAULT_STUDY = "demo"
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)


def modules(name: str = "cxr_kd") -> list[str]:
    """Return a module and the modules below it that pdoc does not find itself: it stops where `__all__` is defined."""
    module = importlib.import_module(name)
    if not hasattr(module, "__all__") or not hasattr(module, "__path__"):
        return [name]
    below = [modules(f"{name}.{found.name}") for found in pkgutil.iter_modules(module.__path__)]
    return [name, *chain.from_iterable(below)]


def write_api(folder: Path) -> None:
    """Write a page for each module of the library into a folder, from the docstrings."""
    for package in (cxr_kd, cxr_kd.study):
        for name in package.__all__:  # pdoc sees only what is loaded.
            setattr(package, name, getattr(package, name))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # Modules that must import quickly name some types only for mypy: pdoc prints those as text.
        warnings.filterwarnings("ignore", "Error parsing type annotation")
        pdoc.render.configure(docformat="markdown")
        pdoc.pdoc(*modules(), output_directory=folder)


def executed_study(wanted: str | None = None, home: Path = ROOT) -> Path | None:
    """Return the folder of the executed notebooks of a study; None if no study has any."""
    found = {page.parent.parent.name: page.parent for page in sorted(home.glob("reports/*/notebooks/*.html"))}
    if wanted is not None and wanted not in found:
        sys.exit(f"reports/{wanted}/notebooks: no executed notebook; run the study first: make study STUDY={wanted}")
    return found.get(wanted or DEFAULT_STUDY, next(iter(found.values()), None))


def write_notebooks(folder: Path, executed: Path | None) -> Pages:
    """Write a page for each notebook, executed if there is such a page; return (file name, title), in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = _HEADING.findall(notebook.cells[0].source)[0]
        pages = sorted(executed.glob(f"{path.stem}*.html")) if executed else []
        for page in pages:
            run = page.stem.removeprefix(path.stem).removeprefix("-")
            shutil.copyfile(page, folder / page.name)
            listed.append((page.name, f"{title} ({run})" if run else title))
        if not pages:
            (folder / f"{path.stem}.html").write_text(notebook_page(notebook, TITLE), encoding="utf-8")
            listed.append((f"{path.stem}.html", f"{title} (without results)" if executed else title))
    return listed


def write_documents(folder: Path) -> Pages:
    """Write a page for each Markdown file of docs/; return (file name, title), in the order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted((ROOT / "docs").glob("*.md"))
    listed = []
    for path in paths:
        source = path.read_text(encoding="utf-8")
        html = _page(_linked(source, {each.name for each in paths}))
        (folder / f"{path.stem}.html").write_text(html, encoding="utf-8")
        listed.append((f"{path.stem}.html", _HEADING.findall(source)[0]))
    return listed


def _page(source: str) -> str:
    """Return Markdown as a page. A diagram is shown as its source: drawing it would need a script."""
    cell = v4.new_markdown_cell(source.replace("```mermaid", "```text"))
    return notebook_page(v4.new_notebook(cells=[cell]), TITLE)


def _linked(source: str, pages: set[str]) -> str:
    """Return Markdown whose links lead to pages of the site: to headings as they are named there, to .html files.

    A link to a file that is not a page of the site becomes plain text.
    """
    names = {_github_anchor(heading): heading.replace(" ", "-") for heading in _HEADING.findall(source)}

    def changed(found: re.Match[str]) -> str:
        file, _, anchor = found[1].partition("#")
        if found[1].startswith("http"):
            return found[0]
        if not file:
            return f"](#{names.get(anchor, anchor)})"
        return f"]({file.removesuffix('.md')}.html)" if file in pages else "]"

    return _LINK.sub(changed, source)


def _github_anchor(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def write_samples(folder: Path) -> Pages:
    """Copy the sample reports; return (file name, title)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted((ROOT / "docs" / "samples").glob("*.html"))
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    return [(path.name, f"Report of the study {path.stem}") for path in paths]


def index(listed: Mapping[str, Pages], study: str) -> str:
    """Return the index page. `listed`: folder -> its pages. `study`: of the executed notebooks, "" without results."""
    ran = f"They were executed for the study {code(study)}." if study else "They are shown without results."
    lines = [
        f"# {TITLE}",
        "Explainable knowledge distillation for on-device chest X-ray classification, version "
        f"{text(cxr_kd.__version__)}. For research, not for diagnosis.",
        "## Notebooks",
        f"Each is a lesson: what the step is for, its code, its result, and how to read it. {ran}",
        *_list("notebooks", listed),
        "## Documents",
        *_list("docs", listed),
        "## Sample reports",
        *_list("samples", listed),
        "## The library",
        "- [All modules, functions and classes](api/index.html)",
    ]
    return _page("\n\n".join(lines))


def _list(folder: str, listed: Mapping[str, Pages]) -> list[str]:
    return [f"- [{text(title)}]({folder}/{name})" for name, title in listed[folder]]


def main(folder: Path, study: str | None = None) -> None:
    """Write the site into a folder."""
    executed = executed_study(study)
    listed = {
        "notebooks": write_notebooks(folder / "notebooks", executed),
        "docs": write_documents(folder / "docs"),
        "samples": write_samples(folder / "samples"),
    }
    write_api(folder / "api")
    html = index(listed, executed.parent.name if executed else "")
    (folder / "index.html").write_text(html, encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder]:
            main(Path(folder))
        case [folder, study]:
            main(Path(folder), study)
        case _:
            sys.exit(__doc__)
