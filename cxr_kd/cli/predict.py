"""`cxr-kd predict`: the answers of an exported model for a user's own radiographs. Needs no torch."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cxr_kd.cli.console import RESEARCH, UNUSABLE, print_table
from cxr_kd.cli.own_figures import check_findings, check_free, choose_findings, draw_maps, figure_names, text_of

if TYPE_CHECKING:
    from cxr_kd.device.exported import Answers, ExportedModel
    from cxr_kd.device.onnx_file import Metadata

UNREADABLE = 1  # exit status if some of the images could not be read
LONG = 8  # images from which on a progress bar is shown
COLUMNS = ("image", "finding", "logit", "probability", "threshold", "present")
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row per image and finding.")] = False,
) -> None:
    """Read your own radiographs with an exported model: findings, probabilities, decisions. For research.

    Exit status 0: every image was read. Status 1: some could not be read; the reasons are at the end, and the others
    were answered. Status 2: nothing could be answered.
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
    answered = _answered(loaded, files, rule, asked, maps, figures)
    notes = _notes(loaded.metadata, rule, others)
    unreadable = _print_csv(answered) if as_csv else (_print_json if as_json else _print)(list(answered), notes)
    for image, reason in unreadable:
        typer.echo(f"{image}: {reason.removeprefix(f'{image}: ')}", err=True)
    if unreadable:
        typer.echo(f"{len(unreadable):,} of {len(files):,} images could not be read", err=True)
        raise typer.Exit(UNUSABLE if len(unreadable) == len(files) else UNREADABLE)


@dataclass(frozen=True)
class _Image:
    """An image's rows, each with the keys of COLUMNS; or the reason why there are none."""

    name: str
    rows: list[dict[str, Any]]
    error: str = ""


def _answered(
    model: ExportedModel, files: Sequence[Path], rule: Rule, asked: Sequence[str], maps: Path | None,
    figures: Sequence[str] | None,
) -> Iterator[_Image]:  # fmt: skip
    from cxr_kd.data.images.decode import decode
    from cxr_kd.errors import DataError

    told = model.metadata
    for position, file in enumerate(_with_progress(files)):
        name = text_of(file)
        try:
            pixels = decode(file, told.image_size, keep_aspect=told.keep_aspect, intensity=told.intensity)
        except DataError as error:
            yield _Image(name, [], str(error))
            continue
        answers = model.run(pixels[None])
        if maps and figures:
            logits, evidence = answers.logits[0], answers.evidence[0]
            shown = choose_findings(told.names, asked, logits)
            title, note = text_of(file.name), _model_line(told)
            draw_maps(maps / figures[position], pixels, told.names, shown, logits, evidence, title=title, note=note)
        yield _Image(name, [row for row in _rows(name, answers, told, rule) if not asked or row["finding"] in asked])


def _rows(image: str, answers: Answers, told: Metadata, rule: Rule) -> Iterator[dict[str, Any]]:
    for finding, logit, probability in zip(told.findings, answers.logits[0], answers.probabilities[0], strict=True):
        threshold = told.threshold(finding.name, rule)
        yield {
            "image": image,
            "finding": finding.name,
            "logit": float(logit),
            "probability": None if math.isnan(probability) else float(probability),
            "threshold": threshold,
            "present": None if threshold is None else bool(logit >= threshold),
        }


def _with_progress(files: Sequence[Path]) -> Iterable[Path]:
    if len(files) < LONG or not sys.stderr.isatty():
        return files
    from tqdm import tqdm

    return tqdm(files, unit=" images", leave=False)


def _print_csv(answered: Iterable[_Image]) -> list[tuple[str, str]]:
    unreadable = []
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for image in answered:
        writer.writerows(image.rows)
        if image.error:
            unreadable.append((image.name, image.error))
    return unreadable


def _print_json(answered: Sequence[_Image], notes: list[str]) -> list[tuple[str, str]]:
    unreadable = [{"image": image.name, "reason": image.error} for image in answered if image.error]
    rows = [row for image in answered for row in image.rows]
    content = {"notes": notes, "rows": rows, "unreadable": unreadable}
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    return [(each["image"], each["reason"]) for each in unreadable]


def _print(answered: Sequence[_Image], notes: list[str]) -> list[tuple[str, str]]:
    right: dict[str, Any] = {"justify": "right", "no_wrap": True}
    read = [image for image in answered if not image.error]
    if len(read) == 1:
        columns = [("finding", {"no_wrap": True}), *((name, right) for name in ("probability", "logit", "threshold")),
                   ("decision", {"no_wrap": True})]  # fmt: skip
        rows = [(_cells(row), "bold" if row["present"] else None) for row in read[0].rows]
        print_table(read[0].name, columns, rows, notes)
    elif read:
        columns = [("image", {"overflow": "fold"}), ("called present (probability)", {"overflow": "fold"})]
        print_table(f"{len(read):,} radiographs", columns, [((i.name, _present(i.rows)), None) for i in read], notes)
    return [(image.name, image.error) for image in answered if image.error]


def _cells(row: dict[str, Any]) -> list[str]:
    decision = {None: "no operating point", True: "present", False: "not called"}[row["present"]]
    probability, threshold = (
        "-" if value is None else format(value, form)
        for value, form in ((row["probability"], ".3f"), (row["threshold"], "+.2f"))
    )
    return [row["finding"], probability, f"{row['logit']:+.2f}", threshold, decision]


def _present(rows: Sequence[dict[str, Any]]) -> str:
    found = [
        row["finding"] if row["probability"] is None else f"{row['finding']} ({row['probability']:.2f})"
        for row in rows
        if row["present"]
    ]
    return ", ".join(found) or "none"


def _model_line(told: Metadata) -> str:
    return (
        f"{told.run} ({told.network}, {told.image_size} px), learned from {told.dataset}; maps of {told.cells[0]} x "
        f"{told.cells[1]} cells. {RESEARCH}"
    )


def _notes(told: Metadata, rule: Rule, others: int) -> list[str]:
    notes = [_model_line(told)]
    if told.calibrated:
        notes.append("probability: Platt scaling fitted on the run's validation side; it holds for its prevalence.")
    else:
        notes.append("No probabilities: the model was exported without calibration.")
    if any(finding.operating_points for finding in told.findings):
        notes.append(f"decision: the logit is at least the threshold of the rule {rule}, chosen on validation.")
    else:
        notes.append("No decisions: the model was exported without operating points.")
    if others:
        notes.append(f"{others:,} other files in the folders are no images and were left out.")
    return notes
