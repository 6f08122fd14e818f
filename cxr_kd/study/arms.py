"""A study's runs as its arms.

An arm is what the study compares: one network trained one way (a teacher, the student alone, the student distilled from
one teacher), over all its seeds.
"""

from __future__ import annotations

from itertools import groupby

from cxr_kd.study.runs import Run
from cxr_kd.study.study import Study


def arms(study: Study) -> dict[str, tuple[Run, ...]]:
    """Arm -> its runs, one a seed, in the study's order: teachers, then students; without an ablation's variants."""
    return {arm: runs for arm, runs in all_arms(study).items() if arm not in variants(study)}


def all_arms(study: Study) -> dict[str, tuple[Run, ...]]:
    """Every arm -> its runs, one a seed, in the study's order: teachers, then students."""
    order = {run.arm: position for position, run in enumerate(study.runs_of(study.seeds[0]))}
    runs = sorted(study.all_runs, key=lambda run: (order[run.arm], run.seed))
    return {arm: tuple(members) for arm, members in groupby(runs, key=lambda run: run.arm)}


def variants(study: Study) -> frozenset[str]:
    """The arms that only an ablation's questions are about: students with a label, other than its reference."""
    questions = study.ablation.questions.values() if study.ablation else ()
    asked = {arm for arms in questions for arm in arms}
    return frozenset(arm for arm in asked if all_arms(study)[arm][0].label)


def controls(study: Study) -> dict[str, str]:
    """Arm of a distilled student -> arm of the same network alone, for those that have such a control."""
    first = {arm: runs[0] for arm, runs in arms(study).items()}
    alone = {run.network: arm for arm, run in first.items() if run.role == "student alone" and not run.label}
    return {
        arm: alone[run.network]
        for arm, run in first.items()
        if run.role == "student distilled" and run.network in alone
    }
