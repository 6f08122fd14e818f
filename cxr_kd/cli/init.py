"""`cxr-kd init`: write a study file for a user's own folder of images and table of labels."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cxr_kd.cli.guess_columns import Columns

# The settings below `data:` are those of studies/own-data.yaml; a test keeps them equal.
TEMPLATE = """\
# A study of your own radiographs, written by `cxr-kd init`. Check the columns under data: before you train.
title: {title}
question: Does EEEA-Net-C2 read these radiographs better if DenseNet-121 teaches it than alone?
data:
  dataset: folder
  findings: [{findings}]
  folder:
    name: {name}  # what the report calls the data
    table: {table}
    path: {path}
    patient: {patient}
{optional}    blank: ignore  # a blank label is unknown; write zeros if it means absent
  split: random-70-10-20  # 70, 10 and 20 % of the patients, drawn at random
image_size: 224  # a GPU is recommended; 64 or 96 is much faster on a CPU
keep_aspect: true
pretrained: false  # start from random weights, which need no download
teachers: [densenet121]
students:
  - {{network: eeea_net_c2}}  # alone, the control
  - {{network: eeea_net_c2, teacher: densenet121}}
objective: {{focal_bce: 1.0, logit_mse: 0.5}}
teacher_views: 4
teacher_training: {{epochs: 20, batch_size: 32, learning_rate: 1e-3}}
student_training: {{epochs: 20, batch_size: 64, learning_rate: 1e-3}}
"""


def init(
    folder: Annotated[Path, typer.Argument(help="The folder that holds your images and the table.")],
    table: Annotated[Path, typer.Argument(help="The CSV file with one row per image, inside that folder.")],
    study: Annotated[
        Path | None, typer.Option(help="The study file to write. Default: studies/FOLDER.yaml.", show_default=False)
    ] = None,
    path: Annotated[str | None, typer.Option(help="The column with image paths, if it is not found.")] = None,
    patient: Annotated[str | None, typer.Option(help="The column with patient ids, if it is not found.")] = None,
) -> None:
    """Write a study file for your own images and table.

    Columns are found by their names and values: image paths, patients, view, age, sex; every other column of 1 and 0
    becomes a finding. An existing study file is never overwritten.
    """
    from cxr_kd.cli.guess_columns import guess_columns

    folder, place = folder.resolve(), _inside(folder.resolve(), table)
    study = study or Path("studies") / f"{_file_name(folder)}.yaml"
    _check_free(study)
    columns = guess_columns(folder, folder / place, path, patient)
    _write(study, study_text(folder.name, place, columns))
    for line in _summary(columns):
        typer.echo(line)
    file, root = shlex.quote(str(study)), shlex.quote(str(folder))
    typer.echo(f"Wrote {study}. Next:\n  cxr-kd data check --study {file} --root {root}")
    typer.echo(f"  make study STUDY={file} DATA={root}")


def study_text(name: str, table: str, columns: Columns) -> str:
    """Return the text of a study file for a table inside a folder of this name."""
    optional = {"view": columns.view, "age": columns.age, "sex": columns.sex}
    return TEMPLATE.format(
        title=_quoted(f"{name}: DenseNet-121 teaches EEEA-Net-C2"),
        findings=", ".join(map(_quoted, columns.findings)),
        name=_quoted(name),
        table=_quoted(table),
        path=_quoted(columns.path),
        patient=_quoted(columns.patient),
        optional="".join(f"    {key}: {_quoted(column)}\n" for key, column in optional.items() if column),
    )


def _inside(folder: Path, table: Path) -> str:
    """Return the table's path relative to the folder. Raises StudyError if it is not inside."""
    from cxr_kd.errors import StudyError

    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder")
    for place in (folder / table, table.resolve()):
        if place.is_file() and place.resolve().is_relative_to(folder):
            return place.resolve().relative_to(folder).as_posix()
    raise StudyError(f"{table}: no such file in {folder}; the table must be inside the folder of the images")


def _check_free(study: Path) -> None:
    from cxr_kd.errors import StudyError

    if study.suffix != ".yaml":
        raise StudyError(f"--study {study}: the name of a study file ends with .yaml")
    if os.path.lexists(study):
        raise StudyError(f"{study} exists already: name another file with --study, or remove it")


def _write(study: Path, text: str) -> None:
    """Write the study file, whole, after reading it as a study. Raises StudyError if either fails."""
    from cxr_kd.errors import StudyError
    from cxr_kd.files import written_whole
    from cxr_kd.study import load_study

    try:
        with written_whole(study) as temporary:
            temporary.write_text(text, encoding="utf-8")
            load_study(temporary)
    except OSError as error:
        raise StudyError(f"{study}: cannot be written ({error.strerror}); name another file with --study") from None


def _summary(columns: Columns) -> list[str]:
    """Return what was found and what was not, one line each."""
    from cxr_kd.cli.guess_columns import LOOKED_AT

    lines = [f"paths: {columns.path}", f"patients: {columns.patient}", f"findings: {', '.join(columns.findings)}"]
    for what in ("view", "age", "sex"):
        column = getattr(columns, what)
        lines.append(f"{what}: {column or f'no column found; add `{what}: COLUMN` under folder: if there is one'}")
    if columns.blanks:
        lines.append("blank labels: read as unknown; write `blank: zeros` if they mean absent")
    lines += [f"not used: column {name!r}, which {why}" for name, why in columns.unused.items()]
    if columns.without_file:
        lines.append(f"{columns.without_file} of the first {LOOKED_AT} rows name a file that is not there")
    return lines


def _file_name(folder: Path) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-").lower() or "mine"


def _quoted(text: str) -> str:
    """Return text as YAML: as it is if it can only be text, otherwise in quotation marks."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*", text)
    return text if plain and text.lower() not in ("true", "false", "null") else json.dumps(text, ensure_ascii=False)
