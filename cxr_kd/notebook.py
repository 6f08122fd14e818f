"""The start of every notebook: its parameters are checked, its study is read, errors become one message.

`python -m cxr_kd.notebook FILE...` checks stored notebooks (`hygiene`).
"""

import ast
import difflib
import json
import linecache
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from cxr_kd.errors import CxrKdError, StudyError
from cxr_kd.study import Study, load_study
from cxr_kd.study.runs import Run

LONGEST_CELL = 25  # lines
WHOLE_NUMBERS = ("seed", "processes")
STOPPED = "Stopped. Run this cell again to continue: finished runs, epochs and files are kept."


def begin(study: str | Study, **parameters: Any) -> Study:
    """Read the study that a notebook is about. Call it in the first cell after the parameters.

    `parameters` are the notebook's other parameters. Each is checked to be text or, for seed and processes, a whole
    number. If they name a run (`teacher`, `student`, `seed`, `label`), its networks are checked before any folder is
    made, and a warning is printed if the study does not name that run.

    From here on, an error that a user can fix, and an interrupt, end with the user's own line and one line that says
    what to do, without the library's traceback. Any other error is a defect and keeps its traceback.

    Raises StudyError for a parameter of another type, and for one that papermill was given and that the notebook does
    not have; ModelError for a network that does not exist or does not fit.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell:
        shell.set_custom_exc((CxrKdError, KeyboardInterrupt), _show_error)
        check_parameters(list(shell.user_ns.get("In", ())))
    for name, value in parameters.items():
        _check_type(name, value)
    read = load_study(study.file if isinstance(study, Study) else study)  # a Study if the cell runs a second time
    if run := _run_of(read, **parameters):
        check_asked_run(read, run)
    return read


def check_asked_run(study: Study, run: Run) -> None:
    """Raise ModelError if a run's networks cannot be built; print a warning if no report will show the run."""
    from cxr_kd.models.check_networks import check_run, unlisted

    check_run(study, run)
    if warning := unlisted(study, run):
        print(warning, file=sys.stderr, flush=True)


def _check_type(name: str, value: Any) -> None:
    wanted = int if name in WHOLE_NUMBERS else str
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise StudyError(f"parameter {name!r} must be {'a whole number' if wanted is int else 'text'}, not {value!r}")
    if isinstance(value, int) and value < 0:
        raise StudyError(f"parameter {name!r} must not be negative, but is {value}")


def _run_of(study: Study, **parameters: Any) -> Run | None:
    """Return the run that a notebook's parameters name, or None."""
    if "student" in parameters:
        teacher, label = parameters.get("teacher", "alone"), parameters.get("label", "")
        return study.student_run(parameters["student"], teacher, parameters.get("seed", 0), label)
    if "teacher" in parameters:
        return study.teacher_run(parameters["teacher"], parameters.get("seed", 0))
    return None


def _show_error(
    shell: Any, kind: type, error: BaseException, trace: TracebackType, tb_offset: int | None = None
) -> None:
    """Show an error with the lines of the user's cells only. IPython still reports the cell as failed."""
    lines = []
    for frame, number in traceback.walk_tb(trace):
        if frame.f_globals is shell.user_global_ns:
            code = linecache.getline(frame.f_code.co_filename, number).strip()
            lines.append(f"line {number}: {code}")
    said = STOPPED if kind is KeyboardInterrupt else f"{kind.__name__}: {error}"
    shell._showtraceback(kind, error, [*lines, said])


def check_parameters(cells: list[str]) -> None:
    """Raise StudyError if papermill was given a parameter that the notebook does not have.

    `cells` are the session's cells so far, one of them injected by papermill. papermill itself only warns of such a
    parameter, and the notebook would run with its defaults instead of what was asked for.
    """
    injected = [position for position, cell in enumerate(cells) if cell.startswith("# Parameters\n")]
    if not injected:
        return
    known = [name for cell in cells[: injected[0]] for name in _assigned(cell)]
    for name in _assigned(cells[injected[0]]):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise StudyError(f"this notebook has no parameter {name!r}{hint} Its parameters: {', '.join(known)}")


def _assigned(cell: str) -> list[str]:
    """Return the names that a cell assigns at its top level."""
    return [
        target.id
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def hygiene(path: Path) -> list[str]:
    """Return what is wrong with a stored notebook: outputs, a misplaced parameters cell, cells that are too long."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    tagged = [position for position, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    wrong = []
    if any(cell["outputs"] or cell["execution_count"] is not None for cell in code):
        wrong.append("is stored with outputs: run `make format`")
    if tagged != [1]:
        wrong.append(f"the cells tagged 'parameters' are {tagged}; only the second cell must have this tag")
    if long := [cell["source"][0].strip() for cell in code if len(cell["source"]) > LONGEST_CELL]:
        wrong.append(f"cells of more than {LONGEST_CELL} lines, whose logic belongs in the library: {long}")
    return [f"{path}: {problem}" for problem in wrong]


if __name__ == "__main__":
    problems = [problem for name in sys.argv[1:] for problem in hygiene(Path(name))]
    sys.exit("\n".join(problems) if problems else 0)
