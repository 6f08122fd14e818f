"""The commands that train one network: what notebooks 02 and 03 do, for a shell and for `accelerate launch`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_kd.study import load_study

if TYPE_CHECKING:
    from cxr_kd.data.prepare import Prepared
    from cxr_kd.study import Study
    from cxr_kd.study.runs import Run
    from cxr_kd.training.distributed import Processes

StudyArgument = Annotated[str, typer.Argument(help="A YAML file, or the name of one in studies/.")]
SeedOption = Annotated[int | None, typer.Option(help="Default: the study's first.", show_default=False)]


def train(
    study: StudyArgument,
    network: Annotated[str | None, typer.Argument(help="Default: the study's first teacher.")] = None,
    seed: SeedOption = None,
) -> None:
    """Train a teacher of a study; what is there already is not trained again, and what was stopped goes on."""
    with _errors_in_words():
        asked = _load(study)
        _train(asked, asked.teacher_run(network or asked.teachers[0], _seed(asked, seed)))


def distill(
    study: StudyArgument,
    teacher: Annotated[
        str | None,
        typer.Option(help='A network, several joined by +, or "alone". Default: the first one.'),
    ] = None,
    student: Annotated[str, typer.Option(help="The network to train.")] = "eeea_net_c2",
    label: Annotated[str, typer.Option(help="Tells apart two students of one teacher, where a study has them.")] = "",
    seed: SeedOption = None,
) -> None:
    """Train a student of a study, its teachers first where they are not there yet."""
    with _errors_in_words():
        asked = _load(study)
        taught = [each.teacher for each in asked.students if each.teacher]
        teacher = teacher or (taught[0] if taught else "alone")
        _train(asked, asked.student_run(student, teacher, _seed(asked, seed), label))


def _load(study: str) -> Study:

    return load_study(study)


def _seed(study: Study, seed: int | None) -> int:
    return study.seeds[0] if seed is None else seed


def _train(study: Study, run: Run) -> None:
    from cxr_kd.files import read_json
    from cxr_kd.training import run as runs
    from cxr_kd.training.distributed import Processes

    processes = Processes.here()
    if processes.count > 1:
        processes.say(f"{run.name}: {processes.count} processes share each batch")
    folder = runs.train(study, run, _prepared(study, processes))
    card = read_json(folder / "card.json")
    processes.say(
        f"{folder}: {card['epochs']} epochs on {card['device']}, best validation AUROC {card['validation_auroc']:.3f}"
    )


def _prepared(study: Study, processes: Processes) -> Prepared:
    """The study's data, made by the first process and then read by all."""
    from cxr_kd.data.prepare import prepare

    def made() -> None:
        prepare(study)

    processes.on_first(made)
    return prepare(study, progress=False)


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """What a user can mend ends with its message and status 2, without a traceback."""
    from cxr_kd.errors import DataError, ModelError, OtherProcessError, StudyError, TeacherError, TrainingError

    try:
        yield
    except (StudyError, DataError, ModelError, TeacherError, TrainingError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except OtherProcessError:  # the first has said why
        raise typer.Exit(2) from None
