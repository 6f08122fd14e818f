"""What a study trains: its runs, and what must hold for them before anything starts."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cxr_kd.study.loss_table import LABEL_LOSSES, LOSSES, NEEDS_LIVE_TEACHER, TEACHER_LOSSES
from cxr_kd.study.settings import Ablation, LossName


class Run(BaseModel):
    """One training of one network. `name` is its folder's name."""

    model_config = ConfigDict(frozen=True)

    network: str
    role: Literal["teacher", "student alone", "student distilled"]
    teacher: str | None
    objective: Mapping[LossName, float]
    views: int
    label: str
    seed: int

    @property
    def arm(self) -> str:
        """What is compared, over seeds: `densenet121`, `eeea_net_c2_alone`, `eeea_net_c2_from_densenet121-label`."""
        origin = {"teacher": "", "student alone": "_alone", "student distilled": f"_from_{self.teacher}"}[self.role]
        return f"{self.network}{origin}{'-' + self.label if self.label else ''}"

    @property
    def name(self) -> str:
        """The arm and the seed: `eeea_net_c2_from_densenet121-seed0`."""
        return f"{self.arm}-seed{self.seed}"

    @property
    def teachers(self) -> tuple[str, ...]:
        """The networks that teach it, none or several."""
        return tuple(self.teacher.split("+")) if self.teacher else ()

    @property
    def losses(self) -> frozenset[LossName]:
        """The losses of its objective that have a weight."""
        return frozenset(name for name, weight in self.objective.items() if weight > 0)


def check_teachers(run: Run, teachers: tuple[str, ...]) -> None:
    """Raise ValueError unless the run's teachers are among the study's `teachers`, and can answer together."""
    for name in run.teachers:
        if name not in teachers:
            raise ValueError(f"student's teacher {name!r} is not among the teachers {teachers}")
    if len(set(run.teachers)) < len(run.teachers):
        raise ValueError(f"the teachers of run {run.name} must each stand once")
    if len(run.teachers) > 1 and (alike := run.losses & NEEDS_LIVE_TEACHER):
        raise ValueError(
            f"run {run.name}: {', '.join(sorted(alike))} compares features, of which several teachers have no mean: "
            f"take one teacher, or another loss"
        )


def check_objective(run: Run) -> None:
    """Raise ValueError for a run without a loss, and for a student that would not hear its teacher."""
    if not run.losses:
        raise ValueError(f"run {run.name} has no loss: its objective needs one of {_listed(LABEL_LOSSES)} above 0")
    if run.teacher and not run.losses & TEACHER_LOSSES:
        teaching = _listed(TEACHER_LOSSES)
        raise ValueError(f"run {run.name} would not hear its teacher: its objective needs one of {teaching} above 0")


def check_ablation(ablation: Ablation, students: list[str], seeds: int) -> None:
    """Raise ValueError unless the ablation speaks of arms of the study (`students`), and of enough seeds."""
    if seeds < 3:
        raise ValueError(
            f"an ablation needs at least three seeds, not {seeds}: what differs between two trainings may be chance"
        )
    asked = [arm for arms in ablation.questions.values() for arm in arms]
    if unknown := sorted({ablation.reference, *asked} - set(students)):
        raise ValueError(f"ablation: the study trains no {unknown[0]}; its students are {', '.join(students)}")
    if ablation.reference in asked:
        raise ValueError(f"ablation: {ablation.reference} is the reference, so no question names it")


def _listed(losses: frozenset[str]) -> str:
    return ", ".join(name for name in LOSSES if name in losses)
