"""A study's runs grouped into arms: which arms there are, which are controls, and which an ablation compares.

An arm is one network trained one way (a teacher, the student alone, the student distilled from one teacher), over all
seeds of the study.
"""

from __future__ import annotations

from itertools import groupby

from cxr_kd.study.runs import Run
from cxr_kd.study.study import Study


def arms_of(study: Study) -> dict[str, tuple[Run, ...]]:
    """Return each arm's runs, one per seed, without an ablation's variants. Order: teachers, then students."""
    return {arm: runs for arm, runs in all_arms(study).items() if arm not in variants(study)}


def all_arms(study: Study) -> dict[str, tuple[Run, ...]]:
    """Return each arm's runs, one per seed, an ablation's variants included. Order: teachers, then students."""
    order = {run.arm: position for position, run in enumerate(study.runs_of(study.seeds[0]))}
    runs = sorted(study.all_runs, key=lambda run: (order[run.arm], run.seed))
    return {arm: tuple(members) for arm, members in groupby(runs, key=lambda run: run.arm)}


def variants(study: Study) -> frozenset[str]:
    """Return the arms that exist only for an ablation: labelled students, except its reference."""
    return frozenset(arm for arm in compared_arms(study)[1:] if all_arms(study)[arm][0].label)


def compared_arms(study: Study) -> tuple[str, ...]:
    """Return the arms that an ablation compares, its reference first, each once; empty without an ablation."""
    if not study.ablation:
        return ()
    asked = (arm for arms in study.ablation.questions.values() for arm in arms)
    return tuple(dict.fromkeys((study.ablation.reference, *asked)))


def control_of(study: Study, arm: str) -> str | None:
    """Return the control of an arm: the arm of the same network trained alone. None if the study has none."""
    first = {name: runs[0] for name, runs in all_arms(study).items()}
    network = first[arm].network
    alone = (name for name, run in first.items() if run.role == "student alone" and not run.label)
    return next((name for name in alone if first[name].network == network), None)


def controls(study: Study) -> list[tuple[str, str]]:
    """Return the pairs (control, distilled student) of arms, without an ablation's variants."""
    distilled = [arm for arm, runs in arms_of(study).items() if runs[0].role == "student distilled"]
    return [(control, arm) for arm in distilled if (control := control_of(study, arm))]


def main_arms(study: Study) -> tuple[str, ...]:
    """Return the arms of crowded figures: the first teacher, the student alone, and the last student of this teacher.

    All arms if the study has no teacher.
    """
    pairs = taught(study)
    students = [student for teacher, student in pairs if teacher == pairs[0][0]]
    return tuple(dict.fromkeys((pairs[0][0], students[0], students[-1]))) if pairs else tuple(arms_of(study))


def taught(study: Study) -> list[tuple[str, str]]:
    """Return the pairs (teacher, student) of arms: each distilled student, and its control, with each of its teachers.

    Without an ablation's variants; each pair once, ordered by teacher, then as the students of the study.
    """
    arms = arms_of(study)
    pairs = set()
    for arm, runs in arms.items():
        for teacher in study.teacher_runs(runs[0]):
            pairs |= {(teacher.arm, student) for student in (arm, control_of(study, arm)) if student}
    order = list(arms)
    return sorted(pairs, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
