"""How a notebook begins: unknown parameters and networks are errors, and errors end at the user's own line."""

from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from cxr_kd.errors import ModelError, StudyError
from cxr_kd.notebook import STOPPED, begin, check_parameters

PARAMETERS = 'study = "studies/smoke.yaml"\nteacher = "alone"\nseed = 0'
SMOKE = Path(__file__).parents[1] / "studies" / "smoke.yaml"


@pytest.mark.parametrize("injected", ["seed = 1", 'teacher = "densenet121"\nstudy = "x.yaml"\nseed = 2', ""])
def test_known_parameters_pass(injected):
    check_parameters(["", PARAMETERS, "# Parameters\n" + injected])


def test_a_notebook_without_injected_parameters_passes():
    check_parameters(["", PARAMETERS, "anything = 1"])


def test_an_unknown_parameter_is_named_with_the_closest_known_one():
    told = r"no parameter 'sede'; did you mean 'seed'\? Its parameters: study, teacher, seed"
    with pytest.raises(StudyError, match=told):
        check_parameters(["", PARAMETERS, "# Parameters\nsede = 1"])


def executed(folder: Path, *cells: str) -> tuple[nbformat.NotebookNode, PapermillExecutionError | None]:
    """Run cells as papermill runs a notebook; return the executed notebook and papermill's error."""
    source, target = folder / "source.ipynb", folder / "executed.ipynb"
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), source)
    error = None
    try:
        papermill.execute_notebook(source, target, progress_bar=False, cwd=folder)
    except PapermillExecutionError as stopped:
        error = stopped
    return nbformat.read(target, as_version=4), error


def outputs(notebook: nbformat.NotebookNode, kind: str) -> list[nbformat.NotebookNode]:
    return [each for cell in notebook.cells for each in cell.get("outputs", ()) if each.output_type == kind]


def study_in(folder: Path) -> Path:
    file = folder / "studies" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(SMOKE.read_text())
    return file


BEGIN = "from cxr_kd.notebook import begin\nstudy = begin({study!r}, **{parameters})"


def test_an_error_ends_at_the_users_line_and_papermill_sees_it(tmp_path):
    cells = (
        BEGIN.format(study=str(study_in(tmp_path)), parameters={}),
        "def mine(label):\n    return study.student_run('eeea_net_c2', 'alone', 0, label)",
        "x = 1\nmine('nowhere')",
    )
    notebook, error = executed(tmp_path, *cells)
    assert error is not None
    assert (error.ename, error.cell_index) == ("StudyError", 2)
    assert "has the label 'nowhere'" in error.evalue
    (shown,) = outputs(notebook, "error")
    assert shown.traceback[:2] == [
        "line 2: mine('nowhere')",
        "line 2: return study.student_run('eeea_net_c2', 'alone', 0, label)",
    ]
    assert shown.traceback[2].startswith("StudyError: ")
    assert len(shown.traceback) == 3  # nothing of the library
    assert "cxr_kd/study" not in "\n".join(shown.traceback)


def test_a_defect_keeps_its_whole_traceback(tmp_path):
    first = BEGIN.format(study=str(study_in(tmp_path)), parameters={})
    notebook, error = executed(tmp_path, first, "from cxr_kd.study.settings import digest\ndigest({1j})")
    assert error is not None
    assert error.ename == "TypeError"
    assert "settings.py" in "\n".join(outputs(notebook, "error")[0].traceback)


def test_an_interrupt_ends_with_one_line_that_says_how_to_continue(tmp_path):
    library = tmp_path / "library.py"
    library.write_text("import os, signal\n\ndef train():\n    os.kill(os.getpid(), signal.SIGINT)\n    [0] * 10\n")
    first = BEGIN.format(study=str(study_in(tmp_path)), parameters={})
    notebook, error = executed(tmp_path, first, "import library\nlibrary.train()", "print('not reached')")
    assert error is not None
    assert (error.ename, error.cell_index) == ("KeyboardInterrupt", 1)
    assert outputs(notebook, "error")[0].traceback == ["line 2: library.train()", STOPPED]
    assert outputs(notebook, "stream") == []


@pytest.mark.parametrize(
    ("parameters", "kind", "told"),
    [
        ({"teacher": "densnet121", "seed": 0}, ModelError, "did you mean 'densenet121'"),
        ({"student": "eeea_net_c2", "teacher": "densnet121"}, ModelError, "did you mean 'densenet121'"),
        ({"student": "eeea_net_c3", "teacher": "alone"}, ModelError, "did you mean 'eeea_net_c2'"),
        ({"teacher": "densenet121", "seed": "0"}, StudyError, "'seed' must be a whole number, not '0'"),
        ({"teacher": "densenet121", "seed": -1}, StudyError, "'seed' must not be negative"),
    ],
)  # fmt: skip
def test_a_misspelt_network_leaves_no_folder(tmp_path, parameters, kind, told):
    with pytest.raises(kind, match=told):
        begin(str(study_in(tmp_path)), **parameters)
    assert not (tmp_path / "runs").exists()


def test_a_run_outside_the_study_gives_a_warning(tmp_path):
    study = str(study_in(tmp_path))
    listed, unlisted = ({"teacher": "densenet121", "seed": seed} for seed in (0, 7))
    cells = [BEGIN.format(study=study, parameters=each) for each in (listed, unlisted)]
    notebook, error = executed(tmp_path, *cells)
    assert error is None
    (warning,) = outputs(notebook, "stream")
    assert "densenet121-seed7 is not a run of study 'mine', so no report will show it" in warning.text
