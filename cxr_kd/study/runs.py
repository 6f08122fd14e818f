"""The runs of a study, and the checks that they must pass before anything starts."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cxr_kd.study.loss_table import LABEL_LOSSES, LOSSES, NEEDS_LIVE_TEACHER, TEACHER_LOSSES
from cxr_kd.study.settings import Ablation, LossName


class Run(BaseModel):
    """One training of one network with one seed. `name` is the name of its run folder."""

    model_config = ConfigDict(frozen=True)

    network: str
    role: Literal["teacher", "student alone", "student distilled"]
    teacher: str | None
    objective: Mapping[LossName, float]
    views: int
    label: str
    seed: int
    pretrained: Literal["imagenet"] | None = None

    @property
    def arm(self) -> str:
        """Name without the seed: `densenet121`, `eeea_net_c2_alone`, `eeea_net_c2_from_densenet121-label`."""
        origin = {"teacher": "", "student alone": "_alone", "student distilled": f"_from_{self.teacher}"}[self.role]
        return f"{self.network}{origin}{'-' + self.label if self.label else ''}"

    @property
    def name(self) -> str:
        """Arm and seed: `eeea_net_c2_from_densenet121-seed0`."""
        return f"{self.arm}-seed{self.seed}"

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of its teachers; empty for a teacher and for the student alone."""
        return tuple(self.teacher.split("+")) if self.teacher else ()

    @property
    def losses(self) -> frozenset[LossName]:
        """Losses of its objective with a weight above 0."""
        return frozenset(name for name, weight in self.objective.items() if weight > 0)


def check_teachers(run: Run, teachers: tuple[str, ...]) -> None:
    """Raise ValueError unless the run's teachers are among the study's `teachers` and their outputs can be averaged."""
    for name in run.teachers:
        if name not in teachers:
            raise ValueError(f"the student's teacher {name!r} is not among the teachers: {', '.join(teachers)}")
    if len(set(run.teachers)) < len(run.teachers):
        raise ValueError(f"run {run.name}: name each teacher once")
    if len(run.teachers) > 1 and (alike := run.losses & NEEDS_LIVE_TEACHER):
        raise ValueError(
            f"run {run.name}: {', '.join(sorted(alike))} compares features, and features of several teachers "
            f"cannot be averaged: use one teacher or another loss"
        )


def check_objective(run: Run) -> None:
    """Raise ValueError if a run has no loss, or has a teacher but no loss that uses it."""
    if not run.losses:
        raise ValueError(
            f"run {run.name} has no loss: give one of these a weight above 0 in its objective: {_listed(LABEL_LOSSES)}"
        )
    if run.teacher and not run.losses & TEACHER_LOSSES:
        teaching = _listed(TEACHER_LOSSES)
        raise ValueError(
            f"run {run.name} does not use its teacher: give one of these a weight above 0 in its objective: {teaching}"
        )


def check_ablation(ablation: Ablation, students: list[str], seeds: int) -> None:
    """Raise ValueError unless the ablation names only arms of the study (`students`) and there are three seeds."""
    if seeds < 3:
        raise ValueError(
            f"an ablation needs at least three seeds, not {seeds}: two trainings may differ by chance alone"
        )
    asked = [arm for arms in ablation.questions.values() for arm in arms]
    if unknown := sorted({ablation.reference, *asked} - set(students)):
        raise ValueError(f"ablation: the study has no student {unknown[0]}; its students: {', '.join(students)}")
    if ablation.reference in asked:
        raise ValueError(f"ablation: {ablation.reference} is the reference, so no question can name it")


def _listed(losses: frozenset[str]) -> str:
    return ", ".join(name for name in LOSSES if name in losses)
