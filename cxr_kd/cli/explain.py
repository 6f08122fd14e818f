"""`cxr-kd explain`: maps and numbers of a trained network for a user's own radiographs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_kd.cli.console import print_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cxr_kd.explanation.own_images import RunOnDisk

TABLE, FIGURE = "explain.csv", "maps.png"
LONGEST = 120  # bytes of an image's name that its figure's name keeps
RESEARCH = "For research, not for diagnosis."


def explain(
    images: Annotated[list[Path], typer.Argument(help="Radiographs: PNG, JPEG or DICOM files, or folders of them.")],
    run: Annotated[Path, typer.Option(help="A run's folder, such as runs/STUDY/RUN, or its model.safetensors.")],
    finding: Annotated[
        list[str] | None, typer.Option(help="A finding to show; repeat it for several. Default: the three highest.")
    ] = None,
    method: Annotated[str, typer.Option(help="How maps are made.")] = "grad_cam",
    grid: Annotated[str, typer.Option(help="The cells of maps: plain, the network's own, or a finer form.")] = "plain",
    out: Annotated[Path, typer.Option(help="Folder for the figures and the table.")] = Path("explained"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace figures and table of an earlier call.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show where a trained network sees evidence in your own radiographs. For research, not for diagnosis.

    Writes one figure per image, NAME-maps.png: the radiograph beside the maps of the findings, on one colour scale. The
    table explain.csv has the numbers of all findings, or of those named. Nothing is written if an image is unreadable.
    """
    import pandas as pd

    from cxr_kd.explanation import own_images
    from cxr_kd.explanation.methods.named import named_explainer
    from cxr_kd.files import write_csv
    from cxr_kd.models import weights

    found = own_images.find_run(run)
    known, asked = found.metadata["findings"], finding or []
    own_images.check_findings(known, asked)
    files, others = own_images.find_images(images)
    figures = _figure_names(files)
    _check_free(out, [*figures, TABLE], files, overwrite)
    model = weights.load(found.file)
    explainer = named_explainer(model, method, grid)
    pixels = own_images.read_images(files, found)
    logits, evidence = own_images.explain_images(explainer, pixels)
    tables = []
    for row, (file, name) in enumerate(zip(files, figures, strict=True)):
        shown = own_images.choose_findings(known, asked, logits[row])
        table = own_images.numbers(known, logits[row], evidence[row], found)
        table = table[table["finding"].isin(shown)].copy() if asked else table
        table.insert(0, "image", _text(file))
        tables.append(table.assign(shown=table["finding"].isin(shown), figure=name))
        words = _words(found, method, grid, evidence.shape[2:])
        _draw(out / name, _text(file.name), pixels[row], _panels(shown, known, logits[row], evidence[row]), words)
    all_tables = pd.concat(tables, ignore_index=True)
    write_csv(out / TABLE, all_tables)
    notes = _notes(found, method, grid, evidence.shape[2:], others)
    _print(all_tables, notes, as_json)
    typer.echo(f"{out}: {len(files)} figures and {TABLE}", err=as_json)


def _figure_names(files: Sequence[Path]) -> list[str]:
    """Return NAME-maps.png for each file, with a number if several files have the same name; long names are cut."""
    names: list[str] = []
    for file in files:
        stem = os.fsencode(file.stem)[:LONGEST].decode("utf-8", "ignore")
        wanted, number = f"{stem}-{FIGURE}", 1
        while wanted.lower() in {name.lower() for name in names}:  # some disks do not tell A from a
            number += 1
            wanted = f"{stem}-{number}-{FIGURE}"
        names.append(wanted)
    return names


def _text(path: Path | str) -> str:
    """Return a path as text that can be written: names on a disk need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def _check_free(out: Path, names: Iterable[str], files: Sequence[Path], overwrite: bool) -> None:
    from cxr_kd.errors import ReportError

    if out.exists() and not out.is_dir():
        raise ReportError(f"{out} is a file: give a folder with --out")
    there = [out / name for name in names if (out / name).exists()]
    if own := {path.resolve() for path in there} & {file.resolve() for file in files}:
        raise ReportError(f"{min(own)} is one of the images and would be overwritten: choose another --out")
    if there and not overwrite:
        raise ReportError(f"{there[0]} exists: choose another --out, or replace it with --overwrite")


def _panels(shown: Sequence[str], known: Sequence[str], logits: np.ndarray, evidence: np.ndarray) -> list[Any]:
    from cxr_kd.report.overlays import Overlay
    from cxr_kd.report.style import finding_name

    columns = [known.index(name) for name in shown]
    return [
        Overlay("radiograph"),
        *(Overlay(f"{finding_name(known[c])}, logit {logits[c]:+.2f}".replace("-", "\N{MINUS SIGN}"), evidence[c])
          for c in columns),
    ]  # fmt: skip


def _draw(path: Path, title: str, image: np.ndarray, panels: list[Any], note: str) -> None:
    from cxr_kd.report.overlays import overlay_figure
    from cxr_kd.report.pictures import keep

    title = "".join(letter if letter.isprintable() else "?" for letter in title).replace("$", r"\$")
    keep(overlay_figure(image, panels, title, note), path)


def _words(run: RunOnDisk, method: str, grid: str, cells: Sequence[int]) -> str:
    return (
        f"{run.name} ({run.metadata['network']}, {run.metadata['image_size']} px); maps: {method}, grid {grid}, "
        f"{cells[0]} x {cells[1]} cells. {RESEARCH}"
    ).replace("$", r"\$")


def _notes(run: RunOnDisk, method: str, grid: str, cells: Sequence[int], others: int) -> list[str]:
    notes = [
        _words(run, method, grid, cells),
        "raw sigmoid: of the network's logit; it is no probability of the finding. peak: place of the most evidence, "
        "as fractions of the image, from the left and from the top.",
    ]
    if run.recalibration:
        notes.append("recalibrated: Platt scaling fitted on the run's validation side; it holds for its prevalence.")
    else:
        notes.append("No recalibrated probability: there is no recalibration.json beside the weights.")
    if not run.says_how_to_decode:
        notes.append("The weights file does not say how its images were decoded: stretched, with fixed intensity.")
    if others:
        notes.append(f"{others:,} other files in the folders are no images and were left out.")
    return notes


def _print(table: pd.DataFrame, notes: list[str], as_json: bool) -> None:
    if as_json:
        import json

        rows = json.loads(table.to_json(orient="records", double_precision=10))
        typer.echo(json.dumps({"notes": notes, "rows": rows}, indent=2, ensure_ascii=False))
        return
    right: dict[str, Any] = {"justify": "right", "no_wrap": True}
    names = ("logit", "raw sigmoid", "recalibrated", "positive evidence", "peak")
    columns = [("finding", {"no_wrap": True}), *((name, right) for name in names)]
    shown = list(table[table["shown"]].groupby("image", sort=False))
    for image, rows in shown:
        last = notes if image == shown[-1][0] else []
        print_table(str(image), columns, [(_cells(row), None) for row in rows.to_dict("records")], last)


def _cells(row: dict[Any, Any]) -> list[str]:
    def text(value: float, form: str) -> str:
        return "-" if value != value else format(value, form)  # NaN

    peak = "-" if row["peak_x"] != row["peak_x"] else f"{row['peak_x']:.2f}, {row['peak_y']:.2f}"
    return [row["finding"], f"{row['logit']:+.2f}", text(row["raw_sigmoid"], ".3f"),
            text(row["recalibrated"], ".3f"), text(row["positive_share"], ".0%"), peak]  # fmt: skip
