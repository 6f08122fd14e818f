"""How a notebook of the study begins: its parameters checked, its study read, its figures in one style."""

import ast
import difflib
import json
import sys
from pathlib import Path
from typing import Any

from cxr_kd.errors import StudyError
from cxr_kd.study import Study, load_study

LONGEST_CELL = 25  # lines


def begin(study: str | Study, **parameters: Any) -> Study:
    """Read the study that a notebook is about; call it in the first cell after the parameters.

    `parameters` are the notebook's other parameters, checked to be of the type of their defaults' kind (text or whole
    number). Raises StudyError for a parameter that papermill was given and the notebook does not know.
    """
    from IPython import get_ipython

    shell = get_ipython()
    check_parameters(list(shell.user_ns.get("In", ())) if shell else [])
    for name, value in parameters.items():
        wanted = int if name in ("seed", "processes") else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise StudyError(
                f"parameter {name!r} must be {'a whole number' if wanted is int else 'text'}, not {value!r}"
            )
    return load_study(study.file if isinstance(study, Study) else study)  # the cell may be run again


def check_parameters(cells: list[str]) -> None:
    """Compare the cell that papermill injected, among a session's cells so far, with the notebook's own parameters.

    papermill itself only warns of a parameter that the notebook does not have, and the notebook then runs with its
    defaults: a result for a question that nobody asked.
    """
    injected = [position for position, cell in enumerate(cells) if cell.startswith("# Parameters\n")]
    if not injected:
        return
    known = [name for cell in cells[: injected[0]] for name in _assigned(cell)]
    for name in _assigned(cells[injected[0]]):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise StudyError(f"this notebook has no parameter {name!r}{hint} It knows: {', '.join(known)}")


def _assigned(cell: str) -> list[str]:
    return [
        target.id
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def hygiene(path: Path) -> list[str]:
    """What is wrong with a stored notebook: outputs, parameters not where they belong, logic of the library's."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    tagged = [position for position, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    wrong = []
    if any(cell["outputs"] or cell["execution_count"] is not None for cell in code):
        wrong.append("is stored with outputs: run `make format`")
    if tagged != [1]:
        wrong.append(f"the cells tagged 'parameters' are {tagged}; it must be the second one, and only that")
    if long := [cell["source"][0].strip() for cell in code if len(cell["source"]) > LONGEST_CELL]:
        wrong.append(f"cells of more than {LONGEST_CELL} lines, whose logic belongs in the library: {long}")
    return [f"{path}: {problem}" for problem in wrong]


if __name__ == "__main__":
    problems = [problem for name in sys.argv[1:] for problem in hygiene(Path(name))]
    sys.exit("\n".join(problems) if problems else 0)
