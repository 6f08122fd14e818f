"""What all commands share: how errors end a command, and how tables are printed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

UNUSABLE = 2  # exit status of a command that could not do its work
RESEARCH = "For research, not for diagnosis."
INTERRUPTED = 130  # as shells have it: 128 plus the number of SIGINT
CONTINUED = ("train", "distill")  # commands that, once interrupted, continue from their checkpoint


class Commands(TyperGroup):
    """The group of all commands; an error that a user can fix ends any of them with its message alone."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Ctrl-C ends it with status 130."""
        try:
            with errors_in_words():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            if os.environ.get("RANK", "0") == "0":  # one message, not one per process of a distributed training
                resumes = ctx.invoked_subcommand in CONTINUED
                typer.echo(f"Stopped{'; the same command continues from here' if resumes else ''}.", err=True)
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def errors_in_words(status: int = UNUSABLE) -> Iterator[None]:
    """Turn an error that a user can fix into its message on stderr and this exit status, without a traceback."""
    from cxr_kd.errors import CxrKdError, OtherProcessError

    try:
        yield
    except OtherProcessError:  # the first process has printed the message
        raise typer.Exit(status) from None
    except CxrKdError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(status) from None
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("", "cxr_kd"):
            raise
        typer.echo(f"{error.name} is not installed; this command needs it: pip install 'cxr-kd[study]'", err=True)
        raise typer.Exit(status) from None


def print_table(
    title: str,
    columns: Sequence[tuple[str, dict[str, Any]]],
    rows: Iterable[tuple[Sequence[str], str | None]],
    notes: Iterable[str] = (),
) -> None:
    """Print a table, then notes. Their text is never read as markup.

    `columns`: names, each with options of rich's `Table.add_column`. `rows`: the cells, and the row's colour or None.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=SIMPLE_HEAD)
    for name, options in columns:
        table.add_column(name, **options)
    for cells, style in rows:
        table.add_row(*map(escape, cells), style=style)
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
