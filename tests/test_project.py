"""What holds the project together: its environment's files, the direction of its imports, its stored notebooks."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cxr_kd.notebook import hygiene
from cxr_kd.study.loss_table import LOSSES

ROOT = Path(__file__).parent.parent
LAYERS = (  # One layer per package or module: each may import only from the layers below it.
    "cli",
    "notebook",
    "report",
    "device",
    "explanation",
    "training",
    "evaluation",
    "distill",
    "data",
    "phantoms",
    "models",
    "study",
    "npy_rows",
    "files",
    "errors",
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


def declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in (*project["dependencies"], *lines)]


def locked() -> dict[str, list[Requirement]]:
    """Name -> its pinned lines, one for each environment that needs its own version."""
    lines = re.findall(r"^[a-zA-Z0-9].*?(?= \\$)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    pinned: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, lines):
        pinned.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pinned


def test_the_lock_pins_everything_that_the_project_declares():
    pinned = locked()
    everything = declared("study", "predict", "dev")
    assert {canonicalize_name(name) for name in ORDERED} <= {canonicalize_name(each.name) for each in everything}
    for requirement in everything:
        candidates = pinned[canonicalize_name(requirement.name)]
        for candidate in candidates:
            (version,) = [specifier.version for specifier in candidate.specifier]
            assert requirement.specifier.contains(version), f"{candidate} is not {requirement}: run `make lock`"


def test_every_locked_file_has_a_hash_and_none_an_address():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[a-zA-Z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_every_locked_npm_package_has_a_hash_and_none_an_address():
    packages = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    locked = [package for path, package in packages.items() if path]
    assert all(package["integrity"].startswith("sha512-") and "resolved" not in package for package in locked)


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


def imported_modules(path: Path) -> set[str]:
    """Every module of cxr_kd that a file imports, at its top or inside a function, without `cxr_kd.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if module_file(name).exists() else node.module for name in names}
    return {name.removeprefix("cxr_kd.") for name in found if name.startswith("cxr_kd.")}


def module_file(name: str) -> Path:
    folder = ROOT.joinpath(*name.split("."))
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "cxr_kd").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = [path for path in sorted((ROOT / "cxr_kd").rglob("*.py")) if module_name(path)]


def test_every_package_has_a_layer():
    assert {module_name(path).split(".")[0] for path in SOURCES} == set(LAYERS)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_down_only(path):
    own = LAYERS.index(module_name(path).split(".")[0])
    for imported in imported_modules(path):
        layer = imported.split(".")[0]
        assert LAYERS.index(layer) >= own, f"{module_name(path)} imports {imported}, which is in a layer above it"


def test_no_modules_import_each_other_in_a_circle():
    # `import package.module` runs package/__init__.py first; a package that only gathers its modules is no part of it.
    graph = {module_name(path): imported_modules(path) for path in SOURCES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("torch", "pandas", "matplotlib", "sklearn", "shap", "timm")
    program = f"import cxr_kd, sys; sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("cxr_kd.write_report", ("torch", "seaborn", "scipy.stats", "statsmodels")),
        ("import cxr_kd.report.compare.page", ("torch", "seaborn", "scipy.stats", "statsmodels")),
        ("cxr_kd.prepare, cxr_kd.report.pictures", ("torch", "seaborn", "scipy.stats")),
        ("cxr_kd.train, cxr_kd.build('eeea_net_c2', ['Mass'], image_size=64)", ("timm", "torchvision", "seaborn")),
    ],
)
def test_a_step_does_not_load_libraries_that_it_does_not_use(statement, unneeded):
    """Each step is a process of its own, and each of these libraries takes a second or more to import."""
    program = (
        f"import cxr_kd, sys; {statement}; sys.exit(', '.join(name for name in {unneeded} if name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == ""


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
        "the cells tagged 'parameters' are []; only the second cell must have this tag",
        "cells of more than 25 lines, whose logic belongs in the library",
    ]


LONGEST_MODULE, LONGEST_FUNCTION = 250, 60  # lines; a function's after its first line
# Direct dependencies that no code imports, and why they are declared.
NOT_IMPORTED = {
    "jsonschema": "an upper limit: nbformat loads it, and later versions are slow to import",
    "jupyterlab": "make lab starts it as a module",
    "onnxscript": "torch.onnx.export loads it",
    "python-gdcm": "imported as gdcm",
    "scikit-learn": "ordered; the tests compare metrics with it",
    "torchvision": "timm needs the version that fits torch",
}
IMPORTED_AS = {
    "grad-cam": "pytorch_grad_cam",
    "onnx-ir": "onnx_ir",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_modules_and_functions_are_short(path):
    text = path.read_text()
    assert text.count("\n") <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno
            assert length <= LONGEST_FUNCTION, f"{path}:{node.lineno}: {node.name} has {length} lines"


def test_every_direct_dependency_is_imported_or_has_a_reason():
    files = [path for folder in ("cxr_kd", "workflow") for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text() for path in files]
    texts += [
        "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        for path in (ROOT / "notebooks").glob("*.ipynb")
        if not path.name.startswith(".")
    ]
    unused = set()
    for name in (canonicalize_name(requirement.name) for requirement in declared("study", "predict")):
        module = IMPORTED_AS.get(name, name)
        if not any(re.search(rf"^\s*(import|from) {module}\b", text, re.MULTILINE) for text in texts):
            unused.add(name)
    assert unused == set(NOT_IMPORTED), "NOT_IMPORTED must list what is declared and not imported, with the reason"


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_machine_or_an_index():
    # In pieces, so that this file does not find itself.
    names = ("/wo" + "rk/", "/tmp/" + "wt", "index-" + r"url\s*[=:]\s*http", "py" + r"pi\.org", "npm" + r"js\.org")
    wrong = re.compile("|".join(names))
    for path in tracked_files():
        if path.suffix not in (".png", ".lock"):
            found = wrong.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found and found.group()}"


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'__version__ = "{version}"' in (ROOT / "cxr_kd" / "__init__.py").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_page_of_losses_is_the_table_of_losses():
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (\w+).*?\| (.*?) \| (.*?) \|$", (ROOT / "docs" / "losses.md").read_text(), re.M
    )
    wanted = {
        loss.name: (loss.against, loss.needs or "logits", set(loss.settings), loss.source) for loss in LOSSES.values()
    }
    assert {name: (against, needs, set(re.findall(r"`(\w+)`", settings)), source)
            for name, against, needs, settings, source in rows} == wanted  # fmt: skip
