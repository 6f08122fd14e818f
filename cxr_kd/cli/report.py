"""`cxr-kd report`: write the report of a finished study again, or check one that somebody was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    what: Annotated[
        str,
        typer.Argument(metavar="STUDY|FOLDER", help="A study's file or name; with --verify, the folder of a report."),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the report in FOLDER and write nothing; exit code 1 if it is wrong.")
    ] = False,
) -> None:
    """Write the report of a finished study from its files; or check a report, from its own folder alone.

    The check asks three things. Are the files those that were written? Do the results follow from the predictions?
    Do the pages say what the results say? It does not show that the predictions are those of the networks: run the
    study again for that.
    """
    if verify:
        _verify(Path(what))
        return
    from cxr_kd.report.needed import check_ready
    from cxr_kd.report.page import write_report
    from cxr_kd.study import load_study

    study = load_study(what)
    check_ready(study)
    typer.echo(write_report(study))


def _verify(folder: Path) -> None:
    from cxr_kd.report.verify import verify_report

    checks = verify_report(folder)
    for check in checks:
        if check.problems:
            first, *more = check.problems
            typer.echo("\n             ".join([f"WRONG        {first}", *more]))
        else:
            typer.echo(f"not checked  {check.open}." if check.open else f"ok           {check.found}.")
    if any(check.problems for check in checks):
        raise typer.Exit(1)
