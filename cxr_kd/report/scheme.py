"""The study as a row of steps: data, split, teacher, answers, student, device; each with its facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxr_kd.report.cost_figure import REFERENCE_RUNTIME
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.wording import counted, listed, number
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of
from cxr_kd.study.loss_table import NEEDS_LIVE_TEACHER, TEACHER_LOSSES
from cxr_kd.study.runs import Run

SIDES = ("train", "validation", "test")


def scheme(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle]) -> list[tuple[str, list[str]]]:
    """Return (step, facts) for each step of the study that it has, in order."""
    data = files.data
    sides: Mapping[str, Any] = data["split"]["sides"]
    first = {arm: runs[0] for arm, runs in arms_of(study).items()}
    teachers = [styles[arm].label for arm, run in first.items() if run.role == "teacher"]
    distilled = [run for run in first.values() if run.teachers]
    students = [arm for arm, run in first.items() if run.role != "teacher"]
    steps = [
        ("Data", [
            f"{number(data['images'])} images", f"{number(data['patients'])} patients",
            f"{len(data['findings'])} findings", f"{data['image_size']} × {data['image_size']} px",
        ]),
        ("Split", [f"{side}: {number(sides[side]['images'])} images" for side in SIDES]),
    ]  # fmt: skip
    if teachers:
        steps.append(("Teacher", [*teachers, "learns from the labels"]))
    if distilled:
        steps.append(("Answers", _answers(distilled)))
    return [*steps, ("Student", _students(first, styles)), ("Device", _device(files, students))]


def _answers(distilled: list[Run]) -> list[str]:
    views = sorted({run.views for run in distilled})
    losses = sorted({name for run in distilled for name in run.losses & TEACHER_LOSSES})
    shown = f"{listed([str(count) for count in views])} view{'' if views == [1] else 's'} of each training image"
    live = any(run.losses & NEEDS_LIVE_TEACHER for run in distilled)
    return [shown, f"losses: {listed(losses)}", "computed in training" if live else "computed once and stored"]


def _students(first: Mapping[str, Run], styles: Mapping[str, ArmStyle]) -> list[str]:
    students = {arm: run for arm, run in first.items() if run.role != "teacher"}
    networks = list(dict.fromkeys(styles[arm].network for arm in students))
    count = sum(bool(run.teachers) for run in students.values())
    ways = ["alone, from the labels"] if any(not run.teachers for run in students.values()) else []
    return [*networks, *ways, *([f"distilled in {counted(count, 'way')}"] if count else [])]


def _device(files: StudyFiles, arms: list[str]) -> list[str]:
    """The students' exported files: format, sizes, and the latency in the reference runtime."""
    rows = files.exported[files.exported["arm"].isin(arms)]
    sizes = [f"{value:.1f}" for value in sorted(set(rows["file_mb"].round(1)))]
    times = rows.loc[rows["runtime"].str.startswith(REFERENCE_RUNTIME), "latency_ms_median"]
    span = " to ".join(dict.fromkeys(sizes[:1] + sizes[-1:]))
    return ["one ONNX file per network", f"{span} MB", f"from {times.min():.0f} ms per image, with maps"]
