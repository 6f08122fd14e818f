"""The command line: what a person does without a notebook. Each command calls the library and prints."""

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

from cxr_kd.cli import train
from cxr_kd.study import load_study

if TYPE_CHECKING:
    from rich.table import Table

    from cxr_kd.data.check import Check
    from cxr_kd.models.info import Cost
    from cxr_kd.study.data_settings import DataSettings, Intensity

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Explainable distillation of chest X-ray classifiers."
)
data = typer.Typer(no_args_is_help=True, help="Data sets on disk.")
app.add_typer(data, name="data")
app.command()(train.train)
app.command()(train.distill)

VERDICT_COLOURS = {"ok": "green", "differs": "yellow", "problem": "bold red"}


@app.callback()
def main() -> None:
    """Explainable distillation of chest X-ray classifiers."""


@app.command()
def models(
    image_size: Annotated[int, typer.Option(help="Image size in px that costs and map grids are for.")] = 224,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List the networks: cost with 14 findings, map grid, published figures."""
    from cxr_kd.models.registry import names

    rows = [_network_row(name, image_size) for name in names()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console

    console = Console()
    console.print(_network_table(rows, image_size))
    console.print(
        "MACs: multiply-accumulates for one image. As published: parameters and MACs at 224 px, "
        "as printed by their sources (--json names them)."
    )
    for row in rows:
        if row["error"]:
            console.print(row["error"])


def _network_row(name: str, image_size: int) -> dict[str, Any]:
    from cxr_kd.errors import ModelError
    from cxr_kd.models.registry import info

    network = info(name)
    row: dict[str, Any] = {
        "name": name,
        "title": network.title,
        "kind": network.kind,
        "source": network.source,
        "image_sizes": network.sizes(),
        "published": dict(network.published),
        "published_source": network.published_source,
        "image_size": image_size,
    }
    try:
        cost = network.known_cost(image_size) or _counted(name, image_size)
    except ModelError as error:
        return {**row, "parameters": None, "macs": None, "cam_grid": None, "error": str(error)}
    return {
        **row,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "cam_grid": list(cost.cam_grid),
        "error": None,
    }


def _counted(name: str, image_size: int) -> Cost:
    from cxr_kd.models.cost import cost_of  # loads torch

    return cost_of(name, image_size)


def _network_table(rows: list[dict[str, Any]], image_size: int) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"Networks at {image_size} px with 14 findings", box=SIMPLE_HEAD)
    for column in ("name", "kind"):
        table.add_column(column, no_wrap=True)
    for column in ("parameters", "MACs", "map", "as published"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        counted = ("-", "-", "-")
        if not row["error"]:
            counted = (f"{row['parameters']:,}", f"{row['macs'] / 1e9:.2f} G", "x".join(map(str, row["cam_grid"])))
        figures = (("parameters", 1e6, "M"), ("macs", 1e9, "G"))
        published = [
            f"{row['published'][key] / unit:.2f} {sign}" for key, unit, sign in figures if key in row["published"]
        ]
        table.add_row(row["name"], row["kind"], *counted, ", ".join(published))
    return table


@data.command("check")
def data_check(
    root: Annotated[Path, typer.Option(help="The folder that holds the data set.", envvar="CXR_KD_DATA")],
    dataset: Annotated[str | None, typer.Option(help="Its name: chestxray14, chexpert, padchest, ...")] = None,
    study: Annotated[
        str | None, typer.Option(help="A study that says how to read it: options, findings, split, greys.")
    ] = None,
    labels_only: Annotated[bool, typer.Option("--labels-only", help="Don't open the image files.")] = False,
    pictures: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of some radiographs, with boxes and masks, as PNG.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode.", min=1)] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Verify a data set before anyone trains on it: counts, labels, splits, and every image file.

    Exit status: 0 all is well (it may differ from the published data set, as a part of it does: rows without an image
    file are no problem there, only in a folder of one's own), 1 problems were found, 2 it can't be read at all, or the
    pictures can't be written.
    """
    from cxr_kd.data.check import check

    with _refusal_ends_with(2):
        settings, intensity, keep_aspect = _how_to_read(dataset, study)
        if pictures:
            _check_place(pictures)
        checks = check(settings, root, images=not labels_only, intensity=intensity, workers=workers)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in checks], indent=2, ensure_ascii=False))
    else:
        _print_checks(checks, f"{settings.dataset} in {root}")
    if pictures:
        with _refusal_ends_with(1):
            _write_contact_sheet(settings, root, pictures, intensity=intensity, keep_aspect=keep_aspect)
    if any(each.verdict == "problem" for each in checks):
        raise typer.Exit(1)


@contextmanager
def _refusal_ends_with(status: int) -> Iterator[None]:
    from cxr_kd.errors import DataError, StudyError

    try:
        yield
    except (DataError, StudyError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(status) from None


def _how_to_read(dataset: str | None, study: str | None) -> tuple[DataSettings, Intensity, bool]:
    """Data set, `intensity` and `keep_aspect` of a study, or as they are where nobody says. Raises StudyError."""
    from cxr_kd.errors import StudyError

    if study:
        told = load_study(study)
        if dataset not in (None, told.data.dataset):
            raise StudyError(f"study {study!r} is about the data set {told.data.dataset!r}, not {dataset!r}: drop one")
        return told.data, told.intensity, told.keep_aspect
    if not dataset:
        raise StudyError("name the data set: --dataset NAME, or a study that says how to read it: --study FILE")
    return _as_published(dataset), "fixed", False


def _as_published(dataset: str) -> DataSettings:
    from pydantic import ValidationError

    from cxr_kd.errors import StudyError
    from cxr_kd.study.data_settings import DataSettings

    split = {"split": "medmnist-random-70-10-20"} if dataset == "chestmnist" else {}
    try:
        return DataSettings.model_validate({"dataset": dataset, **split})
    except ValidationError as error:
        first = error.errors()[0]
        why = first["msg"].removeprefix("Value error, ")
        raise StudyError(f"--dataset {dataset}: {why}; or give a study that says it: --study FILE") from None


def _check_place(pictures: Path) -> None:
    """End with status 2 where a file can't be written: better now than when every image has been decoded."""
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
        typer.echo(f"--pictures {pictures}: can't be written ({error}); name a PNG file in a folder of yours", err=True)
        raise typer.Exit(2) from None


def _write_contact_sheet(settings: DataSettings, root: Path, file: Path, **how: Any) -> None:
    from cxr_kd.data import read
    from cxr_kd.report.data_figures import contact_sheet
    from cxr_kd.report.pictures import keep, sample

    sheet = contact_sheet(sample(read(settings, root), **how))
    with _writing_ends_with_2(file):
        keep(sheet, file)


def _print_checks(checks: list[Check], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=SIMPLE_HEAD)
    table.add_column("verdict", no_wrap=True)
    table.add_column("checked", min_width=28)
    for column in ("expected", "found"):
        table.add_column(column, justify="right")
    for each in checks:
        numbers = (f"{n:,}" if isinstance(n, int) else escape(n) for n in (each.expected, each.found))
        table.add_row(each.verdict, escape(each.what), *numbers, style=VERDICT_COLOURS.get(each.verdict))
    console = Console()
    console.print(table)
    for each in checks:
        if each.detail:
            console.print(f"{each.what}: {each.detail}", markup=False, highlight=False, soft_wrap=True)
    counts = {verdict: sum(each.verdict == verdict for each in checks) for verdict in VERDICT_COLOURS}
    console.print(", ".join(f"[{VERDICT_COLOURS[verdict]}]{n} {verdict}[/]" for verdict, n in counts.items() if n))


if __name__ == "__main__":
    app()
