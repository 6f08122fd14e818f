"""What holds the project together: its environment's files, the direction of its imports, its stored notebooks."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cxr_kd.notebook import hygiene

ROOT = Path(__file__).parent.parent
LAYERS = (  # who may import whom: a module of a line from the lines below it
    {"cli"},
    {"report"},
    {"device", "explanation", "evaluation", "training"},
    {"distill"},
    {"models", "data"},
    {"steps", "notebook"},
    {"study"},
    {"study_file", "runs", "data_settings"},
    {"settings", "files"},
)
ORDERED = (
    "jupyterlab",
    "papermill",
    "torch",
    "torchvision",
    "timm",
    "scikit-learn",
    "seaborn",
    "pandas",
    "shap",
    "grad-cam",
)


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["dev"])]


def locked() -> dict[str, list[Requirement]]:
    """Name -> its pinned lines, one for each environment that needs its own version."""
    lines = re.findall(r"^[a-zA-Z0-9].*?(?= \\$)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    pinned: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, lines):
        pinned.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pinned


def test_the_lock_pins_everything_that_the_project_declares():
    pinned = locked()
    assert {canonicalize_name(name) for name in ORDERED} <= {canonicalize_name(each.name) for each in declared()}
    for requirement in declared():
        candidates = pinned[canonicalize_name(requirement.name)]
        for candidate in candidates:
            (version,) = [specifier.version for specifier in candidate.specifier]
            assert requirement.specifier.contains(version), f"{candidate} is not {requirement}: run `make lock`"


def test_every_locked_file_has_a_hash_and_none_an_address():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[a-zA-Z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_conda_users_get_the_locked_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["--requirement requirements.lock"]
    (python,) = [entry for entry in environment["dependencies"] if str(entry).startswith("python=")]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert Requirement(f"python{wanted}").specifier.contains(python.removeprefix("python="))


def test_what_is_installed_here_is_what_is_locked():
    from importlib.metadata import version

    here = default_environment()
    for name in ORDERED:
        pins = [pin for pin in locked()[canonicalize_name(name)] if pin.marker is None or pin.marker.evaluate(here)]
        assert [next(iter(pin.specifier)).version for pin in pins] == [version(name)]


def part(module: str) -> str | None:
    names = module.split(".")
    return names[1] if names[0] == "cxr_kd" and len(names) > 1 else None


@pytest.mark.parametrize("path", sorted((ROOT / "cxr_kd").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_only(path):
    relative = path.relative_to(ROOT / "cxr_kd")
    own = relative.parts[0].removesuffix(".py")
    if own == "__init__":
        return
    level = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for imported in filter(None, map(part, modules)):
            assert imported == own or level[imported] >= level[own], f"{relative} imports {imported}, which is above it"


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("torch", "pandas", "matplotlib", "sklearn", "shap", "timm")
    program = f"import cxr_kd, sys; sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_stored_clean_and_short(path):
    assert hygiene(path) == []


def test_the_hygiene_check_sees_outputs_and_misplaced_parameters(tmp_path):
    import nbformat

    cells = [nbformat.v4.new_code_cell("\n".join(["1"] * 30), execution_count=3)]
    bad = tmp_path / "bad.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), bad)
    assert [problem.split(": ", 1)[1].split(":")[0] for problem in hygiene(bad)] == [
        "is stored with outputs",
        "the cells tagged 'parameters' are []; it must be the second one, and only that",
        "cells of more than 25 lines, whose logic belongs in the library",
    ]
