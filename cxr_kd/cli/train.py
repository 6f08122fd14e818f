"""`cxr-kd train` and `cxr-kd distill`: what notebooks 02 and 03 do, for a shell and for `accelerate launch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cxr_kd.data.prepare import Prepared
    from cxr_kd.study import Study
    from cxr_kd.study.runs import Run
    from cxr_kd.training.distributed import Processes

StudyArgument = Annotated[str, typer.Argument(help="A study file, or the name of one in studies/.")]
SeedOption = Annotated[
    int | None, typer.Option(help="Default: the study's first seed.", min=0, max=2**32 - 1, show_default=False)
]


def train(
    study: StudyArgument,
    network: Annotated[str | None, typer.Argument(help="Default: the study's first teacher.")] = None,
    seed: SeedOption = None,
) -> None:
    """Train a teacher of a study.

    A finished run is not trained again. A run that was stopped continues from its last epoch.
    """
    from cxr_kd.study import load_study

    asked = load_study(study)
    _train(asked, asked.teacher_run(network or asked.teachers[0].network, _seed(asked, seed)))


def distill(
    study: StudyArgument,
    teacher: Annotated[
        str | None,
        typer.Option(help='A network, several joined by +, or "alone". Default: the first teacher of a student.'),
    ] = None,
    student: Annotated[str, typer.Option(help="The network to train.")] = "eeea_net_c2",
    label: Annotated[str, typer.Option(help="The student's label, if the study gives it one.")] = "",
    seed: SeedOption = None,
) -> None:
    """Train a student of a study, and its teachers first if they are not trained yet.

    A finished run is not trained again. A run that was stopped continues from its last epoch.
    """
    from cxr_kd.study import load_study

    asked = load_study(study)
    taught = [each.teacher for each in asked.students if each.teacher]
    teacher = teacher or (taught[0] if taught else "alone")
    _train(asked, asked.student_run(student, teacher, _seed(asked, seed), label))


def _seed(study: Study, seed: int | None) -> int:
    return study.seeds[0] if seed is None else seed


def _train(study: Study, run: Run) -> None:
    """Check a run, train it, and print where it is and how good."""
    from cxr_kd.files import read_json
    from cxr_kd.models.check_networks import check_run, unlisted
    from cxr_kd.training import run as runs
    from cxr_kd.training.distributed import Processes

    check_run(study, run)
    processes = Processes.here()
    if warning := unlisted(study, run):
        processes.say(warning)
    if processes.count > 1:
        processes.say(f"{run.name}: {processes.count} processes share each batch")
    folder = runs.train(study, run, _prepared(study, processes))
    card = read_json(folder / "card.json")
    processes.say(
        f"{folder}: {card['epochs']} epochs on {card['device']}, best validation AUROC {card['validation_auroc']:.3f}"
    )


def _prepared(study: Study, processes: Processes) -> Prepared:
    """Return the study's data: the first process prepares them, then all read them."""
    from cxr_kd.data.prepare import prepare

    def prepare_once() -> None:
        prepare(study)

    processes.on_first(prepare_once)
    return prepare(study, progress=False)
