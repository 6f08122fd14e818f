"""The steps of a study: which notebook runs with which parameters, after which other steps."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_kd.study.data_settings import DataSettings
from cxr_kd.study.runs import Run
from cxr_kd.study.settings import digest
from cxr_kd.study.study import Study


@dataclass(frozen=True)
class Step:
    """One notebook with its parameters.

    `identity` changes exactly if a setting changes that this step itself depends on. The settings of the steps that it
    `needs` affect it through those steps. `exclusive`: nothing else may run beside it, because it measures time.
    """

    notebook: str
    parameters: dict[str, Any]
    needs: tuple["Step", ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    suffix: str = ""
    exclusive: bool = False

    @property
    def name(self) -> str:
        """Name of the notebook and of the run that it trains, if any: `03_distill-eeea_net_c2_alone-seed0`."""
        return f"{self.notebook}{'-' + self.suffix if self.suffix else ''}"

    @property
    def identity(self) -> str:
        """SHA-256 of the step's own settings and parameters."""
        return digest([self.notebook, {**self.parameters, "study": ""}, self.settings])

    def executed(self, study: Study, kind: str = "html") -> Path:
        """Return the path of the executed notebook: `html` to read, `ipynb` to open."""
        return study.report_folder / "notebooks" / f"{self.name}.{kind}"


def steps(study: Study) -> tuple[Step, ...]:
    """Return every step of a study, each after the steps that it needs."""
    file = {"study": str(study.file)}
    code = code_sha256()
    data = Step("01_data", file, settings={**study.data_settings(), **_root(study), "code": code})
    teachers = {run.name: _teacher(study, run, data) for run in study.all_runs if run.role == "teacher"}
    students = [_student(study, run, data, teachers) for run in study.all_runs if run.role != "teacher"]
    trained = (*teachers.values(), *students)
    evaluation = study.evaluation.model_dump()
    evaluate = Step("04_evaluate", file, needs=trained, settings={**evaluation, **_external(study), "code": code})
    asked = {"ablation": study.ablation.model_dump()} if study.ablation else {}
    ablation = [Step("05_ablation", file, (evaluate,), {**evaluation, **asked, "code": code})] if study.ablation else []
    maps = {"evaluation": evaluation, **study.explanation.model_dump(), "code": code}  # measures of maps have intervals
    explain = Step("06_explain", file, needs=trained, settings=maps)
    measured = {**study.device.model_dump(), "code": code}
    device = Step("07_device", file, needs=(evaluate,), settings=measured, exclusive=True)  # it exports calibrations
    report = Step(
        "08_report",
        file,
        needs=(evaluate, *ablation, explain, device),
        settings={
            **evaluation,
            **asked,
            "title": study.title,
            "question": study.question,
            "share_predictions": study.predictions_are_shared,
            "reporting": study.reporting.model_dump(),
            "code": code,
        },
    )
    return (data, *trained, evaluate, *ablation, explain, device, report)


def _teacher(study: Study, run: Run, data: Step) -> Step:
    parameters = {"study": str(study.file), "teacher": run.network, "seed": run.seed}
    return Step("02_teacher", parameters, (data,), study.run_settings(run), run.name)


def _student(study: Study, run: Run, data: Step, teachers: dict[str, Step]) -> Step:
    parameters = {
        "study": str(study.file),
        "student": run.network,
        "teacher": run.teacher or "alone",
        "seed": run.seed,
        "label": run.label,
    }
    taught = [teachers[teacher.name] for teacher in study.teacher_runs(run)]
    return Step("03_distill", parameters, (data, *taught), study.run_settings(run), run.name)


def _root(study: Study) -> dict[str, Any]:
    """Return the data set's folder, and names, sizes and times of the tables, lists and folders in it."""
    root = study.data_root()
    # The content of made data follows from the data settings.
    return {"root": str(root)} if study.made_root else _entries(root, study.data)


def _external(study: Study) -> dict[str, Any]:
    """Return the further data sets of a study: their settings, and what `_root` returns of each; {} without any."""
    found = {}
    for name, external in study.evaluate_on.items():
        root, settings = study.external_root(name), external.model_dump(mode="json")
        found[name] = {**settings, **(_entries(root, external.data) if external.root else {"root": str(root)})}
    return {"evaluate_on": found} if found else {}


def _entries(root: Path, data: DataSettings) -> dict[str, Any]:
    """Return a data set's folder, and names, sizes and times of the tables, lists and folders in it."""
    named = [data.folder.table] if data.folder else []
    named += list(data.lists.model_dump().values()) if data.lists else []
    paths = {
        *root.iterdir(),
        *root.glob("*/*.csv"),
        *(root / name for name in named),
    }  # CheXpert's tables are one folder down
    entries = [(str(path.relative_to(root)), path.stat()) for path in sorted(paths) if path.exists()]
    return {"root": str(root), "entries": [(name, state.st_size, state.st_mtime_ns) for name, state in entries]}


def code_sha256() -> str:
    """Return the SHA-256 of the library: if it changes, short steps run again, but no training does."""
    files = sorted(
        path for path in Path(__file__).parents[1].rglob("*.*") if path.suffix in (".py", ".html", ".css", ".yaml")
    )
    return digest([path.read_text(encoding="utf-8") for path in files])
