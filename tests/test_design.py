"""docs/design.md agrees with the code: its picture of the layers, and every file that it names."""

import re
from itertools import pairwise
from pathlib import Path

from test_project import LAYERS, ROOT, SOURCES, imported_modules, module_name

DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def package_imports() -> dict[str, set[str]]:
    """Package -> the other packages that its modules import."""
    found: dict[str, set[str]] = {name: set() for name in LAYERS}
    for path in SOURCES:
        own = module_name(path).split(".")[0]
        found[own] |= {module.split(".")[0] for module in imported_modules(path)} - {own}
    return found


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    return graph[start].union(*(reachable(graph, below) for below in graph[start]))


def without_shortcuts(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The arrows that no longer path replaces."""
    return {
        (package, below)
        for package, imported in graph.items()
        for below in imported
        if not any(below in reachable(graph, other) for other in imported - {below})
    }


def test_the_picture_of_the_house_is_that_of_the_code():
    picture = re.search(r"```mermaid\nflowchart TD\n(.*?)```", DESIGN, re.DOTALL)
    assert picture
    drawn = set()
    for line in picture[1].splitlines():
        names = [re.match(r"\w+", part.strip())[0] for part in line.split("-->")] if "-->" in line else []
        drawn |= set(pairwise(names))
    assert drawn == without_shortcuts(package_imports())


def test_the_shortcut_is_left_out_and_the_rest_is_kept():
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert without_shortcuts(graph) == {("a", "b"), ("b", "c")}


def test_every_file_that_the_design_names_exists():
    named = set(re.findall(r"`((?:cxr_kd|tests|workflow|studies|docs|benchmarks|web)/[\w./]+)`", DESIGN))
    assert len(named) > 10
    assert [name for name in sorted(named) if not Path(ROOT / name).exists()] == []
