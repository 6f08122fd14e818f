"""Several studies side by side: one HTML page, like the report, with the CSV files of its tables beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_kd.data.image_sources import check_headline_source
from cxr_kd.errors import StudyError
from cxr_kd.evaluation.arm_tables import evaluate_arms
from cxr_kd.evaluation.between_studies import (
    Network,
    check_same_data,
    compare_networks,
    find_reference,
    networks_of,
    read_networks,
)
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.files import check_room, write_csv, written_whole
from cxr_kd.report.compare import figure as figures
from cxr_kd.report.compare import tables
from cxr_kd.report.headline import FEW_PATIENTS, ONE_TRAINING, WHERE, badge, side_tested
from cxr_kd.report.page_files import PageFigure, PageFiles
from cxr_kd.report.rendering import rendered
from cxr_kd.report.study_files import read_data_card, read_run_cards
from cxr_kd.report.style import style_of
from cxr_kd.report.tables import estimate_text, records
from cxr_kd.report.wording import listed
from cxr_kd.study import Study
from cxr_kd.study.differences import differing_settings

FOLDER = "compare"  # in the folder of reports


@dataclass(frozen=True)
class Comparison:
    """A written page, and the sentence at its top."""

    page: Path
    headline: str


def default_folder(studies: Sequence[Study]) -> Path:
    """Return the folder of the page of these studies: reports/compare/FIRST-and-SECOND, beside the first's report."""
    return studies[0].report_folder.parent / FOLDER / "-and-".join(study.name for study in studies)


def write_comparison(studies: Sequence[Study], out: Path | None = None, reference: str | None = None) -> Comparison:
    """Write `index.html` into a folder, by default `default_folder`; beside it its tables and `data` (`page_files`).

    `reference`: the network that every other one is compared with (`between_studies.find_reference`). Everything is
    evaluated with the first study's settings of evaluation, within its headline source if it names one.

    Raises:
        StudyError: if there are not several studies, if they differ in data or split, or for an unknown reference.
        ReportError: if a card is missing or belongs to another split, data or settings than its study.
        PredictionsError: if a predictions file is missing or damaged.
        StorageError: if the disk has no room for the page or refuses it.
    """
    _check_several(studies)
    cards = [read_data_card(study) for study in studies]
    check_same_data(studies, cards)
    first, data = studies[0], cards[0]
    check_headline_source(first, data["image_sources"])
    runs = {study.name: read_run_cards(study, card) for study, card in zip(studies, cards, strict=True)}
    networks, source = networks_of(studies, data["identity"]), first.evaluation.headline_source
    chosen = find_reference(networks, reference)
    predictions = read_networks(networks, source)
    evaluations = evaluate_arms(predictions, first.evaluation)
    compared = compare_networks(networks, predictions, chosen, first.evaluation)
    frame = tables.networks_frame(networks, studies, runs, evaluations)
    differing, side = differing_settings(studies), side_tested(data, source)
    said = headline(compared, networks, chosen, data, source)
    drawn, scored = PageFiles(), not (evaluations["left_out"] != "").all()
    names = [study.name for study in studies]
    files = {
        "networks.csv": frame,
        "comparisons.csv": compared,
        "settings.csv": pd.DataFrame([[key, *v] for key, v in differing.items()], columns=["setting", *names]),
    }
    html = rendered("compare.html", {
        "studies": studies, "drawn": drawn, "data": data, "badge": badge(data), "source": source, "side": side,
        "headline": said,
        "few_patients": FEW_PATIENTS, "evaluation": first.evaluation, "reference": _named(chosen), "scored": scored,
        "left_out": _left_out(evaluations),
        "networks_table": tables.networks_table(frame, networks),
        "difference_table": tables.difference_table(compared, networks, chosen, side["patients"])
                            if len(networks) > 1 else None,
        "settings_table": tables.settings_table(differing, names),
        **_figures(drawn, networks, evaluations, compared, chosen, scored),
        "command": f"cxr-kd compare {' '.join(names)} --reference {chosen.name}",
    })  # fmt: skip
    return Comparison(_written(out or default_folder(studies), html, files, drawn), said)


def headline(
    comparisons: pd.DataFrame,
    networks: Sequence[Network],
    reference: Network,
    data: Mapping[str, Any],
    source: str | None = None,
) -> str:
    """Return one sentence: which networks were shown to have another mean AUROC than the reference.

    It claims an effect only if it is shown (`uncertainty.is_shown`), on at least FEW_PATIENTS test patients.
    """
    where = WHERE[data["kind"]] + (f", within source {source}" if source else "")
    others, named = [each for each in networks if each is not reference], _named(reference)
    means = records(comparisons[comparisons["finding"] == MEAN], "second")
    patients = side_tested(data, source)["patients"]
    said = {each.name: tables.verdict(means.get(each.name), patients) for each in others}
    if not others:
        return f"{where}, the studies have the same network only: {named}."
    if tables.TOO_FEW in said.values():
        return f"{where}, {patients} test patients are too few to say whether networks differ from {named}."
    shown = [each for each in others if said[each.name] == tables.SHOWN]
    tested = len(shown) + sum(each == tables.NOT_SHOWN for each in said.values())
    if not tested:
        end = ONE_TRAINING if tables.NOT_TESTED in said.values() else ""
        return f"{where}, no difference from {named} is tested.{end}"
    count = f"of the {tested} networks that were compared" if tested > 1 else "of one network that was compared"
    if not shown:
        return f"{where}, no difference from {named} in mean AUROC could be shown, {count} with it."
    return (
        f"{where}, {len(shown)} {count} with {named} had a different mean AUROC: {'; '.join(_clauses(shown, means))}."
    )


def _clauses(shown: Sequence[Network], means: Mapping[str, Mapping[str, Any]]) -> list[str]:
    clauses = []
    for each in shown:
        row = means[each.name]
        change = estimate_text(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)
        clauses.append(f"{_named(each)}, a {'higher' if row['auroc_difference'] > 0 else 'lower'} one, {change}")
    return clauses


def _named(network: Network) -> str:
    studies = "study" if len(network.studies) == 1 else "studies"
    return f"{style_of(network.arm, network.runs[0]).label} ({studies} {listed(network.studies)})"


def _check_several(studies: Sequence[Study]) -> None:
    if len(studies) < 2:
        raise StudyError("one study alone cannot be compared: name at least two")
    names = [study.name for study in studies]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"two studies are called {name!r}: name each study once, and files with different names")


def _left_out(evaluations: pd.DataFrame) -> list[tuple[str, str]]:
    """The findings that are left out of the mean, with the reason; the same for all networks."""
    one = evaluations[(evaluations["arm"] == evaluations["arm"].iloc[0]) & (evaluations["finding"] != MEAN)]
    left_out = one[one["left_out"] != ""]
    return list(zip(left_out["finding"], left_out["left_out"], strict=True))


def _figures(
    drawn: PageFiles,
    networks: Sequence[Network],
    evaluations: pd.DataFrame,
    compared: pd.DataFrame,
    reference: Network,
    scored: bool,
) -> dict[str, PageFigure | None]:
    """The figures of the page; None for one that would be empty."""
    mean = difference = None
    if scored:
        drawing = figures.mean_auroc_by_study(evaluations, networks)
        mean = drawn.add("mean-auroc", drawing, evaluations[evaluations["finding"] == MEAN])
    if scored and len(compared):
        drawing = figures.differences_by_study(compared, networks, reference)
        difference = drawn.add("differences", drawing, compared[compared["finding"] == MEAN])
    return {"mean_figure": mean, "difference_figure": difference}


def _written(folder: Path, html: str, files: Mapping[str, pd.DataFrame], drawn: PageFiles) -> Path:
    check_room(folder, drawn.size + len(html.encode()), "the page")
    drawn.write(folder)
    for name, frame in files.items():
        write_csv(folder / name, frame)
    with written_whole(folder / "index.html") as temporary:
        temporary.write_bytes(html.encode())
    return folder / "index.html"
