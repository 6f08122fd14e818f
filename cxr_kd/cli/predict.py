"""`cxr-kd predict`: the answers of an exported model for a user's own radiographs. Needs no torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cxr_kd.cli.console import UNUSABLE
from cxr_kd.cli.own_figures import check_findings, check_free, choose_findings, draw_maps, figure_names, text_of
from cxr_kd.cli.predict_output import (
    ANYWAY,
    Answered,
    model_line,
    notes_of,
    of_a_child,
    print_csv,
    print_json,
    print_text,
    unfamiliar,
)

if TYPE_CHECKING:
    from cxr_kd.device.exported import Answers, ExportedModel
    from cxr_kd.device.onnx_file import Metadata

UNREADABLE = 1  # exit status if some of the images were not answered
LONG = 8  # images from which on a progress bar is shown
Rule = Literal["youden", "sensitivity", "specificity"]


def predict(
    images: Annotated[list[Path], typer.Argument(help="Radiographs: PNG, JPEG or DICOM files, or folders of them.")],
    model: Annotated[Path, typer.Option(help="A file of `cxr-kd export`.")],
    rule: Annotated[
        Rule,
        typer.Option(
            help="Operating point: from which logit on a finding is called present. youden: both errors count "
            "the same; sensitivity, specificity: what was wanted of each on validation (0.9)."
        ),
    ] = "youden",
    finding: Annotated[
        list[str] | None, typer.Option(help="Only this finding; repeat it for several. Default: all.")
    ] = None,
    maps: Annotated[Path | None, typer.Option(help="Also write a figure of each image with its maps here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace figures of an earlier call.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of the runtime; 0: all cores.", min=0)] = 0,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also answer images that are refused; say so with each answer.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row per image and finding.")] = False,
) -> None:
    """Read your own radiographs with an exported model: findings, probabilities, decisions. For research.

    An image is refused, and gets no answer, if its DICOM tags say that it is not a frontal radiograph of a chest, or if
    it does not look like the radiographs that the model learned from.

    Exit status 0: every image was answered. Status 1: some could not be read, or were refused; the reasons are at the
    end, and the others were answered. Status 2: nothing could be answered.
    """
    from cxr_kd.data.images.find import find_images
    from cxr_kd.device.exported import ExportedModel

    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    loaded = ExportedModel.load(model, threads=threads)
    asked = finding or []
    check_findings(loaded.metadata.names, asked)
    files, others = find_images(images)
    figures = figure_names(files) if maps else None
    if maps and figures:
        check_free(maps, figures, files, overwrite, "--maps")
    answered = _answered(loaded, files, rule, asked, maps, figures, anyway)
    notes = notes_of(loaded.metadata, rule, others)
    done = print_csv(answered) if as_csv else (print_json if as_json else print_text)(list(answered), notes)
    _end(done)


def _end(done: Sequence[Answered]) -> None:
    """Print what was doubted, refused or could not be read, and end with the status that says so."""
    for image in done:
        if told := image.doubt or image.refused or image.error:
            typer.echo(f"{image.name}: {told.removeprefix(f'{image.name}: ')}", err=True)
    without = 0
    for kind, what in (("error", "could not be read"), ("refused", "were refused")):
        if count := sum(bool(getattr(image, kind)) for image in done):
            typer.echo(f"{count:,} of {len(done):,} images {what}", err=True)
            without += count
    if without:
        raise typer.Exit(UNUSABLE if without == len(done) else UNREADABLE)


def _answered(
    model: ExportedModel, files: Sequence[Path], rule: Rule, asked: Sequence[str], maps: Path | None,
    figures: Sequence[str] | None, anyway: bool,
) -> Iterator[Answered]:  # fmt: skip
    from cxr_kd.data.images.decode import decode
    from cxr_kd.data.images.dicom_tags import read_tags
    from cxr_kd.errors import DataError

    told = model.metadata
    for position, file in enumerate(_with_progress(files)):
        name, tags = text_of(file), read_tags(file)
        if tags.against and not anyway:
            yield Answered(name, refused=f"{tags.against}. {ANYWAY}")
            continue
        try:
            pixels = decode(file, told.image_size, keep_aspect=told.keep_aspect, intensity=told.intensity)
        except DataError as error:
            yield Answered(name, error=str(error))
            continue
        answers = model.run(pixels[None])
        against = tags.against or unfamiliar(float(answers.distances[0]))
        if against and not anyway:
            yield Answered(name, refused=f"{against}. {ANYWAY}")
            continue
        if maps and figures:
            logits, evidence = answers.logits[0], answers.evidence[0]
            shown = choose_findings(told.names, asked, logits)
            title, note = text_of(file.name), model_line(told)
            draw_maps(maps / figures[position], pixels, told.names, shown, logits, evidence, title=title, note=note)
        rows = [row for row in _rows(name, answers, told, rule) if not asked or row["finding"] in asked]
        doubt = against or of_a_child(tags.age, told)
        yield Answered(name, [{**row, "doubt": doubt or None} for row in rows], doubt=doubt)


def _rows(image: str, answers: Answers, told: Metadata, rule: Rule) -> Iterator[dict[str, Any]]:
    distance = None if math.isnan(answers.distances[0]) else float(answers.distances[0])
    for finding, logit, probability in zip(told.findings, answers.logits[0], answers.probabilities[0], strict=True):
        threshold = told.threshold(finding.name, rule)
        yield {
            "image": image,
            "finding": finding.name,
            "logit": float(logit),
            "probability": None if math.isnan(probability) else float(probability),
            "threshold": threshold,
            "present": None if threshold is None else bool(logit >= threshold),
            "distance": distance,
        }


def _with_progress(files: Sequence[Path]) -> Iterable[Path]:
    if len(files) < LONG or not sys.stderr.isatty():
        return files
    from tqdm import tqdm

    return tqdm(files, unit=" images", leave=False)
