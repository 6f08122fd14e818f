"""A study: one YAML file -> a checked, frozen object that knows its runs and where each of them lives."""

import json
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from cxr_kd.errors import StudyError
from cxr_kd.study.data_settings import LAYOUTS, DataSettings, Intensity
from cxr_kd.study.loss_table import TEACHER_LOSSES
from cxr_kd.study.runs import Run, check_ablation, check_objective, check_teachers
from cxr_kd.study.settings import (
    NETWORK_NAME,
    Ablation,
    Augmentation,
    Device,
    Evaluation,
    Explanation,
    LossName,
    LossSettings,
    NetworkName,
    Objective,
    Settings,
    Student,
    Training,
    digest,
)
from cxr_kd.study.yaml_file import explain, read_yaml


def published_objective() -> Objective:
    """The paper's two losses (arXiv 2305.06244), focal cross-entropy and squared error, with weights of ours."""
    return {"focal_bce": 1.0, "logit_mse": 0.5}


class Study(Settings):
    """What is asked, on which radiographs, of which networks. Read one with `load_study`."""

    file: Path = Field(exclude=True)
    title: str
    question: str
    data: DataSettings
    image_size: int = Field(224, ge=32, description="pixels a side")
    keep_aspect: bool = Field(False, description="pad to a square rather than stretch to one")
    intensity: Intensity = Field("fixed", description="16-bit and DICOM greys to 8 bit: by a fixed rule, or per image")
    augmentation: Augmentation = Field(default_factory=Augmentation)
    teachers: tuple[NetworkName, ...]
    students: tuple[Student, ...]
    pretrained: Literal["imagenet"] | None = None
    objective: Objective = Field(default_factory=published_objective)
    losses: LossSettings = Field(default_factory=LossSettings)
    teacher_views: int = Field(4, ge=1, description="views of each training image that a teacher answers")
    teacher_training: Training
    student_training: Training
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    ablation: Ablation | None = None
    evaluation: Evaluation = Field(default_factory=Evaluation)
    explanation: Explanation = Field(default_factory=Explanation)
    device: Device = Field(default_factory=Device)

    @field_validator("teachers", "students", "seeds")
    @classmethod
    def _not_empty(cls, value: tuple) -> tuple:
        if not value or len(set(map(repr, value))) < len(value):
            raise ValueError("must name at least one, and none twice")
        return value

    @model_validator(mode="after")
    def _runs_can_be_told_apart(self) -> Self:
        for run in self.runs_of(self.seeds[0]):
            check_teachers(run, self.teachers)
            check_objective(run)
        names = [run.name for run in self.runs_of(self.seeds[0])]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two students would share the run {sorted(twice)}: give each a 'label'")
        return self

    @model_validator(mode="after")
    def _ablation_names_students_of_the_study(self) -> Self:
        if self.ablation:
            students = [run.arm for run in self.runs_of(self.seeds[0]) if run.role != "teacher"]
            check_ablation(self.ablation, students, len(self.seeds))
        return self

    # ---- where things live ------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The file's name without `.yaml`."""
        return self.file.stem

    @cached_property
    def home(self) -> Path:
        """The project: the folder above `studies/`, or the current one for a study kept elsewhere."""
        return self.file.parent.parent if self.file.parent.name == "studies" else Path.cwd()

    @property
    def runs(self) -> Path:
        """Folder of this study's artefacts."""
        return self.home / "runs" / self.name

    @property
    def reports(self) -> Path:
        """Folder of this study's report and executed notebooks."""
        return self.home / "reports" / self.name

    def folder(self, run: Run) -> Path:
        """Folder of one run."""
        return self.runs / run.name

    @property
    def made_root(self) -> Path | None:
        """Folder of data that the study draws or fetches itself; None where a user brings the data."""
        if self.data.phantom:
            return self.home / "runs" / "phantoms" / digest(self.data.phantom.model_dump())[:12]
        if self.data.chestmnist and self.data.chestmnist.download and not os.environ.get("CXR_KD_DATA"):
            return self.home / "runs" / "chestmnist"
        return None

    def data_root(self) -> Path:
        """Folder that holds the data set: `made_root`, or what DATA (CXR_KD_DATA) names.

        Raises StudyError, saying what to put where, when there is none.
        """
        if self.made_root:
            return self.made_root
        given = os.environ.get("CXR_KD_DATA", "")
        if not given or not Path(given).is_dir():
            found = f"{given!r} is not a folder" if given else "no folder was given"
            raise StudyError(
                f"study {self.name!r} reads the data set {self.data.dataset!r}, and {found}. Name one: make study "
                f"STUDY=studies/{self.file.name} DATA=DIR (or set CXR_KD_DATA). Put there "
                f"{LAYOUTS[self.data.dataset]}. See 'Real data' in README.md."
            )
        return Path(given).resolve()

    # ---- what is trained --------------------------------------------------------------------------------------------

    def runs_of(self, seed: int) -> tuple[Run, ...]:
        """Every run of one seed, teachers first."""
        return (
            *(self.teacher_run(name, seed) for name in self.teachers),
            *(self._student_run(student, seed) for student in self.students),
        )

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """Every run of the study."""
        return tuple(run for seed in self.seeds for run in self.runs_of(seed))

    def teacher_run(self, network: str, seed: int) -> Run:
        """The run of a teacher: any network of the registry or of timm, whether the study lists it or not."""
        _check_name("teacher", network)
        weights = _without_teacher(self.objective)
        return Run(network=network, role="teacher", teacher=None, objective=weights, views=0, label="", seed=seed)

    def teacher_runs(self, run: Run) -> tuple[Run, ...]:
        """The runs of a student's teachers, with its seed; none for a student alone."""
        return tuple(self.teacher_run(name, run.seed) for name in run.teachers)

    def student_run(self, network: str, teacher: str, seed: int, label: str = "") -> Run:
        """The run of a student; `teacher` is a network, several joined by +, or "alone".

        One that the study does not list gets the study's objective and views.
        """
        _check_name("student", network)
        for name in teacher.split("+"):
            _check_name("teacher", name)
        wanted = (network, None if teacher == "alone" else teacher, label)
        for student in self.students:
            if (student.network, student.teacher, student.label) == wanted:
                return self._student_run(student, seed)
        if label:
            raise StudyError(f"{self.file}: no student {network!r} of {teacher!r} has the label {label!r}")
        return self._student_run(Student.model_construct(network=wanted[0], teacher=wanted[1]), seed)

    def _student_run(self, student: Student, seed: int) -> Run:
        asked = student.objective or self.objective
        weights = dict(asked) if student.teacher else _without_teacher(asked)
        role: Any = "student distilled" if student.teacher else "student alone"
        return Run(
            network=student.network,
            role=role,
            teacher=student.teacher,
            objective=weights,
            views=student.views or self.teacher_views,
            label=student.label,
            seed=seed,
        )

    # ---- what a result depends on -----------------------------------------------------------------------------------

    def data_settings(self) -> dict[str, Any]:
        """What the images, their labels and their split depend on."""
        pixels = {"image_size": self.image_size, "keep_aspect": self.keep_aspect, "intensity": self.intensity}
        return {**self.data.model_dump(mode="json"), **pixels}

    def run_settings(self, run: Run) -> dict[str, Any]:
        """What a run's weights depend on, its teacher's included; `digest` of it identifies the run."""
        training = self.teacher_training if run.role == "teacher" else self.student_training
        settings: dict[str, Any] = {
            "run": run.model_dump(mode="json"),
            "data": self.data_settings(),
            "training": training.model_dump(),
            "augmentation": self.augmentation.model_dump(),
            "pretrained": self.pretrained,
            "losses": self.losses.model_dump(),
        }
        if run.teacher:
            settings["teachers"] = [self.run_settings(teacher) for teacher in self.teacher_runs(run)]
        return settings

    def identity(self, run: Run, data_identity: str) -> str:
        """SHA-256 of what a run's weights depend on: its settings, and the images, labels and split it saw."""
        return digest([self.run_settings(run), data_identity])


def load_study(study: str | Path) -> Study:
    """Read a study from a YAML file, or by its name in `studies/`. Raises StudyError naming the file, line and key."""
    file = find_study(study)
    content, tree = read_yaml(file)
    try:
        return Study.model_validate_json(json.dumps({**content, "file": str(file)}, default=str))
    except ValidationError as error:
        raise StudyError("\n".join(explain(file, tree, problem, Study) for problem in error.errors())) from None


def find_study(study: str | Path) -> Path:
    """The file of a study given by path (from here or from the project) or by name."""
    given, here = Path(study), Path.cwd()
    project = Path(__file__).resolve().parents[2]
    candidates = [
        base / path for base in (here, here.parent, project) for path in (given, Path(f"studies/{given}.yaml"))
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    shipped = sorted(path.stem for path in (project / "studies").glob("*.yaml"))
    raise StudyError(f"no study {str(study)!r}: give a YAML file, or one of {', '.join(shipped)}")


def _without_teacher(objective: Mapping[LossName, float]) -> dict[LossName, float]:
    return {name: weight for name, weight in objective.items() if name not in TEACHER_LOSSES}


def _check_name(what: str, value: str) -> None:
    if not re.fullmatch(NETWORK_NAME, value):
        raise StudyError(
            f"{value!r} can't name a {what}: networks are called as `cxr-kd models` lists them, or by timm"
        )
