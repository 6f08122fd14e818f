"""Find a study's file and read it."""

import json
import os
from pathlib import Path

from pydantic import ValidationError

from cxr_kd.errors import StudyError
from cxr_kd.study.study import Study
from cxr_kd.study.yaml_file import explain, read_yaml


def load_study(study: str | Path) -> Study:
    """Read a study from a YAML file, or by its name in `studies/`. Raises StudyError naming the file, line and key."""
    file = find_study(study)
    content, tree = read_yaml(file)
    try:
        return Study.model_validate_json(json.dumps({**content, "file": str(file)}))
    except ValidationError as error:
        raise StudyError("\n".join(explain(file, tree, problem, Study) for problem in error.errors())) from None


def find_study(study: str | Path) -> Path:
    """Return the file of a study given by path or by name.

    A path is looked up from the current folder, from the one above it, and from the project. Raises StudyError, naming
    the shipped studies, if there is no such file.
    """
    given, here = Path(study), Path.cwd()
    project = Path(__file__).resolve().parents[2]
    candidates = [
        base / path for base in (here, here.parent, project) for path in (given, Path(f"studies/{given}.yaml"))
    ]
    for candidate in candidates:
        if os.path.isfile(candidate):
            return candidate.resolve()
    if os.path.exists(given):
        raise StudyError(f"{given} is not a study: give a YAML file")
    shipped = sorted(path.stem for path in (project / "studies").glob("*.yaml"))
    raise StudyError(f"no study {str(study)!r}: give a YAML file, or one of {', '.join(shipped)}")
