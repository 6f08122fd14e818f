"""`cxr-kd compare`: several studies of the same data and split side by side, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    studies: Annotated[list[str], typer.Argument(help="Study files, or names of studies in studies/; at least two.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the page. Default: reports/compare/STUDY-and-STUDY.", show_default=False),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The network that the others are compared with: ARM or STUDY/ARM. Default: the first study's student "
            "alone, or its first network.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Put the networks of several finished studies on one page: results, differences, and settings that differ.

    The studies must have the same data and split. A network that studies share is listed once. Beside index.html are
    the tables as CSV files.
    """
    from cxr_kd.report.compare.page import write_comparison
    from cxr_kd.study import load_study

    written = write_comparison([load_study(study) for study in studies], out, reference)
    typer.echo(written.headline)
    typer.echo(written.page)
