"""`cxr-kd evaluate`: everything that predictions files can tell, as tables and figures, without a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_kd.cli.console import print_table

if TYPE_CHECKING:
    import pandas as pd

    from cxr_kd.evaluation.predictions import Predictions

    Arms = dict[str, list[Predictions]]

VALIDATION_FILE, TEST_FILE = "predictions-validation.parquet", "predictions-test.parquet"


def evaluate(
    files: Annotated[list[Path], typer.Argument(help="Predictions of the test side: .parquet files of runs, or .npz.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables (CSV) and figures (SVG).")],
    validation: Annotated[
        list[Path] | None,
        typer.Option(help=f"Predictions of the validation side. Default: {VALIDATION_FILE} beside {TEST_FILE}."),
    ] = None,
    validation_share: Annotated[
        float | None,
        typer.Option(help="Without a validation side: use this share of the patients as one.", min=0.01, max=0.99),
    ] = None,
    findings: Annotated[str, typer.Option(help="Names of the columns of an .npz file, joined by commas.")] = "",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the patients.", min=20)] = 1000,
    minimum_positives: Annotated[int, typer.Option(help="A finding with fewer is left out.", min=1)] = 10,
) -> None:
    """Evaluate predictions: AUROC, calibration, operating points, net benefit, groups of patients, comparisons.

    Runs whose names differ only in -seedN are trainings of one network. Each network is compared with the first one.
    """
    from cxr_kd.evaluation.arm_tables import compare_arms, evaluate_arms
    from cxr_kd.evaluation.bootstrap import check_same_images
    from cxr_kd.evaluation.loose_files import read_runs, seeds_of
    from cxr_kd.files import write_csv
    from cxr_kd.study.settings import Evaluation

    names = [name.strip() for name in findings.split(",") if name.strip()]
    settings = Evaluation(resamples=resamples, minimum_positives=minimum_positives)
    arms = read_runs(files, names)
    check_same_images([run for runs in arms.values() for run in runs])
    first, *others = arms
    pairs = [(first, other) for other in others]
    results = {"evaluations.csv": evaluate_arms(arms, settings)}
    if pairs:
        results["comparisons.csv"] = compare_arms(arms, pairs, settings, seeds_of(arms[first]))
    sides = _sides(arms, files, validation, validation_share, names)
    if sides:
        results |= _details(*sides, pairs, settings, out)
    for name, frame in results.items():
        write_csv(out / name, frame)
    _print(results["evaluations.csv"], sides is not None)
    typer.echo(f"{out}: {len(results)} tables{' and the figures' if sides else ''}")


def _sides(
    arms: Arms, files: list[Path], validation: list[Path] | None, share: float | None, findings: list[str]
) -> tuple[Any, Any] | None:
    """The validation and the test side; None without a validation side."""
    from cxr_kd.evaluation.loose_files import divided, read_runs

    beside = [path.with_name(VALIDATION_FILE) for path in files if path.name == TEST_FILE]
    paths = validation or (beside if len(beside) == len(files) and all(map(Path.is_file, beside)) else [])
    if paths:
        return read_runs(paths, findings), arms
    return divided(arms, share) if share else None


def _details(validation: Arms, test: Arms, pairs: list[tuple[str, str]], settings: Any, out: Path) -> dict[str, Any]:
    """The tables of `evaluate_details`; the figures are written."""
    from cxr_kd.evaluation.details import evaluate_details
    from cxr_kd.files import written_whole
    from cxr_kd.report import detail_views
    from cxr_kd.report.style import plain_styles, to_svg

    frames = evaluate_details(test, validation, pairs, pairs, settings)
    styles, metadata = plain_styles(list(test)), next(iter(test.values()))[0].metadata
    data = {"source": {"name": metadata.dataset}, "split": {"name": metadata.split}}
    drawn = detail_views.curve_figures(frames, styles)
    for each in [*drawn, *(detail_views.subgroup_figures(frames, styles, data) if drawn else [])]:
        with written_whole(out / f"{each.name}.svg") as temporary:
            temporary.write_bytes(to_svg(each.figure))
    return frames


def _print(evaluations: pd.DataFrame, detailed: bool) -> None:
    from cxr_kd.evaluation.bootstrap import MEAN
    from cxr_kd.report.tables import estimate_text

    means = evaluations[evaluations["finding"] == MEAN].to_dict("records")
    right: dict[str, Any] = {"justify": "right", "no_wrap": True}
    columns = [("network", {}), ("trainings", right), ("mean AUROC", right), ("mean average precision", right)]
    rows = [
        (
            [str(row["arm"]), str(row["seeds"])]
            + [estimate_text(*(row[f"{metric}{end}"] for end in ("", "_low", "_high")))
               for metric in ("auroc", "average_precision")],
            None,
        )
        for row in means
    ]  # fmt: skip
    notes = [f"95 % intervals over {means[0]['interval']}."]
    if not detailed:
        notes.append(
            "Without a validation side there are no operating points, no calibration and no decision curves: name its "
            "files (--validation), or use a share of these patients (--validation-share 0.5)."
        )
    print_table("Mean over findings, test side", columns, rows, notes)
