"""`cxr-kd data check`: verify a data set before training."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_kd.cli.console import UNUSABLE, errors_in_words, print_table

if TYPE_CHECKING:
    from cxr_kd.data.check import Check
    from cxr_kd.study.data_settings import DataSettings, Intensity

app = typer.Typer(no_args_is_help=True, help="Check data sets on disk.")
PROBLEMS = 1  # exit status if the data set was read and has problems
VERDICT_COLOURS = {"ok": "green", "differs": "yellow", "problem": "bold red"}


@app.command("check")
def data_check(
    root: Annotated[Path, typer.Option(help="The folder that holds the data set.", envvar="CXR_KD_DATA")],
    dataset: Annotated[str | None, typer.Option(help="Its name: chestxray14, chexpert, padchest, ...")] = None,
    study: Annotated[
        str | None,
        typer.Option(help="A study file that says how to read it: findings, split, grey values, other options."),
    ] = None,
    labels_only: Annotated[bool, typer.Option("--labels-only", help="Do not open the image files.")] = False,
    pictures: Annotated[
        Path | None, typer.Option(help="Write some radiographs, with boxes and masks, to this PNG file.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of processes that decode images.", min=1)] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Verify a data set before training: counts, labels, splits, and every image file.

    Exit status 0: no problems. Counts may differ from the published ones, because part of a published data set can be
    used; rows without an image file are a problem only in a folder of your own. Exit status 1: there are problems. Exit
    status 2: the data set cannot be read, or the pictures cannot be written.
    """
    from cxr_kd.data.check import check

    settings, intensity, keep_aspect, minimum = _how_to_read(dataset, study)
    if pictures:
        _check_place(pictures)
    checks = check(
        settings, root, images=not labels_only, intensity=intensity, minimum_positives=minimum, workers=workers
    )
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in checks], indent=2, ensure_ascii=False))
    else:
        _print_checks(checks, f"{settings.dataset} in {root}")
    if pictures:
        with errors_in_words(PROBLEMS):
            _write_contact_sheet(settings, root, pictures, intensity=intensity, keep_aspect=keep_aspect)
    if any(each.verdict == "problem" for each in checks):
        raise typer.Exit(PROBLEMS)


def _how_to_read(dataset: str | None, study: str | None) -> tuple[DataSettings, Intensity, bool, int]:
    """Return data settings, `intensity`, `keep_aspect` and `minimum_positives` of a study, or defaults; StudyError."""
    from cxr_kd.errors import StudyError
    from cxr_kd.study import load_study
    from cxr_kd.study.settings import Evaluation

    if study:
        read = load_study(study)
        if dataset not in (None, read.data.dataset):
            raise StudyError(
                f"study {study!r} is about the data set {read.data.dataset!r}, not {dataset!r}: give one of them"
            )
        return read.data, read.intensity, read.keep_aspect, read.evaluation.minimum_positives
    if not dataset:
        raise StudyError("name the data set (--dataset NAME) or a study that says how to read it (--study FILE)")
    return _as_published(dataset), "fixed", False, Evaluation().minimum_positives


def _as_published(dataset: str) -> DataSettings:
    """Return the default settings of a data set. Raises StudyError if there is none of this name."""
    from pydantic import ValidationError

    from cxr_kd.errors import StudyError
    from cxr_kd.study.data_settings import DataSettings

    split = {"split": "medmnist-random-70-10-20"} if dataset == "chestmnist" else {}
    try:
        return DataSettings.model_validate({"dataset": dataset, **split})
    except ValidationError as error:
        first = error.errors()[0]
        why = first["msg"].removeprefix("Value error, ")
        raise StudyError(f"--dataset {dataset}: {why}; or give a study file that says so: --study FILE") from None


def _check_place(pictures: Path) -> None:
    """End with status 2 if a file cannot be written, before all images are decoded."""
    with _writing_ends_with_2(pictures):
        if pictures.is_dir():
            raise IsADirectoryError("it is a folder")
        pictures.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=pictures.parent).close()


@contextmanager
def _writing_ends_with_2(pictures: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        typer.echo(f"--pictures {pictures}: cannot be written ({error}); name another PNG file", err=True)
        raise typer.Exit(UNUSABLE) from None


def _write_contact_sheet(settings: DataSettings, root: Path, file: Path, **how: Any) -> None:
    from cxr_kd.data import read
    from cxr_kd.report.data_figures import contact_sheet
    from cxr_kd.report.pictures import keep, sample

    sheet = contact_sheet(sample(read(settings, root), **how))
    with _writing_ends_with_2(file):
        keep(sheet, file)


def _print_checks(checks: list[Check], title: str) -> None:
    """Print one row per check, then the details, then how many checks had which verdict."""
    columns: list[tuple[str, dict[str, Any]]] = [("verdict", {"no_wrap": True}), ("checked", {"min_width": 28})]
    columns += [(name, {"justify": "right"}) for name in ("expected", "found")]
    rows = [
        ([each.verdict, each.what, *map(_number, (each.expected, each.found))], VERDICT_COLOURS.get(each.verdict))
        for each in checks
    ]
    counts = {verdict: sum(each.verdict == verdict for each in checks) for verdict in VERDICT_COLOURS}
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    print_table(title, columns, rows, [*(f"{each.what}: {each.detail}" for each in checks if each.detail), total])


def _number(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
