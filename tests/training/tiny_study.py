"""A study of phantoms that trains in seconds, for tests of whole runs."""

from pathlib import Path

import torch

from cxr_kd.data.prepare import prepare
from cxr_kd.models.build import build
from cxr_kd.study import Study, load_study
from cxr_kd.training import run as training_run
from cxr_kd.training.distributed import Processes
from cxr_kd.training.job import Job

TEXT = """
title: Tiny
question: Does a run end where it should?
data:
  dataset: phantom
  phantom: {{images: 60, size: 32, minimum_rate: 0.2}}
image_size: 32
teachers: [{teachers}]
students:
{students}
teacher_views: 1
teacher_training: {{epochs: 1, batch_size: 16}}
student_training: {{epochs: {epochs}, batch_size: 16}}
"""
ALONE, TAUGHT = "{network: eeea_net_c2}", "{network: eeea_net_c2, teacher: eeea_net_c2}"


def tiny_study(
    home: Path, *students: str, teachers: tuple[str, ...] = ("eeea_net_c2",), epochs: int = 1, more: str = ""
) -> Study:
    """Write a study with these students (default: one alone and one taught) below `home`, and read it.

    `more` is appended to the study file.
    """
    lines = "\n".join(f"  - {student}" for student in students or (ALONE, TAUGHT))
    file = home / "studies" / "tiny.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(TEXT.format(teachers=", ".join(teachers), students=lines, epochs=epochs) + more)
    return load_study(file)


def finish(study):
    """Write every run of a study as if it had been trained; the networks have random weights."""
    data = prepare(study, workers=1, progress=False)
    for number, run in enumerate(study.all_runs):
        torch.manual_seed(number)
        network = build(run.network, data.table.findings, image_size=study.image_size)
        history = [{"epoch": 1, "loss": 0.5, "validation_auroc": 0.5, "seconds": 1.0}]
        training_run._write(Job(study, run, data, Processes.here()), network, history)
