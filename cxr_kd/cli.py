"""The command line: what a person does without a notebook. Each command calls the library and prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Explainable distillation of chest X-ray classifiers."
)


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
    from cxr_kd.models.registry import ModelError, info

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
        cost = network.cost(image_size)
    except ModelError as error:
        return {**row, "parameters": None, "macs": None, "cam_grid": None, "error": str(error)}
    return {
        **row,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "cam_grid": list(cost.cam_grid),
        "error": None,
    }


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


if __name__ == "__main__":
    app()
