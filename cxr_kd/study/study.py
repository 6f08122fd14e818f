"""A study: a checked, frozen object that knows its runs, where each is stored, and what each depends on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from cxr_kd.errors import StudyError
from cxr_kd.study.external import check_other_phantoms
from cxr_kd.study.loss_table import TEACHER_LOSSES
from cxr_kd.study.published import Published
from cxr_kd.study.runs import Run, check_ablation, check_objective, check_teachers
from cxr_kd.study.settings import LossName, Student, Training, digest, network_name, teacher_names
from cxr_kd.study.study_file import StudyFile
from cxr_kd.study.teacher import Teacher


class Study(StudyFile):
    """A question, the radiographs and networks that answer it, and all settings. Read one with `load_study`."""

    @field_validator("teachers", "students", "seeds")
    @classmethod
    def _not_empty(cls, value: tuple) -> tuple:
        if not value or len(set(map(repr, value))) < len(value):
            raise ValueError("needs at least one entry, and no entry twice")
        return value

    @model_validator(mode="after")
    def _runs_are_complete_and_distinct(self) -> Self:
        for run in self.runs_of(self.seeds[0]):
            check_teachers(run, tuple(teacher.network for teacher in self.teachers))
            check_objective(run)
        names = [run.name for run in self.runs_of(self.seeds[0])]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            advice = "give one of the students a 'label'; a network can be a teacher only once"
            raise ValueError(f"two runs would share the folder {twice[0]}: {advice}")
        return self

    @model_validator(mode="after")
    def _ablation_names_students_of_the_study(self) -> Self:
        if self.ablation:
            students = [run.arm for run in self.runs_of(self.seeds[0]) if run.role != "teacher"]
            check_ablation(self.ablation, students, len(self.seeds))
        return self

    @model_validator(mode="after")
    def _tested_on_other_patients(self) -> Self:
        check_other_phantoms(self.data.phantom, self.evaluate_on)
        return self

    # ---- what is trained --------------------------------------------------------------------------------------------

    def run_folder(self, run: Run) -> Path:
        """Return the folder of one run."""
        return self.runs_folder / run.name

    def external_folder(self, run: Run, name: str) -> Path:
        """Return the folder of one run's predictions on a data set of `evaluate_on`."""
        return self.run_folder(run) / "external" / name

    def runs_of(self, seed: int) -> tuple[Run, ...]:
        """Return every run of one seed, teachers first."""
        return (
            *(self.teacher_run(teacher.network, seed) for teacher in self.teachers),
            *(self._student_run(student, seed) for student in self.students),
        )

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """Every run of the study, seed by seed."""
        return tuple(run for seed in self.seeds for run in self.runs_of(seed))

    def teacher_run(self, network: str, seed: int) -> Run:
        """Return the run of a teacher; the study does not have to list it. Raises StudyError for an impossible name."""
        _check(network_name, network)
        return Run(
            network=network,
            role="teacher",
            teacher=None,
            objective=_without_teacher(self.objective),
            views=0,
            label="",
            seed=seed,
            pretrained=self._pretrained(self._listed_teacher(network)),
        )

    def teacher_runs(self, run: Run) -> tuple[Run, ...]:
        """Return the runs of a student's teachers, with the student's seed; empty for a student alone."""
        return tuple(self.teacher_run(name, run.seed) for name in run.teachers)

    def student_run(self, network: str, teacher: str, seed: int, label: str = "") -> Run:
        """Return the run of a student; `teacher` is a network, several joined by +, or "alone".

        A student that the study does not list gets the study's objective and views. Raises StudyError for an impossible
        name, and for a label that the study does not have.
        """
        _check(network_name, network)
        _check(teacher_names, teacher)
        wanted = (network, None if teacher == "alone" else teacher, label)
        for student in self.students:
            if (student.network, student.teacher, student.label) == wanted:
                return self._student_run(student, seed)
        if label:
            labels = [each.label for each in self.students if each.label] or ["none"]
            raise StudyError(
                f"{self.file}: no student {network!r} with teacher {teacher!r} has the label {label!r}; labels in this "
                f"study: {', '.join(labels)}"
            )
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
            pretrained=self._pretrained(student),
        )

    def training_of(self, run: Run) -> Training:
        """Return the training settings of a run: its role's, or a teacher's own."""
        if run.role != "teacher":
            return self.student_training
        return self._listed_teacher(run.network).training or self.teacher_training

    def published_weights(self, run: Run) -> Published | None:
        """Return the published weights that a teacher is; None for a run that is trained."""
        return self._listed_teacher(run.network).weights if run.role == "teacher" else None

    def _listed_teacher(self, network: str) -> Teacher:
        listed = (teacher for teacher in self.teachers if teacher.network == network)
        return next(listed, Teacher.model_construct(network=network))

    def _pretrained(self, entry: Teacher | Student) -> Literal["imagenet"] | None:
        if isinstance(entry, Teacher) and entry.weights:
            return None
        return self.pretrained if entry.pretrained is None else entry.pretrained or None

    # ---- what a result depends on -----------------------------------------------------------------------------------

    def data_settings(self) -> dict[str, Any]:
        """Return what the images, their labels and their split depend on."""
        pixels = {"image_size": self.image_size, "keep_aspect": self.keep_aspect, "intensity": self.intensity}
        return {**self.data.model_dump(mode="json"), **pixels}

    def run_settings(self, run: Run) -> dict[str, Any]:
        """Return what a run's weights depend on, its teachers included; `digest` of it identifies the run."""
        if weights := self.published_weights(run):
            return {"run": run.name, "data": self.data_settings(), "weights": weights.identity(self.home)}
        settings: dict[str, Any] = {
            "run": run.model_dump(mode="json"),
            "data": self.data_settings(),
            "training": self.training_of(run).model_dump(),
            "augmentation": self.augmentation.model_dump(),
            "losses": self.losses.model_dump(),
        }
        if run.teacher:
            settings["teachers"] = [self.run_settings(teacher) for teacher in self.teacher_runs(run)]
        return settings

    def identity(self, run: Run, data_identity: str) -> str:
        """Return the SHA-256 of what a run's weights depend on: its settings, images, labels and split."""
        return digest([self.run_settings(run), data_identity])


def _without_teacher(objective: Mapping[LossName, float]) -> dict[LossName, float]:
    return {name: weight for name, weight in objective.items() if name not in TEACHER_LOSSES}


def _check(rule: Callable[[str], str], name: str) -> None:
    try:
        rule(name)
    except ValueError as error:
        raise StudyError(str(error)) from None
