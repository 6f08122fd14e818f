"""The command line, `cxr-kd`: each command calls the library and prints."""

from __future__ import annotations

from typing import Annotated

import typer

from cxr_kd import __version__
from cxr_kd.cli import compare, data, evaluate, explain, export, init, models, predict, report, train
from cxr_kd.cli.console import Commands

app = typer.Typer(cls=Commands, no_args_is_help=True)
app.add_typer(data.app, name="data")
app.command()(init.init)
app.command()(models.models)
app.command()(train.train)
app.command()(train.distill)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(compare.compare)
app.command()(explain.explain)
app.command()(export.export)
app.command()(predict.predict)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxr-kd {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Distil large chest X-ray classifiers into a small one, and explain both."""


if __name__ == "__main__":
    app()
