"""`cxr-kd explain`: maps and numbers of a trained network for a user's own radiographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_kd.cli.console import RESEARCH, print_table
from cxr_kd.cli.own_figures import check_findings, check_free, choose_findings, draw_maps, figure_names, text_of

if TYPE_CHECKING:
    import pandas as pd

    from cxr_kd.explanation.own_images import RunOnDisk

TABLE = "explain.csv"


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

    from cxr_kd.data.images.find import find_images
    from cxr_kd.explanation import own_images
    from cxr_kd.explanation.methods.named import named_explainer
    from cxr_kd.files import write_csv
    from cxr_kd.models import weights

    found = own_images.find_run(run)
    known, asked = found.metadata["findings"], finding or []
    check_findings(known, asked)
    files, others = find_images(images)
    figures = figure_names(files)
    check_free(out, [*figures, TABLE], files, overwrite)
    model = weights.load(found.file)
    explainer = named_explainer(model, method, grid)
    pixels = own_images.read_images(files, found)
    logits, evidence = own_images.explain_images(explainer, pixels)
    tables = []
    for row, (file, name) in enumerate(zip(files, figures, strict=True)):
        shown = choose_findings(known, asked, logits[row])
        table = own_images.numbers(known, logits[row], evidence[row], found)
        table = table[table["finding"].isin(shown)].copy() if asked else table
        table.insert(0, "image", text_of(file))
        tables.append(table.assign(shown=table["finding"].isin(shown), figure=name))
        words = _words(found, method, grid, evidence.shape[2:])
        draw_maps(
            out / name, pixels[row], known, shown, logits[row], evidence[row], title=text_of(file.name), note=words
        )
    all_tables = pd.concat(tables, ignore_index=True)
    write_csv(out / TABLE, all_tables)
    notes = _notes(found, method, grid, evidence.shape[2:], others)
    _print(all_tables, notes, as_json)
    typer.echo(f"{out}: {len(files)} figures and {TABLE}", err=as_json)


def _words(run: RunOnDisk, method: str, grid: str, cells: Sequence[int]) -> str:
    return (
        f"{run.name} ({run.metadata['network']}, {run.metadata['image_size']} px); maps: {method}, grid {grid}, "
        f"{cells[0]} x {cells[1]} cells. {RESEARCH}"
    )


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
