"""`cxr-kd models`: the networks and what they cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_kd.cli.console import print_table

if TYPE_CHECKING:
    from cxr_kd.models.info import Cost

NOTE = (
    "MACs: multiply-accumulates for one image. As published: parameters and MACs at 224 px, as printed by their "
    "sources (--json names them)."
)


def models(
    image_size: Annotated[int, typer.Option(help="Image size, in pixels per side, for costs and map grids.")] = 224,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the networks: cost with 14 findings, size of their maps, published figures."""
    from cxr_kd.models.registry import names

    rows = [_network(name, image_size) for name in names()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    left: dict[str, Any] = {"no_wrap": True}
    right = {**left, "justify": "right"}
    columns = [("name", left), ("kind", left)]
    columns += [(name, right) for name in ("parameters", "MACs", "map", "as published")]
    errors = [row["error"] for row in rows if row["error"]]
    title = f"Networks at {image_size} px with 14 findings"
    print_table(title, columns, [(_cells(row), None) for row in rows], [NOTE, *errors])


def _network(name: str, image_size: int) -> dict[str, Any]:
    """Return what is known of one network; `error` says why it cannot take this image size."""
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


def _cells(row: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    counted = ["-", "-", "-"]
    if not row["error"]:
        counted = [f"{row['parameters']:,}", f"{row['macs'] / 1e9:.2f} G", "x".join(map(str, row["cam_grid"]))]
    figures = (("parameters", 1e6, "M"), ("macs", 1e9, "G"))
    published = [f"{row['published'][key] / unit:.2f} {sign}" for key, unit, sign in figures if key in row["published"]]
    return [row["name"], row["kind"], *counted, ", ".join(published)]
