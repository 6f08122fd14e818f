"""`cxr-kd export`: the network of a run as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_kd.cli.console import RESEARCH


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as runs/STUDY/RUN, or its model.safetensors.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("student.onnx"),
    grid: Annotated[
        str, typer.Option(help="The cells of maps: plain, the network's own; atrous2 or atrous4, finer ones.")
    ] = "plain",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a trained network as one ONNX file, which predicts and explains without torch. For research.

    In: a radiograph, 8 bit. Out: logits, probabilities if the run is calibrated, and the maps of all findings, in one
    pass. The file is written only if onnxruntime gives the same logits and maps as PyTorch. `cxr-kd predict` reads it.
    """
    from cxr_kd.device.export import export as write
    from cxr_kd.device.model_card import CARD_END, write_model_card
    from cxr_kd.errors import ModelError

    card = out.with_suffix(CARD_END)
    if card.exists() and not overwrite:
        raise ModelError(f"{card} exists: choose another file, or replace it with --overwrite")
    model = write(run, out, grid=grid, overwrite=overwrite)
    told = model.metadata
    write_model_card(out, told, run)
    typer.echo(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; {told.network}, {told.image_size} px, {len(told.findings)} "
        f"findings, maps of {told.cells[0]} x {told.cells[1]} cells; ONNX opset {told.opset}, any batch size; learned "
        f"from {told.dataset}"
    )
    uncalibrated = [finding.name for finding in told.findings if not finding.calibrated]
    if not told.calibrated:
        typer.echo("No probabilities: there is no recalibration.json beside the weights (04_evaluate writes it).")
    elif uncalibrated:
        typer.echo(f"No probability of {', '.join(uncalibrated)}: not calibrated on the run's validation side.")
    typer.echo(f"{card}: its model card")
    typer.echo(RESEARCH)
